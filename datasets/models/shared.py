"""What the operator offers to every workspace."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from catalog.texts import pick
from datasets.models.versions import DatasetVersion


class SharedKind(models.TextChoices):
    PRESET = "preset", _("Preset dataset")
    CORPUS = "corpus", _("General corpus")


class SharedData(models.Model):
    """预置数据集 and 通用语料: published versions that the operator offers to every workspace."""

    kind = models.CharField(_("kind"), max_length=10, choices=SharedKind.choices)
    name_zh = models.CharField(_("name in Chinese"), max_length=50)
    name_en = models.CharField(_("name in English"), max_length=50)
    version = models.OneToOneField(
        DatasetVersion, on_delete=models.PROTECT, related_name="shared", verbose_name=_("dataset version")
    )
    enabled = models.BooleanField(_("enabled"), default=True)
    order = models.PositiveSmallIntegerField(_("order"), default=0)

    class Meta:
        ordering = ("kind", "order", "pk")
        verbose_name = _("shared data")
        verbose_name_plural = _("shared data")

    def __str__(self) -> str:
        return pick(self.name_zh, self.name_en)
