"""The page of a run and its live parts: progress, curves; stopping it. Its log: logs.py."""

from typing import Any, NamedTuple

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.cache import cache
from django.db.models import QuerySet
from django.http import (
    FileResponse,
    Http404,
    HttpResponse,
    HttpResponseBadRequest,
    HttpResponseRedirect,
    JsonResponse,
)
from django.shortcuts import redirect, render
from django.template.loader import render_to_string
from django.utils import timezone
from django.utils.translation import get_language
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_POST
from django_htmx.http import HttpResponseStopPolling

from catalog.metrics import metric_label
from catalog.models import Model
from console.access import get_visible, get_writable, may_write
from console.htmx import HtmxHttpRequest, nothing_new, wants_fragment
from jobs import lifecycle, portable, priorities, publishing, retention
from jobs.curves import curves, metric_table
from jobs.estimate import comparison
from jobs.launch import run_directory
from jobs.live import CLOCK_SECONDS, place_now, seen_of, waits_long
from jobs.messages import failure_detail
from jobs.models import Priority, Publication, Run, RunState
from jobs.presentation import (
    is_settled,
    latest_metrics,
    parts_token,
    sample_share,
    setting_groups,
    state_token,
)
from jobs.run_mix import data_rows
from jobs.views.common import number_of

WORKSPACE = "job__workspace"
# Newest entries of the timeline that the page shows.
TIMELINE_LENGTH = 100
# Names of models that the form for publishing suggests.
NAMES_OFFERED = 200


def _runs() -> QuerySet[Run]:
    return Run.objects.select_related(
        "job__workspace", "base_model", "test_version__dataset", "created_by", "model_version__model", "pool"
    )


@require_GET
@login_required
def run_detail(request: HtmxHttpRequest, uid: str) -> HttpResponse:
    """Everything about one run. The parts that change while it runs come again through `run_progress`."""
    run = get_visible(_runs(), request.user, WORKSPACE, uid=uid)
    return render(request, "jobs/run.html", _page(request, run))


@require_POST
@login_required
def publish_run(request: HtmxHttpRequest, uid: str) -> HttpResponse:
    """Publishes a finished run by hand: the name of a model of the workspace gives it a further version, any
    other makes a new model. The page comes back with the reason where it cannot be."""
    run = get_writable(_runs(), request.user, WORKSPACE, uid=uid)
    name = request.POST.get("model_name", "").replace("\0", "").strip()
    model = Model.objects.filter(workspace=run.job.workspace, name=name).first()
    try:
        publishing.request(run, request.user, name, model)
    except publishing.PublicationRefused as refused:
        context = {**_page(request, run), "publish_name": name, "publish_error": str(refused)}
        return render(request, "jobs/run.html", context, status=422)
    messages.success(request, _("%(run)s is being published as “%(name)s”.") % {"run": run, "name": name})
    return redirect("jobs:run", uid=run.uid)


@require_GET
@login_required
def run_configuration(request: HtmxHttpRequest, uid: str) -> HttpResponse:
    """The configuration as a file (jobs/portable.py)."""
    run = get_visible(_runs(), request.user, WORKSPACE, uid=uid)
    response = HttpResponse(portable.to_text(run), content_type="application/json")
    response["Content-Disposition"] = f'attachment; filename="{run.uid}.json"'
    return response


@require_GET
@login_required
def run_progress(request: HtmxHttpRequest, uid: str) -> HttpResponse:
    """The live part, or 204 where the page has seen it. `?state=` and `?parts=` are the tokens that the page has; what
    they stand for comes along only when it has changed (a question whether to stop, say, must not be swapped away
    while it is open)."""
    seen = seen_of(uid, request.user)
    if not wants_fragment(request):
        return redirect("jobs:run", uid=uid)
    if answer := nothing_new(request, seen):
        return answer
    shown = _shown_progress(uid, seen)
    html = shown.html
    with_state = request.GET.get("state") != shown.state_token
    with_parts = request.GET.get("parts") != shown.parts_token
    if with_state or with_parts:
        run = get_visible(_runs(), request.user, WORKSPACE, uid=uid)
        context = {**_live(run), "with_state": with_state, "with_parts": with_parts}
        context["can_write"] = may_write(request, run.job.workspace_id)
        context |= _priority(request, run) if with_state else {}
        context |= _beside(run) if with_parts else {}
        html += render_to_string("jobs/_run_beside.html", context, request)
    return HttpResponseStopPolling(html) if shown.is_settled else HttpResponse(html)


