"""自动发布: a finished run becomes a model version once, or says why it does not."""

import errno
import hashlib
import json
from datetime import timedelta

import pytest
from django.core.files.storage import default_storage

from catalog.models import Model, ModelVersion
from catalog.models.registry import ModelVersionState
from jobs import launch, merging, publishing
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
    assert {"name": "adapter_model.safetensors", "size": 7, "sha256": digest} in version.files
    with default_storage.open(f"{version.path}/adapter_model.safetensors") as file:
        assert file.read() == b"weights"


def test_publishing_again_changes_nothing(finished_run):
    publishing.publish(finished_run.pk)
    assert publishing.publish(finished_run.pk) is None
    assert Model.objects.get().versions.count() == 1


def test_a_full_storage_delays_and_says_so(finished_run, monkeypatch):
    """Nothing half copied stays, and the run is published once there is room."""
    save = default_storage.save

    def full(name, content):
        save(name, content)
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(default_storage, "save", full)
        for _again in range(2):
            with pytest.raises(OSError, match="No space"):
                publishing.publish(finished_run.pk)
    finished_run.refresh_from_db()
    assert finished_run.publication_note["code"] == "storage_full"
    assert finished_run.publication == Publication.PENDING
    assert [entry.kind for entry in finished_run.timeline.all()] == ["publish_delayed"]
    assert not default_storage.exists(f"models/{finished_run.model_version.uid}")
    assert publishing.pending() == []  # not every five seconds
    monkeypatch.setattr(publishing, "AGAIN_AFTER", timedelta())
    assert publishing.pending() == [finished_run.pk]
    version = publishing.publish(finished_run.pk)
    finished_run.refresh_from_db()
    assert (version.state, finished_run.publication_note) == (ModelVersionState.READY, None)


def test_a_version_that_went_while_it_was_copied_does_not_come_back(finished_run, monkeypatch):
    """As by a worker that was away for so long that the run was given up meanwhile."""
    copy = publishing._copy

    def slow(paths, version):
        publishing._skip(finished_run.pk, publishing.NotPublishable("output_missing"))
        return copy(paths, version)

    monkeypatch.setattr(publishing, "_copy", slow)
    assert publishing.publish(finished_run.pk) is None
    finished_run.refresh_from_db()
    assert finished_run.publication == Publication.SKIPPED and not ModelVersion.objects.exists()
    assert default_storage.listdir("models")[0] == []


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


@pytest.fixture
def adapter_run(finished_run, base_model):
    """The finished run with an adapter and the files that its trainer leaves, on a base model of two bytes."""
    directory = launch.run_directory(finished_run)
    weights = directory.parent / "base"
    weights.mkdir()
    (weights / "model.safetensors").write_bytes(b"..")
    (weights / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    (directory / "output" / "adapter_config.json").write_text("{}")
    spec = {"schema": 1, "run": finished_run.uid, "attempt": 1, "trainer": "text", "method": "LoRA"}
    spec |= {"base": {"name": "Toy-8K", "path": str(weights)}, "data": {"train": "x"}, "hyperparameters": {}}
    (directory / "spec.json").write_text(json.dumps(spec))
    resolved = {"epoch": {"value": 3, "origin": "offer"}}
    events = [
        {
            "type": "start",
            "resolved": resolved,
            "parameters": {},
            "versions": {"peft": "1"},
            "dtype": "float32",
        },
        {"type": "done", "step": 9, "metrics": {"loss": 0.5}, "seconds": 1, "time": "2026-01-01"},
    ]
    (directory / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    return finished_run


def read(version, name):
    with default_storage.open(f"{version.path}/{name}") as file:
        return file.read().decode()


def test_the_model_card_says_where_the_weights_come_from(adapter_run, settings):
    settings.PUBLISH_MERGED = "never"
    version = publishing.publish(adapter_run.pk)
    card = json.loads(read(version, "model_card.json"))
    assert (card["base"]["licence"], card["hyperparameters"]) == ("apache-2.0", {"epoch": 3})
    assert (card["metrics"], card["model"]["label"]) == ({"loss": 0.5}, "assistant V1")
    readme = read(version, "README.md")
    assert "license: apache-2.0" in readme and "PeftModel" in readme and "merged" not in readme


def test_merged_weights_are_published_beside_the_adapter(adapter_run, monkeypatch):
    def merge(directory, target):
        target.mkdir()
        (target / "model.safetensors").write_bytes(b"all")
        return ""

    monkeypatch.setattr(publishing.merging, "merge", merge)
    version = publishing.publish(adapter_run.pk)
    assert {"merged/model.safetensors", "adapter_config.json"} <= {item["name"] for item in version.files}
    assert 'from_pretrained("merged")' in read(version, "README.md")
    assert not (launch.run_directory(adapter_run) / "merged").exists()


def test_an_adapter_that_cannot_be_merged_is_published_alone_with_a_warning(adapter_run, settings):
    settings.PUBLISH_MERGED = "always"
    version = publishing.publish(adapter_run.pk)
    assert not any(item["name"].startswith("merged/") for item in version.files)
    assert "config.json is missing" in adapter_run.timeline.get(kind="warning").data["message"]


def test_merging_that_was_interrupted_leaves_the_run_pending(adapter_run, monkeypatch):
    def interrupted(*args):
        raise publishing.merging.Interrupted

    with monkeypatch.context() as patch:
        patch.setattr(publishing.merging, "merge", interrupted)
        assert publishing.publish(adapter_run.pk) is None
    assert publishing.pending() == [adapter_run.pk]


def test_auto_leaves_merging_out_where_the_disk_is_too_small(tmp_path, monkeypatch):
    (tmp_path / "model.safetensors").write_bytes(b"." * 1000)
    assert merging.lacking(tmp_path, tmp_path) == ""
    monkeypatch.setattr(merging, "RESERVE_BYTES", 10**18)
    assert "on the disk" in merging.lacking(tmp_path, tmp_path)
