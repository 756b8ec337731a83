"""Where a version comes from and what came of it, for those who may see it."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from catalog.models import BaseModel, Model, ModelFamily, ModelVersion
from datasets.lineage import lineage_of
from datasets.models import Dataset, DatasetVersion, SharedData, VersionState
from datasets.publishing import new_version_from
from jobs.models import Job, Run, RunSource
from tests.datasets.storing import stored, talk


@pytest.fixture
def version(workspace) -> DatasetVersion:
    dataset = Dataset.objects.create(workspace=workspace, name="Greetings")
    return stored(dataset, [talk("a")], VersionState.PUBLISHED)


@pytest.fixture
def run_in(db):
    """Returns a function that makes a run in a workspace."""
    family = ModelFamily.objects.create(key="f", name="F", model_type="text2text")
    base = BaseModel.objects.create(family=family, name="F-8K")

    def make(workspace, name: str = "bot", **fields) -> Run:
        job = Job.objects.create(workspace=workspace, name=name, model_type="text2text")
        return Run.objects.create(job=job, version=1, base_model=base, method="LoRA", **fields)

    return make


def test_every_use_is_told_with_its_model(version, workspace, run_in, alice) -> None:
    model = Model.objects.create(workspace=workspace, name="bot", model_type="text2text")
    trained = ModelVersion.objects.create(model=model, number=1, base_model=run_in(workspace, "x").base_model)
    run = run_in(workspace, "trained", model_version=trained)
    RunSource.objects.create(run=run, version=version, sampling_rate=2.5)
    run_in(workspace, "tested", test_version=version)
    shared = SharedData.objects.create(kind="corpus", name_zh="c", name_en="c", version=version)
    run_in(workspace, "mixed", corpus=shared)
    found = lineage_of(version, alice)
    assert [(use.run.job.name, str(use.role), use.rate, use.model) for use in found.uses] == [
        ("trained", "Trained on", 2.5, trained),
        ("tested", "Tested on", None, None),
        ("mixed", "General corpus", None, None),
    ]
    assert (found.use_count, found.model_count, len(found.obstacles)) == (3, 1, 4)


def test_runs_of_other_workspaces_are_counted_but_not_named(
    version, charlie, run_in, alice, client_of
) -> None:
    elsewhere = charlie.memberships.get().workspace
    RunSource.objects.create(run=run_in(elsewhere, "secret plan"), version=version)
    found = lineage_of(version, alice)
    assert (found.uses, found.hidden) == ([], 1)
    page = client_of(alice).get(reverse("datasets:lineage", args=[version.uid])).text
    assert "secret plan" not in page
    assert "another workspace" in page


def test_the_page_takes_the_same_queries_for_any_number_of_runs(
    version, workspace, run_in, alice, client_of
) -> None:
    def queries() -> int:
        RunSource.objects.create(run=run_in(workspace, f"job {Job.objects.count()}"), version=version)
        with CaptureQueriesContext(connection) as captured:
            client.get(reverse("datasets:lineage", args=[version.uid]))
        return len(captured)

    client = client_of(alice)
    queries()
    assert queries() == queries()


def test_a_version_started_from_another_says_so(version, alice, bob, client_of) -> None:
    made = new_version_from(version, alice)
    page = client_of(bob).get(reverse("datasets:lineage", args=[made.uid])).text
    assert reverse("datasets:version", args=[version.uid]) in page
    assert lineage_of(version, alice).successors == [made]


def test_strangers_and_posts(version, charlie, alice, client_of) -> None:
    address = reverse("datasets:lineage", args=[version.uid])
    assert client_of(charlie).get(address).status_code == 404
    assert client_of(alice).post(address).status_code == 405