class _Shown(NamedTuple):
    """The live part as all viewers with a language and a time zone get it."""

    html: str
    state_token: str
    parts_token: str
    is_settled: bool


def _shown_progress(uid: str, seen: str) -> _Shown:
    """Made once for all who ask with the same word."""
    key = f"progress-{uid}-{seen}-{get_language()}-{timezone.get_current_timezone_name()}"
    shown: _Shown | None = cache.get(key)
    if shown is None:
        context = {**_live(_runs().get(uid=uid)), "seen": seen}
        html = render_to_string("jobs/_run_progress.html", context)
        shown = _Shown(html, context["state_token"], context["parts_token"], context["is_settled"])
        cache.set(key, shown, CLOCK_SECONDS)
    return shown


@require_GET
@login_required
def run_metrics(request: HtmxHttpRequest, uid: str) -> HttpResponse:
    """The curves as JSON; `?after=` is the cursor of the answer before, `?keys=loss,eval_loss` chooses. With
    `?table` the same numbers as a page, `?step=` is the newest step on it."""
    run = get_visible(Run.objects.select_related("job"), request.user, WORKSPACE, uid=uid)
    if "table" in request.GET:
        newest = number_of(request, "step")
        table = metric_table(run, newest)
        labels = [metric_label(key) for key in table.keys]
        context = {"run": run, "table": table, "labels": labels, "newest": newest, "nav": "jobs"}
        return render(request, "jobs/metrics.html", context)
    keys = [key for key in request.GET.get("keys", "").replace("\0", "").split(",") if key]
    return JsonResponse(curves(run, keys, number_of(request, "after") or 0))


@require_GET
@login_required
def run_sample(request: HtmxHttpRequest, uid: str, name: str) -> FileResponse:
    """A picture that the model drew at a checkpoint or was asked about; only those that the trainer reported."""
    run = get_visible(Run.objects.all(), request.user, WORKSPACE, uid=uid)
    path = f"samples/{name}"
    reported = {sample["path"] for sample in run.summary.get("samples", ())}
    reported |= {prompt["picture"] for prompt in run.summary.get("replies", ())}
    if path not in reported:
        raise Http404
    try:
        file = (run_directory(run) / path).open("rb")
    except OSError:
        raise Http404 from None
    return FileResponse(file, content_type="image/png", headers={"Cache-Control": "private, max-age=86400"})


@require_POST
@login_required
def stop_run(request: HtmxHttpRequest, uid: str) -> HttpResponseRedirect:
    """Asks the run to save a checkpoint and to end."""
    run = get_writable(_runs(), request.user, WORKSPACE, uid=uid)
    if lifecycle.request_stop(run, request.user):
        messages.success(request, _("The run is being stopped."))
    else:
        messages.info(request, _("The run is already over or being stopped."))
    return redirect("jobs:run", uid=run.uid)


@require_POST
@login_required
def pause_run(request: HtmxHttpRequest, uid: str) -> HttpResponseRedirect:
    """Asks the run to save and to rest until it is resumed."""
    run = get_writable(_runs(), request.user, WORKSPACE, uid=uid)
    if lifecycle.request_pause(run, request.user):
        messages.success(request, _("The run is being paused."))
    else:
        messages.info(request, _("The run is over, being stopped, or paused already."))
    return redirect("jobs:run", uid=run.uid)


