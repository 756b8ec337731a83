"""Runs side by side."""

from urllib.parse import urlencode

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET

from console.access import visible
from console.htmx import HtmxHttpRequest
from jobs.comparison import MAX_RUNS, compare, overlaid
from jobs.curves import last_value
from jobs.models import Run
from jobs.views.common import number_of

RELATED = (
    "job",
    "base_model",
    "base_run__job",
    "corpus",
    "pool",
    "test_version__dataset",
    "model_version__model",
)


@require_GET
@login_required
def compare_runs(request: HtmxHttpRequest) -> HttpResponse:
    """`?run=…&run=…`: two to four runs of the user's workspaces, the oldest first. `?only=differences`
    leaves out what they have in common."""
    runs = _runs(request)
    context = {
        "runs": runs[:MAX_RUNS],
        "nav": "jobs",
        "only_differences": request.GET.get("only") == "differences",
    }
    if len(runs) < 2:
        context["obstacle"] = _("Choose at least two runs to compare.")
        return render(request, "jobs/compare.html", context)
    if len(runs) > MAX_RUNS:
        context["note"] = _("Only the first %(count)d runs are shown.") % {"count": MAX_RUNS}
    context["sections"] = compare(runs[:MAX_RUNS])
    context["charts"] = [
        {"title": title, "url": _curves_address(runs[:MAX_RUNS], key)}
        for key, title in (("loss", _("Training loss")), ("eval_loss", _("Validation loss")))
    ]
    return render(request, "jobs/compare.html", context)


@require_GET
@login_required
def compare_curves(request: HtmxHttpRequest) -> JsonResponse:
    """The curves of these runs in one chart, as `jobs:metrics` gives those of one."""
    keys = [key for key in request.GET.get("keys", "").split(",") if key]
    return JsonResponse(overlaid(_runs(request)[:MAX_RUNS], keys, number_of(request) or 0))


def _curves_address(runs: list[Run], key: str) -> str:
    query = urlencode([*(("run", run.uid) for run in runs), ("keys", key)])
    return f"{reverse('jobs:compare_curves')}?{query}"


def _runs(request: HttpRequest) -> list[Run]:
    """The named runs that the user may see, each once; others are as if they were not named."""
    uids = [uid for uid in request.GET.getlist("run") if "\0" not in uid][:50]
    runs = visible(Run.objects.select_related(*RELATED), request.user, "job__workspace")  # type: ignore[arg-type]
    runs = runs.annotate(last_loss=last_value("loss"), last_eval_loss=last_value("eval_loss"))
    return list(runs.filter(uid__in=uids).order_by("created_at", "pk"))
