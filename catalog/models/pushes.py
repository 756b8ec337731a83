"""Copies of published versions in places of their own: a folder in object storage, a repository on a hub."""

from __future__ import annotations

from functools import partial

from django.conf import settings
from django.db import models
from django.utils.translation import gettext_lazy as _

from catalog.models.registry import ModelVersion
from console.models import Workspace, make_uid


class PushState(models.TextChoices):
    WAITING = "Waiting", _("Waiting")
    RUNNING = "Running", _("Copying")
    DONE = "Done", _("Done")
    FAILED = "Failed", _("Failed")


class HubAccount(models.Model):
    """Who writes to a Hugging Face hub for a workspace: the public one, or one of the operator's own."""

    uid = models.CharField(
        _("identifier"), max_length=20, unique=True, editable=False, default=partial(make_uid, "hub")
    )
    workspace = models.ForeignKey(
        Workspace, verbose_name=_("workspace"), on_delete=models.CASCADE, related_name="hub_accounts"
    )
    name = models.CharField(_("name"), max_length=50)
    endpoint = models.CharField(_("address"), max_length=200, default="https://huggingface.co")
    # Encrypted (console/secrets.py).
    token = models.TextField(_("encrypted token"), editable=False)
    created_at = models.DateTimeField(_("created at"), auto_now_add=True)

    class Meta:
        ordering = ("name", "pk")
        constraints = (
            models.UniqueConstraint(
                fields=("workspace", "name"),
                name="hub_account_name_once_a_workspace",
                violation_error_message=_("This workspace already has a hub account of that name."),
            ),
        )
        verbose_name = _("hub account")
        verbose_name_plural = _("hub accounts")

    def __str__(self) -> str:
        return self.name


class Push(models.Model):
    """One copy of a version's files: to `s3://bucket/folder/`, or to a repository if it names one. The row is the
    truth, a worker carries it out."""

    uid = models.CharField(
        _("identifier"), max_length=20, unique=True, editable=False, default=partial(make_uid, "ps")
    )
    version = models.ForeignKey(
        ModelVersion, verbose_name=_("model version"), on_delete=models.CASCADE, related_name="pushes"
    )
    connection = models.ForeignKey(
        "datasets.Connection",
        verbose_name=_("connection"),
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
    )
    bucket = models.CharField(_("bucket"), max_length=63, blank=True)
    # Without slashes at its ends; "" is the bucket itself.
    folder = models.CharField(_("folder"), max_length=500, blank=True)
    account = models.ForeignKey(
        HubAccount,
        verbose_name=_("hub account"),
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
    )
    # "people/model"; "" for object storage.
    repository = models.CharField(_("repository"), max_length=200, blank=True)
    state = models.CharField(_("state"), max_length=10, choices=PushState.choices, default=PushState.WAITING)
    bytes_done = models.PositiveBigIntegerField(_("bytes copied"), default=0)
    # Why it failed, for people.
    error = models.TextField(_("error"), blank=True)
    # Raised by every worker that takes it: one that lost its claim changes nothing any more.
    attempt = models.PositiveIntegerField(_("attempt"), default=0, editable=False)
    heartbeat_at = models.DateTimeField(_("last sign of life"), null=True, editable=False)
    created_at = models.DateTimeField(_("created at"), auto_now_add=True)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        verbose_name=_("created by"),
        on_delete=models.SET_NULL,
        null=True,
        related_name="+",
    )
    finished_at = models.DateTimeField(_("finished at"), null=True, editable=False)

    class Meta:
        ordering = ("-created_at", "-pk")
        indexes = (
            models.Index(
                fields=("created_at",),
                name="push_not_finished",
                condition=models.Q(state__in=(PushState.WAITING, PushState.RUNNING)),
            ),
        )
        verbose_name = _("copy of a model version")
        verbose_name_plural = _("copies of model versions")

    def __str__(self) -> str:
        return self.address

    @property
    def address(self) -> str:
        if self.repository:
            return f"{self.account.endpoint}/{self.repository}" if self.account else self.repository
        return f"s3://{self.bucket}/{self.folder}".rstrip("/") + "/"

    @property
    def is_over(self) -> bool:
        return self.state in (PushState.DONE, PushState.FAILED)
