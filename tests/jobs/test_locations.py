"""Runs on data in place: the check at submission, the mix out of the bucket, and data that change meanwhile."""

import json
from collections.abc import Iterator

import pytest

from console.models import Workspace
from datasets import locations
from datasets.imports import run_import
from datasets.mixing import Source
from datasets.models import Connection, DatasetVersion
from jobs import follow, lifecycle
from jobs.configuration import Configuration, ConfigurationRefused, submit
from jobs.messages import failure_text
from jobs.models import Run, RunSource, RunState
from jobs.run_data import DataUnavailable, mix_report, write_data
from tests.datasets.buckets import BUCKET, connect, fill, s3_server

pytestmark = pytest.mark.services


def talk(rows: int, word: str = "answer") -> str:
    return "\n".join(json.dumps([{"prompt": f"q {n}", "response": f"{word} {n}"}]) for n in range(rows))


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with s3_server() as address:
        yield address


@pytest.fixture
def version(address, workspace: Workspace, alice, settings) -> DatasetVersion:
    """120 rows in a bucket, counted."""
    settings.ALLOWED_PRIVATE_ENDPOINTS = ["127.0.0.1"]
    fill(address, runs__jsonl__a__jsonl=talk(100), runs__jsonl__b__jsonl=talk(20, "other"))
    version = locations.create(connect(address, workspace), alice, BUCKET, "runs")
    assert run_import(version.pk)
    version.refresh_from_db()
    return version


def asked(base_model, version: DatasetVersion) -> Configuration:
    return Configuration(
        name="in place", model_type="text2text", base_model=base_model, method="LoRA",
        hyperparameters={"epoch": 1}, sources=[Source(version)],
    )  # fmt: skip


def test_a_run_is_made_of_the_rows_in_the_bucket(version, make_run, tmp_path):
    run = make_run(split_ratio=10)
    RunSource.objects.create(run=run, version=version, sampling_rate=2)
    data = write_data(run, tmp_path)
    assert len((data / "train.jsonl").read_bytes().splitlines()) == 2 * 108
    assert mix_report(tmp_path)["mix"][0] | {"label": ""} == {
        "source": version.uid, "label": "", "rows_available": 120, "rows_trained": 216, "rows_held_out": 12,
    }  # fmt: skip


def test_changed_data_are_refused_when_a_run_is_submitted(address, version, workspace, alice, base_model):
    assert submit(workspace, alice, asked(base_model, version)).state == RunState.WAITING
    fill(address, runs__jsonl__a__jsonl=talk(101))
    with pytest.raises(ConfigurationRefused) as refused:
        submit(workspace, alice, asked(base_model, version))
    assert "have changed in the bucket" in refused.value.problems["sources"][0]


def test_a_bucket_that_is_away_is_said_when_a_run_is_submitted(version, workspace, alice, base_model):
    Connection.objects.update(endpoint="http://127.0.0.1:1")
    with pytest.raises(ConfigurationRefused) as refused:
        submit(workspace, alice, asked(base_model, version))
    assert "cannot be reached" in refused.value.problems["sources"][0]


def test_a_run_whose_data_changed_after_submission_fails_with_that_message(
    address, version, workspace, alice, base_model, monkeypatch
):
    submit(workspace, alice, asked(base_model, version))
    fill(address, runs__jsonl__c__jsonl=talk(1))
    monkeypatch.setattr("jobs.launch._base_weights", lambda run: "/nowhere")
    run = lifecycle.claim_next("worker")
    follow.carry_out(run)
    run = Run.objects.get()
    assert (run.state, run.failure["code"]) == (RunState.FAILED, "data_changed")
    assert "have changed in the bucket since they were counted" in failure_text(run.failure)


def test_data_that_change_while_they_are_read_fail_the_run_and_leave_no_half(
    address, version, make_run, tmp_path, monkeypatch
):
    run = make_run()
    RunSource.objects.create(run=run, version=version, sampling_rate=1)
    monkeypatch.setattr(
        "jobs.run_data.require_unchanged", lambda version: fill(address, runs__jsonl__b__jsonl=talk(21))
    )
    with pytest.raises(DataUnavailable) as unavailable:
        write_data(run, tmp_path)
    assert unavailable.value.code == "data_changed" and not (tmp_path / "data").exists()
