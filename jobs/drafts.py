"""Drafts: what is typed into the form of a run is kept until it is submitted or discarded, so that a closed
tab or a lost session costs nothing.

Every page with the form writes a draft of its own, under a key that it carries as a hidden field. A page that
opens a draft again goes on with its key; where another tab still has it open (a duplicated one, say), the pages
notice it and the newer one takes a key of its own (static/js/wizard.js).
"""

from __future__ import annotations

import re
from datetime import timedelta

from django.db.models import Q, QuerySet
from django.http import QueryDict
from django.utils import timezone

from console.models import User, Workspace, make_uid
from jobs.models import Draft, Job

# Fields that a draft leaves out: the token and the key of the page, its buttons, and a pasted configuration
# (it becomes fields of its own).
LEFT_OUT = frozenset(
    {
        "csrfmiddlewaretoken",
        "draft",
        "left",
        "update",
        "reset",
        "paste",
        "configuration",
        "configuration_file",
    }
)
# Names and values together; many times a form with every dataset of a large workspace ticked.
MAX_CHARACTERS = 200_000
# Of a person in a workspace, the newest ones.
MOST_KEPT = 30
# A page that has saved nothing for so long is taken for closed, whether or not it could say so.
SILENCE = timedelta(minutes=30)
_KEY = re.compile(r"draft-[a-z0-9]{12}")


def new_key() -> str:
    """For a page that opens."""
    return make_uid("draft")


def key_of(typed: QueryDict) -> str:
    """The key of the page that sent this; a new one for what comes without."""
    key = typed.get("draft", "")
    return key if _KEY.fullmatch(key) else new_key()


def save(user: User, workspace: Workspace, job: Job | None, typed: QueryDict, key: str) -> Draft | None:
    """Keeps the form as it stands. None, and nothing kept, where it is longer than a draft may be."""
    # PostgreSQL stores no NUL.
    fields = {
        name.replace("\0", ""): [value.replace("\0", "") for value in values]
        for name, values in typed.lists()
        if name not in LEFT_OUT
    }
    if sum(len(name) + sum(map(len, values)) for name, values in fields.items()) > MAX_CHARACTERS:
        return None
    is_open = "draft" in typed and "left" not in typed
    defaults = {"workspace": workspace, "job": job, "fields": fields, "is_open": is_open}
    draft, is_new = Draft.objects.update_or_create(user=user, key=key, defaults=defaults)
    if is_new:
        kept = list(drafts_of(user, workspace).values_list("pk", flat=True)[:MOST_KEPT])
        Draft.objects.filter(user=user, workspace=workspace).exclude(pk__in=kept).delete()
    return draft


def leave(user: User, key: str) -> None:
    """The page of that key is closed, and what it has is saved already."""
    Draft.objects.filter(user=user, key=key).update(is_open=False)


def reopen(draft: Draft) -> None:
    """The draft is open in a page again."""
    draft.is_open = True
    draft.save(update_fields=["is_open"])


def find(user: User, workspace: Workspace, job: Job | None, key: str) -> Draft | None:
    """The draft of that key, at the place where it is looked for."""
    return drafts_of(user, workspace).filter(job=job, key=key).first()


def abandoned(user: User, workspace: Workspace, job: Job | None) -> QuerySet[Draft]:
    """Drafts of a place that no page has open."""
    is_closed = Q(is_open=False) | Q(updated_at__lt=timezone.now() - SILENCE)
    return drafts_of(user, workspace).filter(is_closed, job=job)


def discard(user: User, key: str) -> None:
    Draft.objects.filter(user=user, key=key).delete()


def drafts_of(user: User, workspace: Workspace) -> QuerySet[Draft]:
    """All of the user's drafts in a workspace, the newest first."""
    return Draft.objects.filter(user=user, workspace=workspace).select_related("job")


def typed_of(draft: Draft) -> QueryDict:
    """A draft as the form reads it."""
    typed = QueryDict(mutable=True)
    for name, values in draft.fields.items():
        typed.setlist(name, values)
    return typed
