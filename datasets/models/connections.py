"""Object storage that a workspace's data may come from, and the places in it that runs read in place."""

from __future__ import annotations

from functools import partial

from django.conf import settings
from django.db import models
from django.utils.translation import gettext_lazy as _

from console.models import Workspace, make_uid
from datasets.models.versions import DatasetVersion


class Addressing(models.TextChoices):
    """Where the bucket's name goes in an address. MinIO needs `path`; BOS and AWS take both."""

    PATH = "path", _("In the path")
    VIRTUAL = "virtual", _("In the host name")


class Connection(models.Model):
    """Access to object storage that speaks S3 with v4 signatures: AWS, BOS, MinIO, …"""

    uid = models.CharField(
        _("identifier"), max_length=20, unique=True, editable=False, default=partial(make_uid, "cn")
    )
    workspace = models.ForeignKey(
        Workspace, verbose_name=_("workspace"), on_delete=models.CASCADE, related_name="connections"
    )
    name = models.CharField(_("name"), max_length=50)
    # "" is AWS itself, whose endpoint follows from the region.
    endpoint = models.URLField(_("endpoint"), blank=True)
    region = models.CharField(_("region"), max_length=50, blank=True)
    # "" lets people choose among the buckets that the keys may list.
    bucket = models.CharField(_("bucket"), max_length=63, blank=True)
    addressing = models.CharField(
        _("bucket in the address"), max_length=10, choices=Addressing.choices, default=Addressing.PATH
    )
    access_key = models.CharField(_("access key"), max_length=128)
    # Encrypted (console/secrets.py).
    secret_key = models.TextField(_("encrypted secret key"), editable=False)
    tested_at = models.DateTimeField(_("last worked at"), null=True, blank=True)
    created_at = models.DateTimeField(_("created at"), auto_now_add=True)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        verbose_name=_("created by"),
        on_delete=models.SET_NULL,
        null=True,
        related_name="+",
    )

    class Meta:
        ordering = ("name", "pk")
        constraints = (
            models.UniqueConstraint(
                fields=("workspace", "name"),
                name="connection_name_once_a_workspace",
                violation_error_message=_("This workspace already has a connection of that name."),
            ),
        )
        verbose_name = _("connection")
        verbose_name_plural = _("connections")

    def __str__(self) -> str:
        return self.name


class Location(models.Model):
    """The objects that a version used in place consists of, as they were when its rows were counted."""

    version = models.OneToOneField(
        DatasetVersion, verbose_name=_("dataset version"), on_delete=models.CASCADE, related_name="location"
    )
    connection = models.ForeignKey(
        Connection, verbose_name=_("connection"), on_delete=models.PROTECT, related_name="locations"
    )
    bucket = models.CharField(_("bucket"), max_length=63)
    # The parent of the folder `jsonl/` (seed, section 数据配置), without slashes at its ends.
    prefix = models.CharField(_("prefix"), max_length=1024, blank=True)
    # [{"key": "data/jsonl/a.jsonl", "etag": "9b2c…", "size": 1234}, …] in the order in which they are read.
    manifest = models.JSONField(_("objects"), default=list, blank=True)

    class Meta:
        verbose_name = _("location")
        verbose_name_plural = _("locations")

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}"
