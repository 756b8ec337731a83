"""Datasets and their versions. A version is filled by an import, checked, published, and never changes again."""

from __future__ import annotations

from functools import partial

from django.conf import settings
from django.core.validators import MinLengthValidator
from django.db import models
from django.utils.translation import gettext_lazy as _

from console.models import Workspace, make_uid


class RowType(models.TextChoices):
    """What a row is to the trainer. The formats of datasets/formats/ all end in one of these."""

    MESSAGES = "messages", _("Conversations")
    IMAGE_CAPTION = "image_caption", _("Images with descriptions")
    IMAGE_MESSAGES = "image_messages", _("Images with conversations")
    PREFERENCE = "preference", _("Preferences (DPO)")
    BINARY_PREFERENCE = "binary_preference", _("Judged replies (KTO)")
    RANKED = "ranked", _("Sorted responses")
    TEXT = "text", _("Plain text")


class Dataset(models.Model):
    """A named collection of versions of one kind of row."""

    uid = models.CharField(
        _("identifier"), max_length=20, unique=True, editable=False, default=partial(make_uid, "dg")
    )
    workspace = models.ForeignKey(
        Workspace, verbose_name=_("workspace"), on_delete=models.CASCADE, related_name="datasets"
    )
    name = models.CharField(_("name"), max_length=50, validators=[MinLengthValidator(2)])
    description = models.CharField(_("description"), max_length=500, blank=True)
    row_type = models.CharField(_("kind"), max_length=20, choices=RowType.choices, default=RowType.MESSAGES)
    created_at = models.DateTimeField(_("created at"), auto_now_add=True)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        verbose_name=_("created by"),
        on_delete=models.SET_NULL,
        null=True,
        related_name="+",
    )

    class Meta:
        ordering = ("-created_at", "-pk")
        constraints = (
            models.UniqueConstraint(
                fields=("workspace", "name"),
                name="dataset_name_once_a_workspace",
                violation_error_message=_("This workspace already has a dataset of that name."),
            ),
        )
        verbose_name = _("dataset")
        verbose_name_plural = _("datasets")

    def __str__(self) -> str:
        return self.name


class VersionState(models.TextChoices):
    EMPTY = "empty", _("No data yet")
    IMPORTING = "importing", _("Importing")
    FAILED = "failed", _("Import failed")
    DRAFT = "draft", _("Draft")
    PUBLISHED = "published", _("Published")


class DatasetVersion(models.Model):
    """One state of a dataset.

    ```
    empty ──upload──► importing ──► draft ──publish──► published (immutable)
                          └────────► failed ──upload again──► importing
    ```
    The rows lie in the storage as `rows_path`: a Parquet file, one canonical row with its figures a row
    (datasets/columns.py). A version that is used in place has a `location` instead.
    """

    uid = models.CharField(
        _("identifier"), max_length=20, unique=True, editable=False, default=partial(make_uid, "ds")
    )
    dataset = models.ForeignKey(
        Dataset, verbose_name=_("dataset"), on_delete=models.CASCADE, related_name="versions"
    )
    number = models.PositiveIntegerField(_("version"))
    state = models.CharField(
        _("state"), max_length=10, choices=VersionState.choices, default=VersionState.EMPTY
    )
    format = models.CharField(_("format"), max_length=30, blank=True)
    row_count = models.PositiveBigIntegerField(_("rows"), default=0)
    turn_count = models.PositiveBigIntegerField(_("turns"), default=0)
    character_count = models.PositiveBigIntegerField(_("characters"), default=0)
    # sha256 over the canonical rows: two versions with the same hash train the same.
    content_hash = models.CharField(_("content hash"), max_length=64, blank=True)
    rows_path = models.CharField(_("path of the rows"), max_length=200, blank=True)

    # The import. `progress` counts bytes read of `size` bytes; `problem_count` also counts what `problems` (the first
    # 1,000 errors and 100 warnings of each kind: see datasets.problems.Problem) leaves out.
    size = models.PositiveBigIntegerField(_("size"), default=0)
    progress = models.PositiveBigIntegerField(_("bytes read"), default=0)
    problem_count = models.PositiveBigIntegerField(_("problems"), default=0)
    problems = models.JSONField(_("first problems"), default=list, blank=True)
    # All problems by kind: {"missing": 12}. datasets.problems.KINDS says which kinds only warn.
    problem_kinds = models.JSONField(_("problems by kind"), default=dict, blank=True)
    # All problems, one JSON object a line, as far as datasets.results keeps them; "" where `problems` has them all.
    problems_path = models.CharField(_("path of the problems"), max_length=200, blank=True)
    # Histograms and shares of the rows: datasets/statistics.py says what is in it.
    statistics = models.JSONField(_("statistics"), default=dict, blank=True)
    import_heartbeat_at = models.DateTimeField(_("last sign of life"), null=True, blank=True)
    import_attempt = models.PositiveIntegerField(_("starts"), default=0)
    # How far an attempt has come: datasets.saved.Saved, {} where there is nothing to go on with.
    # Workers that ended in the middle of it, one after another, since there was something new to go on with.
    import_losses = models.PositiveSmallIntegerField(_("lost workers"), default=0, db_default=0)
    import_saved = models.JSONField(_("saved state of the import"), default=dict, blank=True)

    created_at = models.DateTimeField(_("created at"), auto_now_add=True)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        verbose_name=_("created by"),
        on_delete=models.SET_NULL,
        null=True,
        related_name="+",
    )
    published_at = models.DateTimeField(_("published at"), null=True, blank=True)
    # The version whose rows it began with, as a copy of its own.
    started_from = models.ForeignKey(
        "self",
        verbose_name=_("started from"),
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="continued_as",
    )

    class Meta:
        ordering = ("-number",)
        constraints = (
            models.UniqueConstraint(fields=("dataset", "number"), name="version_number_once_a_dataset"),
        )
        verbose_name = _("dataset version")
        verbose_name_plural = _("dataset versions")

    def __str__(self) -> str:
        return f"{self.dataset.name} V{self.number}"

    def label_in(self, workspace_id: int) -> str:
        """What people of a workspace call it: the operator's name, in their language, of one of his that he offers
        to all; else its own."""
        is_own = self.dataset.workspace_id == workspace_id
        return str(self) if is_own else str(getattr(self, "shared", None) or self)

    @property
    def label(self) -> str:
        return f"V{self.number}"


class SourceFile(models.Model):
    """A file as it was uploaded, in the storage under `path`; kept so that an import can be repeated."""

    version = models.ForeignKey(
        DatasetVersion, verbose_name=_("dataset version"), on_delete=models.CASCADE, related_name="files"
    )
    name = models.CharField(_("file"), max_length=255)
    path = models.CharField(_("path"), max_length=300)
    size = models.PositiveBigIntegerField(_("size"))
    # The encoding besides UTF-8 that somebody has agreed to read its texts in: a key of encodings.ENCODINGS.
    encoding = models.CharField(_("encoding"), max_length=20, blank=True)

    class Meta:
        ordering = ("pk",)
        verbose_name = _("source file")
        verbose_name_plural = _("source files")

    def __str__(self) -> str:
        return self.name
