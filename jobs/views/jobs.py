"""The list of jobs and the page of one job."""

from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET
from django.views.decorators.vary import vary_on_headers

from catalog.models import ModelType
from console.access import current_workspace, get_visible, may_write
from console.htmx import HtmxHttpRequest, nothing_new, wants_fragment
from datasets.models import DatasetVersion, VersionState
from jobs import retention
from jobs.curves import last_value
from jobs.drafts import drafts_of
from jobs.listing import JobQuery, families_in_use, job_page, owners
from jobs.live import listed, word_of
from jobs.models import Job, RunState

RUNS_PER_PAGE = 50
# Over the list of jobs.
DRAFTS_SHOWN = 5


@require_GET
@login_required
@vary_on_headers("HX-Request")
def job_list(request: HtmxHttpRequest) -> HttpResponse:
    """All jobs of the workspace; the table alone for htmx (filters, paging, the poll of active runs)."""
    workspace = current_workspace(request)
    query = JobQuery.of(request.GET)
    page = job_page(workspace, query)
    context = {"page": page, "query": query, "nav": "jobs"}
    if not page.rows and not query.is_filtered:
        published = DatasetVersion.objects.filter(dataset__workspace=workspace, state=VersionState.PUBLISHED)
        context["has_data"] = published.exists()
    context["seen"] = seen = word_of(
        (
            query,
            page.next,
            *(part for row in page.rows for part in (row.job.pk, row.run_count, *listed(row.run))),
        )
    )
    if wants_fragment(request):
        return nothing_new(request, seen) or render(request, "jobs/_list_table.html", context)
    context |= {"states": RunState.choices, "types": ModelType.choices}
    context |= {"families": families_in_use(workspace), "owners": owners(workspace)}
    context["going_soon"] = retention.going_soon(workspace)
    context["drafts"] = drafts_of(request.user, workspace)[:DRAFTS_SHOWN]
    return render(request, "jobs/list.html", context)


@require_GET
@login_required
@vary_on_headers("HX-Request")
def job_detail(request: HtmxHttpRequest, uid: str) -> HttpResponse:
    """A job and its runs; the table of runs alone for htmx."""
    job = get_visible(Job.objects.select_related("created_by", "workspace"), request.user, uid=uid)
    runs = job.runs.select_related("base_model", "created_by", "model_version__model").order_by("-version")
    runs = runs.annotate(last_loss=last_value("loss"), last_eval_loss=last_value("eval_loss"))
    page = Paginator(runs, RUNS_PER_PAGE).get_page(request.GET.get("page"))
    context = {"job": job, "page_obj": page, "can_write": may_write(request, job.workspace_id), "nav": "jobs"}
    context["is_active"] = any(run.is_active for run in page)
    context["seen"] = seen = word_of((page.number, page.paginator.count, *map(listed, page)))
    if wants_fragment(request):
        return nothing_new(request, seen) or render(request, "jobs/_runs_table.html", context)
    return render(request, "jobs/detail.html", context)
