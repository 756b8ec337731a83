"""Deleting runs and jobs: what goes, what stays, what is in the way, and who may."""

from __future__ import annotations

import pytest
from django.urls import reverse

from catalog.models import Model, ModelVersion
from console import deletion as files
from console.deletion import NotDeletable
from console.models import Deletion
from jobs import deletion, launch
from jobs.models import Job, Publication, Run, RunState


@pytest.fixture
def done(make_run):
    """A run that is done, with its directory."""
    run = make_run(RunState.DONE, hyperparameters={"epoch": 3})
    output = launch.run_directory(run) / "output"
    output.mkdir(parents=True)
    (output / "model.safetensors").write_bytes(b"weights")
    return run


def test_a_run_goes_with_its_files_and_is_remembered(done, alice):
    directory = launch.run_directory(done)
    deletion.delete_run(done, alice)
    assert not Run.objects.exists()
    record = Deletion.objects.get()
    assert (record.kind, record.uid, record.deleted_by) == ("run", done.uid, alice)
    assert record.data["configuration"]["hyperparameters"] == {"epoch": 3}
    assert directory.exists()
    files.remove_files(record.pk)
    assert not directory.exists()
    files.remove_files(record.pk)
    assert files.waiting() == []


def test_files_that_a_dead_worker_left_are_removed_later(done, alice, monkeypatch):
    from console.tasks import resume_deletions

    deletion.delete_run(done, alice)
    resume_deletions()
    assert not launch.run_directory(done).exists()


def test_nothing_outside_the_directory_of_runs_is_removed(workspace, alice, tmp_path):
    (tmp_path / "precious").mkdir()
    record = files.record(workspace, alice, "run", "task-1", "x", run_directories=["../precious", "."])
    files.remove_files(record.pk)
    assert (tmp_path / "precious").exists()


@pytest.mark.parametrize("state", [RunState.WAITING, RunState.RUNNING])
def test_an_active_run_stays(make_run, alice, state):
    run = make_run(state)
    with pytest.raises(NotDeletable, match="active"):
        deletion.delete_run(run, alice)
    with pytest.raises(NotDeletable, match="active"):
        deletion.delete_job(run.job, alice)
    assert Run.objects.exists()


def test_a_run_that_is_being_published_stays(done, alice):
    Run.objects.update(publication=Publication.PENDING)
    with pytest.raises(NotDeletable, match="published"):
        deletion.delete_run(done, alice)


def test_a_run_that_another_was_built_on_stays_until_that_goes(done, make_run, alice):
    built = make_run(RunState.FAILED, base_run=done)
    with pytest.raises(NotDeletable, match="built on"):
        deletion.delete_run(done, alice)
    deletion.delete_run(built, alice)
    deletion.delete_run(done, alice)
    assert not Run.objects.exists()


def test_a_job_goes_with_runs_that_were_built_on_each_other(done, make_run, alice):
    make_run(RunState.DONE, base_run=done)
    deletion.delete_job(done.job, alice)
    assert not Job.objects.exists() and not Run.objects.exists()
    assert sorted(Deletion.objects.values_list("kind", flat=True)) == ["job", "run", "run"]


def test_a_job_with_a_run_that_another_jobs_run_was_built_on_stays_whole(done, make_run, alice, workspace):
    other = Job.objects.create(workspace=workspace, name="other", model_type="text2text")
    built = make_run(RunState.DONE, base_run=done)
    Run.objects.filter(pk=built.pk).update(job=other)
    with pytest.raises(NotDeletable, match="built on"):
        deletion.delete_job(done.job, alice)
    assert Run.objects.count() == 2 and not Deletion.objects.exists()


def test_the_published_model_stays(done, alice, workspace):
    model = Model.objects.create(workspace=workspace, name="bot", model_type="text2text")
    version = ModelVersion.objects.create(
        model=model, number=1, base_model=done.base_model, method="LoRA", state="Ready"
    )
    Run.objects.update(model_version=version)
    deletion.delete_run(done, alice)
    assert ModelVersion.objects.get() == version
    assert Deletion.objects.get().data["model_version"] == version.uid


def test_the_pages_delete(done, alice, client_of):
    client = client_of(alice)
    assert "delete-run" in client.get(reverse("jobs:run", args=[done.uid])).text
    job = done.job
    response = client.post(reverse("jobs:delete_run", args=[done.uid]))
    assert response["Location"] == reverse("jobs:detail", args=[job.uid])
    page = client.get(response["Location"])
    assert page.status_code == 200 and "delete-job" in page.text
    assert client.post(reverse("jobs:delete_job", args=[job.uid]))["Location"] == reverse("jobs:list")
    assert not Job.objects.exists()


def test_a_page_says_why_a_run_cannot_go(make_run, alice, client_of):
    run = make_run(RunState.WAITING)
    response = client_of(alice).post(reverse("jobs:delete_run", args=[run.uid]), follow=True)
    assert "still active" in response.text
    assert Run.objects.exists()


@pytest.mark.parametrize("name", ["run", "job"])
def test_only_those_who_write_delete(done, alice, bob, charlie, client_of, name):
    uid = done.uid if name == "run" else done.job.uid
    address = reverse(f"jobs:delete_{name}", args=[uid])
    assert client_of(bob).post(address).status_code == 403
    assert client_of(charlie).post(address).status_code == 404
    assert client_of(alice).get(address).status_code == 405


def test_a_job_without_runs_has_a_page_and_a_row_and_can_be_continued(
    workspace, alice, base_model, client_of
):
    job = Job.objects.create(workspace=workspace, name="empty", model_type="text2text", base_model=base_model)
    client = client_of(alice)
    for address in ("jobs:detail", "jobs:new_run"):
        assert client.get(reverse(address, args=[job.uid])).status_code == 200
    assert "empty" in client.get(reverse("jobs:list")).text
