"""What is recorded of the changes that people, programs and operators make. django-auditlog does the recording; which
models, which of their fields, and to whose log an entry belongs stands here and nowhere else.

Fields are named one by one, so that a new one that is secret is not recorded by accident, and neither are those that
change every second while a run trains. What workers do by themselves is no change of anybody: a run's own timeline
tells of it, and tasks run with recording switched off (console/celery.py), at no cost at all.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from auditlog.middleware import AuditlogMiddleware
from auditlog.registry import auditlog
from django.apps import apps
from django.conf import settings
from django.db.models import Model
from django.http import HttpRequest
from django.utils import timezone
from django.utils.functional import SimpleLazyObject

if TYPE_CHECKING:
    from console.api.keys import Caller
    from console.models import User

# Entries that `delete_old` takes at once, so that no long lock holds up whoever records.
BATCH = 5000


@dataclass(frozen=True)
class Recorded:
    """`fields` are recorded with their old and new value; of `secrets` only that they changed. `workspace` is the
    path from the object to the workspace whose owners read about it; empty: operators alone do."""

    fields: tuple[str, ...]
    workspace: str = ""
    secrets: tuple[str, ...] = ()
    m2m: tuple[str, ...] = ()


_TEXTS = ("name", "name_en", "description_zh", "description_en", "order")

RECORDED: dict[str, Recorded] = {
    # People and workspaces.
    "console.User": Recorded(
        ("username", "first_name", "last_name", "email", "is_active", "is_staff", "is_superuser"),
        secrets=("password",),
        m2m=("groups", "user_permissions"),
    ),
    # Through which person of the identity provider an account is entered.
    "socialaccount.SocialAccount": Recorded(("user", "provider", "uid")),
    "console.Workspace": Recorded(("name",), "self"),
    "console.Membership": Recorded(("user", "workspace", "role"), "workspace"),
    "console.ApiKey": Recorded(("user", "workspace", "name", "scope", "revoked_at"), "workspace"),
    "console.Webhook": Recorded(("workspace", "name", "url", "kinds", "enabled"), "workspace", ("secret",)),
    # Data.
    "datasets.Dataset": Recorded(("workspace", "name", "description", "row_type"), "workspace"),
    "datasets.DatasetVersion": Recorded(
        ("dataset", "number", "state", "format", "started_from", "published_at"), "dataset.workspace"
    ),
    "datasets.Connection": Recorded(
        ("workspace", "name", "endpoint", "region", "bucket", "addressing", "access_key"),
        "workspace",
        ("secret_key",),
    ),
    "datasets.Location": Recorded(("version", "connection", "bucket", "prefix"), "version.dataset.workspace"),
    "datasets.SharedData": Recorded(("kind", "name_zh", "name_en", "version", "enabled", "order")),
    # Training.
    "jobs.Job": Recorded(("workspace", "name", "model_type", "description", "base_model"), "workspace"),
    "jobs.Run": Recorded(
        (
            *("job", "version", "base_model", "method", "hyperparameters", "metadata"),
            *("split_ratio", "test_version", "base_run", "base_step", "base_mix", "corpus", "corpus_ratio"),
            *("pool", "devices", "idle", "priority", "state", "stop_requested_at"),
            *("publication", "publish_name", "publish_as_new", "publish_model"),
        ),
        "job.workspace",
    ),
    "jobs.Limits": Recorded(("workspace", "running", "device_hours", "checkpoint_days"), "workspace"),
    "jobs.Pool": Recorded(
        (
            *("name", "queue", "accelerator", "device_name", "slots", "device_counts"),
            *("price", "idle_price", "allows_idle", "enabled", "order"),
        )
    ),
    "jobs.Throughput": Recorded(("pool", "base_model", "method", "tokens_per_second")),
    "jobs.Tracking": Recorded(
        ("workspace", "tensorboard", "mlflow_uri", "mlflow_experiment", "mlflow_username"),
        "workspace",
        ("mlflow_secret",),
    ),
    # What is offered, and what was trained.
    "catalog.ModelFamily": Recorded(("key", *_TEXTS, "model_type")),
    "catalog.BaseModel": Recorded(
        (
            *("family", *_TEXTS, "context_length", "enabled", "license_zh", "license_en", "runs_on"),
            *("is_stand_in", "architecture", "parameter_count"),
            *("weights_kind", "weights_location", "weights_revision", "trust_remote_code"),
        )
    ),
    "catalog.Offer": Recorded(("base_model", "method", "order", "help_zh", "help_en", "enabled")),
    "catalog.OfferedHyperparameter": Recorded(
        (
            *("offer", "key", "order", "default", "minimum", "maximum", "choices", "advanced", "source"),
            *("label_zh", "label_en", "help_zh", "help_en"),
        )
    ),
    "catalog.Model": Recorded(("workspace", "name", "model_type"), "workspace"),
    "catalog.ModelVersion": Recorded(("model", "number", "base_model", "method"), "model.workspace"),
    "catalog.HubAccount": Recorded(("workspace", "name", "endpoint"), "workspace", ("token",)),
    "catalog.Push": Recorded(
        ("version", "connection", "bucket", "folder", "account", "repository"), "version.model.workspace"
    ),
    "catalog.ServingEndpoint": Recorded(
        ("base_model", "model_version", "url", "served_name", "enabled"), secrets=("api_key",)
    ),
}


def register() -> None:
    """Has django-auditlog record the models above; called once, when all models are there."""
    for label, recorded in RECORDED.items():
        auditlog.register(
            apps.get_model(label),
            include_fields=[*recorded.fields, *recorded.secrets],
            mask_fields=list(recorded.secrets),
            mask_callable="console.audit.hidden",
            m2m_fields=recorded.m2m,
        )


def hidden(value: str) -> str:
    """What stands in the log for a secret."""
    return "" if value in ("", "None") else "•••"


def workspace_of(instance: Model) -> int | None:
    """The workspace (its key) in whose log a change of the object is written."""
    path = RECORDED[instance._meta.label].workspace
    if path in ("", "self"):
        return instance.pk if path else None
    found: Any = instance
    *steps, last = path.split(".")
    for step in steps:
        found = getattr(found, step)
    key: int = getattr(found, f"{last}_id")
    return key


# --- Who does it ---------------------------------------------------------------------------------------------


class AuditMiddleware(AuditlogMiddleware):  # type: ignore[misc]
    """Tells the log who makes the changes of a request: the person who has signed in, or the owner of the key."""

    def get_extra_data(self, request: HttpRequest) -> dict[str, Any]:
        # Functions are called when an entry is written: the APIs know the caller only after the view has begun.
        return {
            "actor": SimpleLazyObject(lambda: _actor(request)),
            "actor_name": lambda: getattr(_actor(request), "username", ""),
            "key_name": lambda: _key_name(request),
            "remote_addr": address_of(request),
        }


def acts(request: HttpRequest, caller: Caller) -> None:
    """Says that what the request changes from here on is done with a key."""
    request.caller = caller  # type: ignore[attr-defined]


def _actor(request: HttpRequest) -> User | None:
    caller: Caller | None = getattr(request, "caller", None)
    user: Any = caller.user if caller else request.user
    return user if user.is_authenticated else None


def _key_name(request: HttpRequest) -> str:
    """The key with which it is done; empty where somebody has signed in."""
    caller: Caller | None = getattr(request, "caller", None)
    return str(caller.key) if caller and caller.key.pk else ""


def address_of(request: HttpRequest) -> str | None:
    """Where a request comes from. What the last proxy says counts, and only where the operator has one: anybody can
    write anything else into that header."""
    told = request.META.get("REMOTE_ADDR", "")
    if settings.BEHIND_PROXY:
        told = request.headers.get("X-Forwarded-For", told).rpartition(",")[2]
    try:
        return str(ipaddress.ip_address(told.strip()))
    except ValueError:
        return None


# --- For how long --------------------------------------------------------------------------------------------


def delete_old() -> int:
    """Deletes entries that are older than AUDIT_KEEP_DAYS (0 keeps them for ever); returns how many."""
    from console.models import AuditEntry

    if not settings.AUDIT_KEEP_DAYS:
        return 0
    old = AuditEntry.objects.filter(timestamp__lt=timezone.now() - timedelta(days=settings.AUDIT_KEEP_DAYS))
    deleted = 0
    while keys := list(old.order_by("timestamp").values_list("pk", flat=True)[:BATCH]):
        deleted += AuditEntry.objects.filter(pk__in=keys).delete()[0]
    return deleted
