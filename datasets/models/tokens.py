"""Token figures of a version, by the tokenizer of a base model."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from catalog.models import BaseModel
from datasets.models.versions import DatasetVersion


class CountState(models.TextChoices):
    WAITING = "waiting", _("Waiting")
    COUNTING = "counting", _("Counting")
    DONE = "done", _("Done")
    FAILED = "failed", _("Failed")


class TokenCount(models.Model):
    """How long a version's rows are in tokens of a base model, chat template included."""

    version = models.ForeignKey(
        DatasetVersion,
        verbose_name=_("dataset version"),
        on_delete=models.CASCADE,
        related_name="token_counts",
    )
    base_model = models.ForeignKey(
        BaseModel, verbose_name=_("base model"), on_delete=models.CASCADE, related_name="+"
    )
    state = models.CharField(
        _("state"), max_length=10, choices=CountState.choices, default=CountState.WAITING
    )
    # Why it failed: a code that datasets/tokens.py turns into a sentence.
    problem = models.CharField(_("problem"), max_length=50, blank=True)
    rows_done = models.PositiveBigIntegerField(_("rows counted"), default=0)
    total = models.PositiveBigIntegerField(_("tokens"), default=0)
    # {"edges": [0, 64, …], "counts": […], "max": 812, "mean": 120.5, "median": 98, "cut": {"512": 12, …}}
    figures = models.JSONField(_("figures"), default=dict, blank=True)
    heartbeat_at = models.DateTimeField(_("last sign of life"), null=True, blank=True)
    created_at = models.DateTimeField(_("created at"), auto_now_add=True)

    class Meta:
        constraints = (
            models.UniqueConstraint(fields=("version", "base_model"), name="token_count_once_a_base_model"),
        )
        verbose_name = _("token count")
        verbose_name_plural = _("token counts")

    def __str__(self) -> str:
        return f"{self.version} · {self.base_model}"
