"""What the form of a run starts from when the page opens: a draft, a run that is copied, a pasted
configuration, or the address."""

from __future__ import annotations

from dataclasses import dataclass, field

from django.http import HttpRequest, QueryDict
from django.utils.translation import gettext as _

from console.access import get_visible
from console.models import User, Workspace
from jobs import drafts, portable
from jobs.models import NAME_LENGTH, Draft, Job, Run

# Drafts that the page offers beside the one that it shows.
OTHERS_SHOWN = 5


@dataclass
class Opening:
    """`typed` goes into the form, and `key` names the draft that the page writes. `draft` is the draft that was
    restored, and `others` may be opened instead. `run` is the run that is copied."""

    typed: QueryDict
    key: str
    draft: Draft | None = None
    others: list[Draft] = field(default_factory=list)
    run: Run | None = None
    warnings: list[str] = field(default_factory=list)
    # A pasted text that could not be read, and why.
    pasted: str = ""
    paste_errors: list[str] = field(default_factory=list)
    is_filled: bool = False


def open_form(request: HttpRequest, user: User, workspace: Workspace, job: Job | None) -> Opening:
    """What the page shows for this request. Raises Http404 for `?run=` of somebody else.

    Without an address that says what to show, the one draft that no page has open is restored; of several,
    none is guessed at.
    """
    if request.method == "POST":
        key = drafts.key_of(request.POST)
        return _pasted(request, workspace, key) if "paste" in request.POST else Opening(request.POST, key)
    draft = _draft_to_restore(request, user, workspace, job)
    key = draft.key if draft else drafts.new_key()
    if draft is not None:
        drafts.reopen(draft)
        opening = Opening(drafts.typed_of(draft), key, draft)
    elif "run" in request.GET:
        runs = Run.objects.select_related("job", "base_model", "test_version")
        run = get_visible(runs, user, "job__workspace", uid=request.GET["run"])
        opening = _copied(run, workspace, job, key)
    else:
        typed = request.GET.copy()
        for name in ("draft", "new"):  # about the page, and no fields
            typed.pop(name, None)
        opening = Opening(typed, key)
    others = drafts.drafts_of(user, workspace).filter(job=job).exclude(key=key)
    opening.others = list(others[:OTHERS_SHOWN])
    return opening


def _draft_to_restore(
    request: HttpRequest, user: User, workspace: Workspace, job: Job | None
) -> Draft | None:
    if "draft" in request.GET:
        return drafts.find(user, workspace, job, request.GET["draft"])
    if request.GET:
        return None
    waiting = drafts.abandoned(user, workspace, job)[:2]
    return waiting[0] if len(waiting) == 1 else None


def _copied(run: Run, workspace: Workspace, job: Job | None, key: str) -> Opening:
    opening = Opening(QueryDict(mutable=True), key, run=run)
    try:
        reading = portable.from_dict(portable.to_dict(run), workspace)
    except portable.Unreadable as error:  # its model is not offered any more
        opening.warnings = list(error.problems)
        return opening
    opening.typed, opening.warnings = reading.typed, reading.warnings
    if job is None:
        opening.typed["name"] = free_name(workspace, run.job.name)
    return opening


def _pasted(request: HttpRequest, workspace: Workspace, key: str) -> Opening:
    """The form with the pasted configuration (or file) filled in; as it was where that cannot be read."""
    text = request.POST.get("configuration", "").strip()
    if not text and (file := request.FILES.get("configuration_file")):
        text = file.read(4 * portable.MAX_CHARACTERS + 4).decode("utf-8", "replace")
    opening = Opening(request.POST, key, pasted=text)
    if not text:
        opening.paste_errors = [_("Paste a configuration or choose a file.")]
        return opening
    try:
        reading = portable.from_text(text, workspace)
    except portable.Unreadable as error:
        opening.paste_errors = list(error.problems)
        return opening
    merged = portable.merged(request.POST, reading)
    return Opening(merged, key, warnings=reading.warnings, is_filled=True)


def free_name(workspace: Workspace, name: str) -> str:
    """`name` with the lowest number behind it that no job of the workspace has: "bot (2)"."""
    taken = set(Job.objects.filter(workspace=workspace).values_list("name", flat=True))
    number = 2
    while True:
        ending = f" ({number})"
        candidate = name[: NAME_LENGTH[1] - len(ending)] + ending
        if candidate not in taken:
            return candidate
        number += 1
