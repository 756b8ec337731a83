"""Servers elsewhere (vLLM, or anything that speaks OpenAI's API) that answer for a model."""

from __future__ import annotations

from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from catalog.models.offers import BaseModel
from catalog.models.registry import ModelVersion


class ServingEndpoint(models.Model):
    """Who tries out this model gets the answers of that server, not of the process that the console starts."""

    base_model = models.OneToOneField(
        BaseModel,
        verbose_name=_("base model"),
        on_delete=models.CASCADE,
        null=True,
        blank=True,
        related_name="serving_endpoint",
    )
    model_version = models.OneToOneField(
        ModelVersion,
        verbose_name=_("model version"),
        on_delete=models.CASCADE,
        null=True,
        blank=True,
        related_name="serving_endpoint",
    )
    url = models.CharField(
        _("address"), max_length=300, help_text=_("Up to and with /v1, for example http://gpu-1.lan:8000/v1.")
    )
    served_name = models.CharField(
        _("model name there"), max_length=200, help_text=_("What the server calls the model.")
    )
    # Encrypted (console/secrets.py); empty where the server wants none.
    api_key = models.TextField(_("API key"), blank=True, editable=False)
    enabled = models.BooleanField(_("enabled"), default=True)

    class Meta:
        ordering = ("pk",)
        constraints = (
            models.CheckConstraint(
                condition=Q(base_model__isnull=False, model_version__isnull=True)
                | Q(base_model__isnull=True, model_version__isnull=False),
                name="serving_endpoint_for_one_model",
                violation_error_message=_("Choose a base model or a model version, one of the two."),
            ),
        )
        verbose_name = _("serving endpoint")
        verbose_name_plural = _("serving endpoints")

    def __str__(self) -> str:
        return f"{self.base_model or self.model_version} → {self.url}"

    def clean(self) -> None:
        from catalog.serving_forwarding import check_url

        super().clean()
        try:
            check_url(self.url)
        except ValueError as refused:
            raise ValidationError({"url": str(refused)}) from refused
