"""The page of a run and its live parts: progress, curves, log; stopping it."""

from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.db.models import QuerySet
from django.http import (
    FileResponse,
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponseBadRequest,
    HttpResponseRedirect,
    JsonResponse,
)
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_POST
from django.views.decorators.vary import vary_on_headers
from django_htmx.http import HttpResponseStopPolling

from catalog.models import Model
from console.access import get_visible, get_writable, may_write
from console.htmx import HtmxHttpRequest, wants_fragment
from jobs import lifecycle, portable, priorities, publishing, retention
from jobs.curves import curves, metric_label, metric_table
from jobs.estimate import comparison
from jobs.launch import run_directory
from jobs.log_tail import log_path, read_log
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
from jobs.queueing import place
from jobs.run_mix import data_rows

WORKSPACE = "job__workspace"
# Seconds after which a run that still waits says that nobody may be there to take it.
LONG_WAIT_SECONDS = 60
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
    """The live part. `?state=` and `?parts=` are the tokens that the page has; what they stand for comes along
    only when it has changed (a question whether to stop, say, must not be swapped away while it is open)."""
    run = get_visible(_runs(), request.user, WORKSPACE, uid=uid)
    if not wants_fragment(request):
        return redirect("jobs:run", uid=run.uid)
    context = _live(run)
    context["can_write"] = may_write(request, run.job.workspace_id)
    if request.GET.get("state") != context["state_token"]:
        context |= {"with_state": True, **_priority(request, run)}
    if request.GET.get("parts") != context["parts_token"]:
        context |= {"with_parts": True, **_beside(run)}
    response = render(request, "jobs/_run_live.html", context)
    if is_settled(run):
        return HttpResponseStopPolling(response.content)
    return response


@require_GET
@login_required
def run_metrics(request: HtmxHttpRequest, uid: str) -> HttpResponse:
    """The curves as JSON; `?after=` is the cursor of the answer before, `?keys=loss,eval_loss` chooses. With
    `?table` the same numbers as a page, `?step=` is the newest step on it."""
    run = get_visible(Run.objects.select_related("job"), request.user, WORKSPACE, uid=uid)
    if "table" in request.GET:
        newest = offset(request, "step")
        table = metric_table(run, newest)
        labels = [metric_label(key) for key in table.keys]
        context = {"run": run, "table": table, "labels": labels, "newest": newest, "nav": "jobs"}
        return render(request, "jobs/metrics.html", context)
    keys = [key for key in request.GET.get("keys", "").replace("\0", "").split(",") if key]
    return JsonResponse(curves(run, keys, offset(request) or 0))


@require_GET
@login_required
@vary_on_headers("HX-Request")
def run_log(request: HtmxHttpRequest, uid: str) -> HttpResponseBase:
    """The end of the log; with `?after=` what came after that byte; with `?download` the whole file."""
    run = get_visible(_runs(), request.user, WORKSPACE, uid=uid)
    path = log_path(run)
    if "download" in request.GET:
        try:
            file = path.open("rb")
        except FileNotFoundError:
            raise Http404(_("This run has no log (yet).")) from None
        name = f"{run.uid}.log"
        return FileResponse(file, as_attachment=True, filename=name, content_type="text/plain; charset=utf-8")
    after = offset(request)
    piece = read_log(path, after)
    context = {"run": run, "piece": piece, "polls": run.is_active or piece.has_more, "nav": "jobs"}
    if not wants_fragment(request):
        return render(request, "jobs/log.html", context)
    return render(request, "jobs/_log.html" if after is None else "jobs/_log_piece.html", context)


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
        "place": place(run) if run.state == RunState.WAITING and not run.is_paused else None,
        "waits_long": run.state == RunState.WAITING
        and (now - run.created_at).total_seconds() > LONG_WAIT_SECONDS,
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


def offset(request: HttpRequest, name: str = "after") -> int | None:
    """`?after=` as a number; None where it is missing or none."""
    after = request.GET.get(name, "")
    return int(after) if after.isascii() and after.isdigit() and len(after) < 19 else None
