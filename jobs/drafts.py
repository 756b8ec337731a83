"""Drafts: what is typed into the form of a run is kept until it is submitted or discarded, so that a closed
tab or a lost session costs nothing."""

from __future__ import annotations

from django.db.models import QuerySet
from django.http import QueryDict

from console.models import User, Workspace
from jobs.models import Draft, Job

# Fields that a draft leaves out: the token of the page, its buttons, and a pasted configuration (it becomes
# fields of its own).
LEFT_OUT = frozenset(
    {"csrfmiddlewaretoken", "update", "reset", "paste", "configuration", "configuration_file"}
)
# Names and values together; many times a form with every dataset of a large workspace ticked.
MAX_CHARACTERS = 200_000


def save(user: User, workspace: Workspace, job: Job | None, typed: QueryDict) -> Draft | None:
    """Keeps the form as it stands. None, and nothing kept, where it is longer than a draft may be."""
    # PostgreSQL stores no NUL.
    fields = {
        name.replace("\0", ""): [value.replace("\0", "") for value in values]
        for name, values in typed.lists()
        if name not in LEFT_OUT
    }
    if sum(len(name) + sum(map(len, values)) for name, values in fields.items()) > MAX_CHARACTERS:
        return None
    draft, _new = Draft.objects.update_or_create(
        user=user, workspace=workspace, job=job, defaults={"fields": fields}
    )
    return draft


def find(user: User, workspace: Workspace, job: Job | None) -> Draft | None:
    return Draft.objects.filter(user=user, workspace=workspace, job=job).first()


def discard(user: User, workspace: Workspace, job: Job | None) -> None:
    Draft.objects.filter(user=user, workspace=workspace, job=job).delete()


def drafts_of(user: User, workspace: Workspace) -> QuerySet[Draft]:
    """All of the user's drafts in a workspace, the newest first."""
    return Draft.objects.filter(user=user, workspace=workspace).select_related("job")


def typed_of(draft: Draft) -> QueryDict:
    """A draft as the form reads it."""
    typed = QueryDict(mutable=True)
    for name, values in draft.fields.items():
        typed.setlist(name, values)
    return typed
