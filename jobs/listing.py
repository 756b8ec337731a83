"""The list of jobs: search, filters, order, and pages by cursor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from django.db.models import Count, Exists, F, OuterRef, Q, QuerySet, Subquery, Value
from django.db.models.functions import Upper
from django.http import QueryDict

from catalog.models import BaseModel, ModelFamily, ModelType
from console.models import User, Workspace
from jobs.models import Job, Run, RunState

PAGE_SIZE = 20
# What `?sort=` may name, with the column behind it; a leading "-" turns the order round.
SORTS = {"created": "created_at", "name": "name"}
DEFAULT_SORT = "-created"


@dataclass(frozen=True)
class JobQuery:
    """What a person asked to see. Unknown values in an address are as good as none."""

    q: str = ""
    state: str = ""
    type: str = ""
    model: str = ""
    owner: str = ""
    sort: str = DEFAULT_SORT
    before: str = ""

    @classmethod
    def of(cls, data: QueryDict) -> JobQuery:
        state, kind, sort = data.get("state", ""), data.get("type", ""), data.get("sort", "")
        return cls(
            q=data.get("q", "").strip(),
            state=state if state in RunState.values else "",
            type=kind if kind in ModelType.values else "",
            model=data.get("model", ""),
            owner=data.get("owner", ""),
            sort=sort if sort.removeprefix("-") in SORTS else DEFAULT_SORT,
            before=data.get("before", ""),
        )

    @property
    def is_filtered(self) -> bool:
        return bool(self.q or self.state or self.type or self.model or self.owner)

    def address(self, **changes: str) -> str:
        """The query string of this query with `changes`; the cursor goes unless it is given."""
        filters = {
            "q": self.q,
            "state": self.state,
            "type": self.type,
            "model": self.model,
            "owner": self.owner,
        }
        values = {**filters, "sort": self.sort, **changes}
        if values["sort"] == DEFAULT_SORT:
            del values["sort"]
        return "?" + urlencode({key: value for key, value in values.items() if value})


@dataclass
class JobRow:
    """A job with its newest run, None for a job that has none (yet)."""

    job: Job
    run: Run | None
    run_count: int


@dataclass
class JobPage:
    """One page. `next` is the cursor of the following one, empty on the last."""

    rows: list[JobRow]
    next: str

    @property
    def is_active(self) -> bool:
        """Whether something on the page may still change by itself."""
        return any(row.run is not None and row.run.is_active for row in self.rows)


def job_page(workspace: Workspace, query: JobQuery, size: int = PAGE_SIZE) -> JobPage:
    """The jobs of a workspace that `query` asks for, in four queries however many there are."""
    jobs = _ordered(_filtered(Job.objects.filter(workspace=workspace), query), workspace, query)
    found = list(jobs.select_related("created_by")[: size + 1])
    page, more = found[:size], found[size:]
    newest = Run.objects.filter(job__in=page).order_by("job_id", "-version").distinct("job_id")
    runs = {run.job_id: run for run in newest.select_related("base_model")}
    counts = dict(Run.objects.filter(job__in=page).order_by().values_list("job").annotate(Count("pk")))
    rows = [JobRow(job, runs.get(job.pk), counts.get(job.pk, 0)) for job in page]
    return JobPage(rows, page[-1].uid if more else "")


def _filtered(jobs: QuerySet[Job], query: JobQuery) -> QuerySet[Job]:
    if query.q:
        jobs = jobs.filter(upper_name__contains=Upper(Value(query.q)))
    if query.type:
        jobs = jobs.filter(model_type=query.type)
    if query.owner:
        jobs = jobs.filter(created_by__username=query.owner)
    # State and model are those of the newest run, as the table shows them. Asked from the side of the runs:
    # of those that are active, or of a model that is seldom trained, there are few.
    newer = Run.objects.filter(job=OuterRef("job"), version__gt=OuterRef("version"))
    newest = Run.objects.filter(~Exists(newer))
    if query.state:
        jobs = jobs.filter(pk__in=newest.filter(state=query.state).values("job"))
    if query.model:
        base_models = BaseModel.objects.filter(family__key=query.model).values_list("pk", flat=True)
        jobs = jobs.filter(pk__in=newest.filter(base_model__in=list(base_models)).values("job"))
    return jobs


def families_in_use(workspace: Workspace) -> QuerySet[ModelFamily]:
    """The model families that runs of the workspace have trained; what the list can be filtered by."""
    # One run a base model is looked for, in the order of an index that holds all that is asked for (runs_of_a_model);
    # with a further column PostgreSQL would read another one from its beginning.
    used = Run.objects.filter(job__workspace=workspace, base_model=OuterRef("pk")).order_by("job_id")
    trained = BaseModel.objects.alias(used=Subquery(used.values("job_id")[:1])).filter(used__isnull=False)
    return ModelFamily.objects.filter(pk__in=trained.order_by().values("family"))


def owners(workspace: Workspace) -> QuerySet[User]:
    """The people who created jobs in the workspace."""
    created = Job.objects.filter(workspace=workspace, created_by=OuterRef("pk"))
    return User.objects.filter(Exists(created)).order_by("username")


def _ordered(jobs: QuerySet[Job], workspace: Workspace, query: JobQuery) -> QuerySet[Job]:
    """Orders by the wanted column, then by id, and starts behind the job that the cursor names.

    A cursor does not shift when somebody creates a job meanwhile, as page numbers do. A job that is gone
    gives the first page.
    """
    column, descending = SORTS[query.sort.removeprefix("-")], query.sort.startswith("-")
    last = Job.objects.filter(workspace=workspace, uid=query.before).first() if query.before else None
    if last is not None:
        beyond = "lt" if descending else "gt"
        value: Any = getattr(last, column)
        # The first condition says no more than the second, but is what an index can be searched by.
        jobs = jobs.filter(
            Q(**{f"{column}__{beyond}e": value}),
            Q(**{f"{column}__{beyond}": value}) | Q(**{f"pk__{beyond}": last.pk}),
        )
    order = (F(column).desc(), F("pk").desc()) if descending else (F(column).asc(), F("pk").asc())
    return jobs.order_by(*order)
