"""Runs side by side: what differs is marked, what came out is there, and nobody sees more than they may."""

import pytest
from django.urls import reverse

from jobs.comparison import compare, overlaid
from jobs.models import Metric, Run, RunSource, RunState

COMPARE = reverse("jobs:compare")


@pytest.fixture
def runs(make_run, make_version) -> list[Run]:
    """Two runs that differ in epochs, rate and loss, and share all else."""
    version, found = make_version(120), []
    for epoch, rate, losses in ((1, 1.0, (3.0, 2.0)), (5, 2.5, (3.0, 0.5))):
        run = make_run(RunState.DONE, hyperparameters={"epoch": epoch, "learningRate": 3e-4})
        RunSource.objects.create(run=run, version=version, sampling_rate=rate)
        for step, value in enumerate(losses, 1):
            Metric.objects.create(run=run, key="loss", step=step, value=value)
        found.append(run)
    return found


def address(runs, **more) -> str:
    return (
        COMPARE
        + "?"
        + "&".join([*(f"run={run.uid}" for run in runs), *(f"{k}={v}" for k, v in more.items())])
    )


def rows_of(page) -> dict[str, object]:
    return {row.key or row.label: row for section in page.context["sections"] for row in section.rows}


def test_differences_and_results_are_told_apart(client_of, alice, runs):
    page = client_of(alice).get(address(runs))
    rows = rows_of(page)
    assert (rows["epoch"].values, rows["epoch"].differs) == (["1", "5"], True)
    assert not rows["learningRate"].differs
    assert rows["Sampling rate of chats V1"].values == ["1", "2.5"]
    assert rows["Training loss"].cells == [("2", False), ("0.5", True)]
    assert page.text.count('class="differs"') == 2


def test_only_differences_on_demand(client_of, alice, runs):
    page = client_of(alice).get(address(runs, only="differences"))
    assert "learningRate" not in page.text
    assert ">epoch<" in page.text
    assert "Training loss" in page.text


def test_a_key_that_only_one_run_has_is_a_difference(runs):
    runs[1].hyperparameters["loraRank"] = 8
    for run in runs:
        run.last_loss = run.last_eval_loss = None
    rows = {row.key: row for section in compare(runs) for row in section.rows}
    assert rows["loraRank"].values == ["–", "8"]


def test_the_curves_lie_over_each_other(client_of, alice, runs):
    url = reverse("jobs:compare_curves")
    answer = client_of(alice).get(url, {"run": [run.uid for run in runs], "keys": "loss"}).json()
    assert [series["label"] for series in answer["series"]] == ["support bot V1", "support bot V2"]
    assert answer["series"][1]["points"] == [[1, 3.0], [2, 0.5]]
    assert not overlaid(runs, ["loss"], answer["cursor"])["series"]


def test_one_run_or_none_is_told(client_of, alice, runs):
    for few in (runs[:1], []):
        assert "at least two runs" in client_of(alice).get(address(few)).text
    assert client_of(alice).get(COMPARE, {"run": "\0"}).status_code == 200


def test_more_than_four_are_cut(client_of, alice, runs, make_run):
    many = [*runs, *(make_run(RunState.DONE) for _ in range(4))]
    page = client_of(alice).get(address(many))
    assert len(page.context["runs"]) == 4
    assert "first 4 runs" in page.text


def test_strangers_see_nothing(client_of, charlie, runs):
    assert "at least two runs" in client_of(charlie).get(address(runs)).text
    url = reverse("jobs:compare_curves")
    assert client_of(charlie).get(url, {"run": runs[0].uid, "keys": "loss"}).json()["series"] == []
    assert client_of(charlie).post(COMPARE).status_code == 405


def test_the_table_of_runs_leads_there(client_of, alice, runs):
    page = client_of(alice).get(reverse("jobs:detail", args=[runs[0].job.uid]))
    assert f'action="{COMPARE}"' in page.text
    for run in runs:
        assert f'value="{run.uid}" id="compare-{run.uid}" form="compare-form"' in page.text
