"""Files on their way from a browser, in pieces."""

from __future__ import annotations

from functools import partial

from django.conf import settings
from django.db import models
from django.utils.translation import gettext_lazy as _

from console.models import make_uid
from datasets.models.versions import DatasetVersion


class Upload(models.Model):
    """A file of which `received` of `size` bytes have arrived; it goes on where it stopped, also another day."""

    uid = models.CharField(
        _("identifier"), max_length=20, unique=True, editable=False, default=partial(make_uid, "up")
    )
    version = models.ForeignKey(
        DatasetVersion, verbose_name=_("dataset version"), on_delete=models.CASCADE, related_name="uploads"
    )
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, verbose_name=_("user"), on_delete=models.CASCADE, related_name="+"
    )
    name = models.CharField(_("file"), max_length=255)
    size = models.PositiveBigIntegerField(_("size"))
    # Name, size and date as the browser knows them: the same file chosen again goes on.
    fingerprint = models.CharField(_("fingerprint"), max_length=64)
    received = models.PositiveBigIntegerField(_("bytes received"), default=0)
    created_at = models.DateTimeField(_("created at"), auto_now_add=True)
    updated_at = models.DateTimeField(_("last piece at"), auto_now=True)

    class Meta:
        ordering = ("pk",)
        constraints = (
            models.UniqueConstraint(fields=("version", "user", "fingerprint"), name="upload_once_a_version"),
        )
        verbose_name = _("upload")
        verbose_name_plural = _("uploads")

    def __str__(self) -> str:
        return self.name
