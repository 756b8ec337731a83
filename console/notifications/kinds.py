"""What there is to be told: one entry each, with its texts, whom it goes to, by which ways and where it leads.

Texts are filled with the data of the event when somebody reads them, in the reader's language. To add a kind, add an
entry here and call `recording.record` where it happens.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from django.urls import reverse
from django.utils.functional import Promise
from django.utils.module_loading import import_string
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext_lazy


class Audience(Enum):
    """Who of a workspace is told."""

    # Whoever started it (its owners where nobody did, or the person has left), and who wants to hear of others' too.
    STARTER = "starter"
    # Everybody who may start runs.
    WRITERS = "writers"
    OWNERS = "owners"


@dataclass(frozen=True)
class Kind:
    """`title` and `text` name fields of the event's data; `detail` is the dotted name of a function that makes the
    text from one field of it instead: (function, field). `page` is the name of the address that it leads to, with the
    data's "uid" in it if there is one. `email` is what holds until a person chooses."""

    key: str
    label: str | Promise
    title: str | Promise
    to: Audience
    page: str
    text: str | Promise = ""
    detail: tuple[str, str] | None = None
    tone: str = "info"  # icon: info, success, warn, error
    email: bool = True


_ALL = (
    Kind(
        "run.done",
        _("A run is done"),
        title=_("%(run)s is done"),
        text=_("Trained %(base_model)s in %(steps)s steps."),
        to=Audience.STARTER,
        page="jobs:run",
        tone="success",
    ),
    Kind(
        "run.failed",
        _("A run has failed"),
        title=_("%(run)s has failed"),
        detail=("jobs.messages.failure_text", "failure"),
        to=Audience.STARTER,
        page="jobs:run",
        tone="error",
    ),
    Kind(
        "run.preempted",
        _("An idle run is interrupted again and again"),
        title=_("%(run)s was interrupted %(count)s times"),
        text=_(
            "It makes room for runs that are not idle, and goes on from step %(step)s when devices are free. "
            "A run that is not idle is not interrupted."
        ),
        to=Audience.STARTER,
        page="jobs:run",
        tone="warn",
    ),
    Kind(
        "run.rests",
        _("A run rests because a disk is full"),
        title=_("%(run)s rests until it is resumed"),
        detail=("jobs.messages.failure_text", "failure"),
        to=Audience.STARTER,
        page="jobs:run",
        tone="warn",
    ),
    Kind(
        "run.not_published",
        _("The result of a run could not be published"),
        title=_("%(run)s was not published"),
        detail=("jobs.messages.publication_text", "note"),
        to=Audience.STARTER,
        page="jobs:run",
        tone="warn",
    ),
    Kind(
        "budget.low",
        _("Most of the month's device hours are used"),
        title=_("%(used)s of %(limit)s device hours of this month are used"),
        text=_(
            "Once they are used up, no further run starts until %(day)s (UTC); runs that train already go on. "
            "An operator can raise the limit."
        ),
        to=Audience.WRITERS,
        page="resources",
        tone="warn",
        email=False,
    ),
    Kind(
        "budget.used",
        _("The month's device hours are used up"),
        title=_("All %(limit)s device hours of this month are used"),
        text=_(
            "No further run starts until %(day)s (UTC); runs that train already go on. "
            "An operator can raise the limit."
        ),
        to=Audience.WRITERS,
        page="resources",
        tone="error",
    ),
    Kind(
        "checkpoints.going",
        _("Checkpoints are about to be deleted"),
        title=ngettext_lazy(
            "Checkpoints of %(count)d run are deleted from %(day)s on",
            "Checkpoints of %(count)d runs are deleted from %(day)s on",
            "count",
        ),
        text=_("%(runs)s. Results stay; publish a checkpoint, or ask an operator to keep them for longer."),
        to=Audience.WRITERS,
        page="jobs:list",
        tone="warn",
    ),
    Kind(
        "webhook.off",
        _("A webhook was switched off"),
        title=_("The webhook “%(webhook)s” was switched off"),
        text=_(
            "Nothing has reached it for days, or it answered that it wants no more (status 410). "
            "Mend it and switch it on again on its page."
        ),
        to=Audience.OWNERS,
        page="webhook",
        tone="error",
    ),
)
KINDS: dict[str, Kind] = {kind.key: kind for kind in _ALL}


def title_of(key: str, data: Mapping[str, Any]) -> str:
    """One line, in the language in force; the key of a kind that there is no more."""
    kind = KINDS.get(key)
    return str(kind.title % data) if kind else key


def text_of(key: str, data: Mapping[str, Any]) -> str:
    """What is to be known besides, in the language in force; may be empty."""
    kind = KINDS.get(key)
    if kind is None:
        return ""
    if kind.detail:
        function, field = kind.detail
        return str(import_string(function)(data.get(field)))
    return str(kind.text % data)


def path_of(key: str, data: Mapping[str, Any]) -> str:
    """The page that an event leads to."""
    kind = KINDS.get(key)
    if kind is None:
        return reverse("notifications")
    return reverse(kind.page, args=[data["uid"]] if "uid" in data else [])
