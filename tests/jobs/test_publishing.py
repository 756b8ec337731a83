"""自动发布: a finished run becomes a model version once, or says why it does not."""

import hashlib

import pytest
from django.core.files.storage import default_storage

from catalog.models import Model
from catalog.models.registry import ModelVersionState
from jobs import launch, publishing
from jobs.models import Publication, RunState


@pytest.fixture
def finished_run(make_run):
    """A finished run with one file of output that is to be published as the new model `assistant`."""
    run = make_run(RunState.DONE, publication=Publication.PENDING, publish_name="assistant")
    output = launch.run_directory(run) / "output"
    output.mkdir(parents=True)
    (output / "adapter_model.safetensors").write_bytes(b"weights")
    return run


def test_a_finished_run_becomes_version_1(finished_run):
    version = publishing.publish(finished_run.pk)
    finished_run.refresh_from_db()
    assert (str(version), version.state) == ("assistant V1", ModelVersionState.READY)
    assert (finished_run.publication, finished_run.model_version) == (Publication.PUBLISHED, version)


def test_the_files_are_copied_with_their_hashes(finished_run):
    version = publishing.publish(finished_run.pk)
    digest = hashlib.sha256(b"weights").hexdigest()
    assert version.files == [{"name": "adapter_model.safetensors", "size": 7, "sha256": digest}]
    with default_storage.open(f"{version.path}/adapter_model.safetensors") as file:
        assert file.read() == b"weights"


def test_publishing_again_changes_nothing(finished_run):
    publishing.publish(finished_run.pk)
    assert publishing.publish(finished_run.pk) is None
    assert Model.objects.get().versions.count() == 1


def test_a_publication_that_was_killed_half_way_is_finished(finished_run, monkeypatch):
    def killed(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(publishing, "_copy", killed)
        publishing.publish(finished_run.pk)
    assert publishing.pending() == [finished_run.pk]
    assert str(publishing.publish(finished_run.pk)) == "assistant V1"


def test_the_next_version_of_an_existing_model(finished_run, workspace):
    model = Model.objects.create(
        workspace=workspace, name="assistant", model_type="text2text", next_version=4
    )
    type(finished_run).objects.update(publish_as_new=False, publish_model=model)
    assert str(publishing.publish(finished_run.pk)) == "assistant V4"


def skipped_because(run):
    assert publishing.publish(run.pk) is None
    run.refresh_from_db()
    assert run.publication == Publication.SKIPPED
    return run.publication_note["code"]


def test_a_name_that_was_taken_meanwhile(finished_run, workspace):
    Model.objects.create(workspace=workspace, name="assistant", model_type="text2text")
    assert skipped_because(finished_run) == "name_taken"


def test_a_model_that_was_deleted_meanwhile(finished_run):
    type(finished_run).objects.update(publish_as_new=False)
    assert skipped_because(finished_run) == "model_deleted"


def test_output_that_is_gone(finished_run):
    (launch.run_directory(finished_run) / "output" / "adapter_model.safetensors").unlink()
    assert skipped_because(finished_run) == "output_missing"
    assert not Model.objects.filter(versions__isnull=False).exists()


@pytest.mark.parametrize("state", [RunState.FAILED, RunState.STOPPED, RunState.RUNNING])
def test_only_finished_runs_are_published(finished_run, state):
    type(finished_run).objects.update(state=state)
    assert publishing.pending() == []
    assert publishing.publish(finished_run.pk) is None
