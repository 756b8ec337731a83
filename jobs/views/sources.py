"""A row of the wizard's list of sources by itself, while its rows are counted."""

from __future__ import annotations

from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from catalog.models import ModelType
from console.access import get_writable
from console.htmx import HtmxHttpRequest
from datasets.models import DatasetVersion
from jobs.data_rules import DATA_RULES
from jobs.forms import RunForm
from jobs.models import Job
from jobs.source_fields import SourceRow


@require_GET
@login_required
def source_row(request: HtmxHttpRequest, uid: str) -> HttpResponse:
    """A chosen version in place, which may have been counted meanwhile; `?type=` of the job, `?job=` where it is
    about a job's next run."""
    versions = DatasetVersion.objects.select_related("dataset__workspace", "location").defer("problems")
    version = get_writable(versions, request.user, "dataset__workspace", uid=uid)
    model_type = request.GET.get("type", "")
    if model_type not in DATA_RULES:
        model_type = ModelType.TEXT_TO_TEXT
    jobs = Job.objects.select_related("workspace")
    job = get_writable(jobs, request.user, uid=request.GET["job"]) if "job" in request.GET else None
    row = SourceRow(version, str(version), is_preset=False, is_chosen=True, rate="1")
    form = {
        "rules": DATA_RULES[model_type],
        "choice": {"model_type": model_type},
        "lowest_rate": RunForm.lowest_rate,
        "highest_rate": RunForm.highest_rate,
    }
    context = {"row": row, "version": version, "form": form, "job": job, "has_ended": not row.is_counting}
    return render(request, "jobs/_source_row.html", context)
