"""People and workspaces. Every job, dataset and model belongs to one workspace; people see only theirs."""

from __future__ import annotations

import secrets
import string
from zoneinfo import available_timezones

from django.contrib.auth.models import AbstractUser
from django.core.exceptions import ValidationError
from django.db import models
from django.utils.translation import gettext_lazy as _

from console.audit_models import AuditEntry  # noqa: F401

ALPHABET = string.ascii_lowercase + string.digits


def make_uid(prefix: str) -> str:
    """Returns a public identifier: prefix, hyphen, 12 lower-case letters or digits (as Qianfan's API has them)."""
    return f"{prefix}-" + "".join(secrets.choice(ALPHABET) for _unused in range(12))


def validate_time_zone(value: str) -> None:
    """Raises ValidationError for a name that the IANA database does not know."""
    if value and value not in available_timezones():
        raise ValidationError(_("%(zone)s is not a known time zone."), params={"zone": value})


class Theme(models.TextChoices):
    AUTO = "auto", _("As the system")
    LIGHT = "light", _("Light")
    DARK = "dark", _("Dark")


class User(AbstractUser):
    """A person. Language, zone and theme are chosen in the header and kept here."""

    language = models.CharField(_("language"), max_length=10, blank=True)
    time_zone = models.CharField(_("time zone"), max_length=64, blank=True, validators=[validate_time_zone])
    theme = models.CharField(_("theme"), max_length=5, choices=Theme.choices, default=Theme.AUTO)


class Role(models.TextChoices):
    OWNER = "owner", _("Owner")
    MEMBER = "member", _("Member")
    VIEWER = "viewer", _("Viewer")


WRITING_ROLES = (Role.OWNER, Role.MEMBER)


class Workspace(models.Model):
    """A team's room: its jobs, datasets and models are invisible from any other."""

    name = models.CharField(_("name"), max_length=50)
    created_at = models.DateTimeField(_("created at"), auto_now_add=True)
    members = models.ManyToManyField(
        User, verbose_name=_("members"), through="Membership", related_name="workspaces"
    )

    class Meta:
        ordering = ("name", "pk")
        verbose_name = _("workspace")
        verbose_name_plural = _("workspaces")

    def __str__(self) -> str:
        return self.name


class Membership(models.Model):
    """Who may do what in a workspace: owners and members write, viewers read."""

    user = models.ForeignKey(
        User, verbose_name=_("user"), on_delete=models.CASCADE, related_name="memberships"
    )
    workspace = models.ForeignKey(
        Workspace, verbose_name=_("workspace"), on_delete=models.CASCADE, related_name="memberships"
    )
    role = models.CharField(_("role"), max_length=6, choices=Role.choices, default=Role.MEMBER)
    # Unknown of those who were there before it was kept.
    joined_at = models.DateTimeField(_("joined at"), auto_now_add=True, null=True)

    class Meta:
        constraints = (models.UniqueConstraint(fields=("user", "workspace"), name="one_membership"),)
        verbose_name = _("membership")
        verbose_name_plural = _("memberships")

    def __str__(self) -> str:
        return f"{self.user} · {self.workspace} · {self.get_role_display()}"

    @property
    def can_write(self) -> bool:
        return self.role in WRITING_ROLES


class Scope(models.TextChoices):
    """What a key may do at most; never more than its owner may in the workspace."""

    READ = "read", _("Read: look at everything in the workspace")
    WRITE = "write", _("Write: also create, upload, start and stop")
    ADMIN = "admin", _("Admin: also delete")


SCOPES = (Scope.READ, Scope.WRITE, Scope.ADMIN)


class ApiKey(models.Model):
    """What a program signs in with: access key and secret key for Qianfan's signature, a token for OpenAI's.

    The secret key is encrypted, for a signature can only be checked with it; of the token a hash is kept
    (console/api/keys.py). All three stop working once `revoked_at` is set.
    """

    user = models.ForeignKey(User, verbose_name=_("user"), on_delete=models.CASCADE, related_name="api_keys")
    workspace = models.ForeignKey(
        Workspace, verbose_name=_("workspace"), on_delete=models.CASCADE, related_name="api_keys"
    )
    name = models.CharField(_("name"), max_length=50)
    scope = models.CharField(_("scope"), max_length=5, choices=Scope.choices, default=Scope.WRITE)
    access_key = models.CharField(_("access key"), max_length=32, unique=True, editable=False)
    secret = models.TextField(_("encrypted secret key"), editable=False)
    token_hash = models.CharField(_("hash of the token"), max_length=64, unique=True, editable=False)
    # The last characters of the token, to tell keys apart by.
    token_hint = models.CharField(_("end of the token"), max_length=4, editable=False)
    created_at = models.DateTimeField(_("created at"), auto_now_add=True)
    last_used_at = models.DateTimeField(_("last used"), null=True, blank=True, editable=False)
    revoked_at = models.DateTimeField(_("revoked at"), null=True, blank=True, editable=False)

    class Meta:
        ordering = ("-created_at", "-pk")
        verbose_name = _("API key")
        verbose_name_plural = _("API keys")

    def __str__(self) -> str:
        return f"{self.name} ({self.access_key[:8]}…)"


class UsedSignature(models.Model):
    """A signed request that created something; a second one like it is a replay until the signature expires."""

    digest = models.CharField(_("digest"), max_length=64, primary_key=True)
    expires_at = models.DateTimeField(_("expires at"), db_index=True)

    class Meta:
        verbose_name = _("used signature")
        verbose_name_plural = _("used signatures")

    def __str__(self) -> str:
        return self.digest


class Deletion(models.Model):
    """Something that was deleted: what it was, by whom, and whether its files are gone (console/deletion.py)."""

    workspace = models.ForeignKey(
        Workspace, verbose_name=_("workspace"), on_delete=models.CASCADE, related_name="deletions"
    )
    # "job", "run", "dataset", "dataset version", "model", "model version".
    kind = models.CharField(_("kind"), max_length=20)
    uid = models.CharField(_("identifier"), max_length=20)
    name = models.CharField(_("name"), max_length=100)
    # What may be asked for later: the configuration of a run, the hash of its data, and the like.
    data = models.JSONField(_("details"), default=dict)
    # Where its files lie: folders of the storage, and run directories.
    folders = models.JSONField(_("folders in the storage"), default=list)
    run_directories = models.JSONField(_("run directories"), default=list)
    deleted_at = models.DateTimeField(_("deleted at"), auto_now_add=True)
    deleted_by = models.ForeignKey(
        User, verbose_name=_("deleted by"), on_delete=models.SET_NULL, null=True, related_name="+"
    )
    files_removed_at = models.DateTimeField(_("files removed at"), null=True, blank=True)

    class Meta:
        ordering = ("-deleted_at", "-pk")
        verbose_name = _("deletion")
        verbose_name_plural = _("deletions")

    def __str__(self) -> str:
        return f"{self.name} ({self.uid})"


# Django looks for an app's models here; they use those above.
from console.notifications.models import (  # noqa: E402
    Channels,  # noqa: F401
    Delivery,  # noqa: F401
    Mail,  # noqa: F401
    Notification,  # noqa: F401
    Receipt,  # noqa: F401
    Webhook,  # noqa: F401
)