@require_POST
@login_required
def resume_run(request: HtmxHttpRequest, uid: str) -> HttpResponseRedirect:
    """Puts a paused run back into the queue."""
    run = get_writable(_runs(), request.user, WORKSPACE, uid=uid)
    if lifecycle.resume(run, request.user):
        messages.success(request, _("The run goes on as soon as there is a place for it."))
    else:
        messages.info(request, _("The run is not paused."))
    return redirect("jobs:run", uid=run.uid)


@require_POST
@login_required
def change_priority(request: HtmxHttpRequest, uid: str) -> HttpResponse:
    """Lets a waiting run go sooner or later; high priority is for owners to give."""
    run = get_writable(_runs(), request.user, WORKSPACE, uid=uid)
    named = {str(item.value): item for item in Priority}
    priority = named.get(request.POST.get("priority", ""))
    if priority is None:
        return HttpResponseBadRequest(_("This is no priority."), content_type="text/plain; charset=utf-8")
    if priorities.change_as_member(run, priority, request.user):
        messages.success(
            request, _("%(run)s has this priority now: %(name)s.") % {"run": run, "name": priority.label}
        )
    else:
        messages.info(request, _("The run waits no longer."))
    return redirect("jobs:run", uid=run.uid)


def _page(request: HtmxHttpRequest, run: Run) -> dict[str, Any]:
    """Context of the whole page."""
    return {
        **_live(run),
        "seen": seen_of(run.uid, request.user),
        **_beside(run),
        **_priority(request, run),
        "can_write": may_write(request, run.job.workspace_id),
        "configuration_json": portable.to_text(run),
        "nav": "jobs",
    }


def _priority(request: HtmxHttpRequest, run: Run) -> dict[str, Any]:
    """Context of the form for the priority: what may be chosen, nothing where nothing can be changed."""
    may_change = run.state == RunState.WAITING and may_write(request, run.job.workspace_id)
    return {"priorities": priorities.choices(request.user, run.job.workspace_id) if may_change else []}


def _live(run: Run) -> dict[str, Any]:
    """Context of the live part."""
    now = timezone.now()
    return {
        "run": run,
        "latest": latest_metrics(run),
        "failure_detail": failure_detail(run.failure),
        "elapsed_seconds": ((run.finished_at or now) - run.started_at).total_seconds()
        if run.started_at
        else None,
        "place": place_now(run) if run.state == RunState.WAITING and not run.is_paused else None,
        "waits_long": run.state == RunState.WAITING and waits_long(run.created_at),
        "cost": comparison(run),
        "is_settled": is_settled(run),
        "publishable_names": _publishable_names(run),
        "state_token": state_token(run),
        "parts_token": parts_token(run),
    }


def _publishable_names(run: Run) -> list[str] | None:
    """The models that could get a further version from this run; None where it cannot be published by hand:
    it is not done, or is published already or about to be."""
    if run.state != RunState.DONE or run.publication == Publication.PENDING or run.model_version:
        return None
    models = Model.objects.filter(workspace=run.job.workspace, model_type=run.job.model_type)
    return list(models.order_by("name").values_list("name", flat=True)[:NAMES_OFFERED])


def _beside(run: Run) -> dict[str, Any]:
    """Context of what changes seldom: actions, checkpoints, timeline, publication."""
    kept_until = retention.kept_until(run) if run.is_terminal else None
    return {
        "checkpoints_until": kept_until,
        "checkpoints_go_soon": retention.goes_soon(kept_until),
        "expendable_count": len(retention.expendable(run)) if kept_until else 0,
        "checkpoints": run.checkpoints.order_by("-step"),
        "timeline": run.timeline.select_related("actor").order_by("-at", "-pk")[:TIMELINE_LENGTH],
        # The trainer says what it made of the configuration once it has seen the data.
        "setting_groups": setting_groups(run),
        "samples": [
            sample | {"file": sample["path"].rpartition("/")[2]}
            for sample in reversed(run.summary.get("samples", []))
        ],
        "replies": [
            prompt | {"file": (prompt["picture"] or "").rpartition("/")[2]}
            for prompt in run.summary.get("replies", [])
        ],
        "sample_share": sample_share(run),
        "data_rows": data_rows(run),
    }
