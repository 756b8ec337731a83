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


@dataclass
class Opening:
    """`typed` goes into the form. `draft` is the draft that was restored, or (`draft_waits`) that exists but
    gave way to what the address asks for. `run` is the run that is copied."""

    typed: QueryDict
    draft: Draft | None = None
    draft_waits: bool = False
    run: Run | None = None
    warnings: list[str] = field(default_factory=list)
    # A pasted text that could not be read, and why.
    pasted: str = ""
    paste_errors: list[str] = field(default_factory=list)
    is_filled: bool = False


def open_form(request: HttpRequest, user: User, workspace: Workspace, job: Job | None) -> Opening:
    """What the page shows for this request. Raises Http404 for `?run=` of somebody else."""
    if request.method == "POST":
        return _pasted(request, workspace) if "paste" in request.POST else Opening(request.POST)
    draft = drafts.find(user, workspace, job)
    if "run" in request.GET:
        runs = Run.objects.select_related("job", "base_model", "test_version")
        run = get_visible(runs, user, "job__workspace", uid=request.GET["run"])
        return _copied(run, workspace, job, draft)
    if request.GET:
        return Opening(request.GET, draft, draft_waits=draft is not None)
    return Opening(drafts.typed_of(draft) if draft else request.GET, draft)


def _copied(run: Run, workspace: Workspace, job: Job | None, draft: Draft | None) -> Opening:
    opening = Opening(QueryDict(mutable=True), draft, draft_waits=draft is not None, run=run)
    try:
        reading = portable.from_dict(portable.to_dict(run), workspace)
    except portable.Unreadable as error:  # its model is not offered any more
        opening.warnings = list(error.problems)
        return opening
    opening.typed, opening.warnings = reading.typed, reading.warnings
    if job is None:
        opening.typed["name"] = free_name(workspace, run.job.name)
    return opening


def _pasted(request: HttpRequest, workspace: Workspace) -> Opening:
    """The form with the pasted configuration (or file) filled in; as it was where that cannot be read."""
    text = request.POST.get("configuration", "").strip()
    if not text and (file := request.FILES.get("configuration_file")):
        text = file.read(4 * portable.MAX_CHARACTERS + 4).decode("utf-8", "replace")
    opening = Opening(request.POST, pasted=text)
    if not text:
        opening.paste_errors = [_("Paste a configuration or choose a file.")]
        return opening
    try:
        reading = portable.from_text(text, workspace)
    except portable.Unreadable as error:
        opening.paste_errors = list(error.problems)
        return opening
    return Opening(portable.merged(request.POST, reading), warnings=reading.warnings, is_filled=True)


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
