"""我的模型: the registry of trained models and their versions."""

from __future__ import annotations

from functools import partial

from django.conf import settings
from django.core.validators import RegexValidator
from django.db import models
from django.utils.translation import gettext_lazy as _

from catalog.methods import method_choices
from catalog.models.offers import BaseModel, ModelType
from console.models import Workspace, make_uid

# Qianfan: Chinese, letters, digits and _, not starting with _, 2-20 characters; - and . and 50 characters are
# allowed here so that the names people know from hubs fit.
validate_model_name = RegexValidator(
    r"^(?!_)[\w.-]{2,50}$",
    _("Use 2-50 letters, digits, Chinese characters, “_”, “-” or “.”; the first must not be “_”."),
)


class Model(models.Model):
    """A named model; its versions come from runs."""

    uid = models.CharField(
        _("identifier"), max_length=20, unique=True, editable=False, default=partial(make_uid, "am")
    )
    workspace = models.ForeignKey(
        Workspace, verbose_name=_("workspace"), on_delete=models.CASCADE, related_name="models"
    )
    name = models.CharField(_("model name"), max_length=50, validators=[validate_model_name])
    model_type = models.CharField(_("type"), max_length=20, choices=ModelType)
    created_at = models.DateTimeField(_("created at"), auto_now_add=True)
    next_version = models.PositiveIntegerField(_("next version"), default=1, editable=False)

    class Meta:
        ordering = ("-created_at", "-pk")
        constraints = (
            models.UniqueConstraint(fields=("workspace", "name"), name="model_name_once_a_workspace"),
        )
        verbose_name = _("model")
        verbose_name_plural = _("models")

    def __str__(self) -> str:
        return self.name


class ModelVersionState(models.TextChoices):
    CREATING = "Creating", _("Publishing")
    READY = "Ready", _("Ready")
    FAILED = "Fail", _("Failed")


class ModelVersion(models.Model):
    """The published weights of one run, in the storage under `path`."""

    uid = models.CharField(
        _("identifier"), max_length=20, unique=True, editable=False, default=partial(make_uid, "amv")
    )
    model = models.ForeignKey(
        Model, verbose_name=_("model"), on_delete=models.CASCADE, related_name="versions"
    )
    number = models.PositiveIntegerField(_("version"))
    state = models.CharField(
        _("state"), max_length=10, choices=ModelVersionState.choices, default=ModelVersionState.CREATING
    )
    base_model = models.ForeignKey(
        BaseModel, verbose_name=_("base model"), on_delete=models.PROTECT, related_name="published"
    )
    method = models.CharField(_("training method"), max_length=30, choices=method_choices)
    path = models.CharField(_("path"), max_length=300, blank=True)
    size = models.PositiveBigIntegerField(_("size"), default=0)
    # [{"name", "size", "sha256"}] of every file under `path`.
    files = models.JSONField(_("files"), default=list)
    metrics = models.JSONField(_("metrics"), default=dict)
    created_at = models.DateTimeField(_("created at"), auto_now_add=True)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        verbose_name=_("created by"),
        on_delete=models.SET_NULL,
        null=True,
        related_name="+",
    )

    class Meta:
        ordering = ("-number",)
        constraints = (models.UniqueConstraint(fields=("model", "number"), name="version_once_a_model"),)
        verbose_name = _("model version")
        verbose_name_plural = _("model versions")

    def __str__(self) -> str:
        return f"{self.model.name} V{self.number}"

    @property
    def label(self) -> str:
        return f"V{self.number}"
