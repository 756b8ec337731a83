"""增量训练: which results may be built on, and what the choice fixes."""

from datetime import timedelta

import pytest
from django.utils import timezone

from catalog.models import BaseModel, Offer, WeightsKind
from datasets.mixing import Source
from jobs.configuration import Configuration, problems, submit
from jobs.incremental import obstacle, offered_bases, startable_steps
from jobs.models import Checkpoint, Job, Run, RunSource, RunState

FULL = "FullFineTuning"


@pytest.fixture
def base(make_run, make_version) -> Run:
    """A full-parameter run that is done, on 150 rows; checkpoints at 20 and at its last step."""
    run = make_run(RunState.DONE, step=25, finished_at=timezone.now())
    run.method = FULL
    run.save()
    RunSource.objects.create(run=run, version=make_version(150, name="before"))
    for step in (20, 25):
        save_checkpoint(run, step)
    return run


def save_checkpoint(run: Run, step: int) -> None:
    Checkpoint.objects.create(
        run=run, step=step, path=f"checkpoints/checkpoint-{step}", created_at=timezone.now()
    )


@pytest.fixture
def configuration(base, base_model, make_version):
    return Configuration(
        name="more",
        model_type="text2text",
        base_model=base_model,
        method="LoRA",
        sources=[Source(make_version(120))],
        base_run=base,
    )


def test_a_run_builds_on_a_full_result(workspace, alice, configuration, base):
    run = submit(workspace, alice, configuration)
    assert (run.base_run, run.base_step, run.base_mix) == (base, None, 10)


@pytest.mark.parametrize(("days", "allowed"), [(29, True), (30.9, True), (31.1, False), (32, False)])
def test_a_result_may_be_a_month_old(workspace, configuration, base, days, allowed):
    base.finished_at = timezone.now() - timedelta(days=days)
    assert ("base_run" not in problems(workspace, configuration)) is allowed


def test_the_age_is_a_setting(workspace, configuration, base, settings):
    base.finished_at = timezone.now() - timedelta(days=40)
    settings.INCREMENTAL_MAX_AGE_DAYS = 60
    assert problems(workspace, configuration) == {}


def test_lora_results_are_no_base(workspace, configuration, base):
    base.method = "LoRA"
    assert "LoRA" in problems(workspace, configuration)["base_run"][0]


def test_another_base_model_is_refused(workspace, configuration, base_model):
    other = BaseModel.objects.create(
        family=base_model.family,
        name="Toy-32K",
        weights_kind=WeightsKind.DIRECTORY,
        weights_location="/nowhere/toy32",
    )
    Offer.objects.create(base_model=other, method="LoRA")
    configuration.base_model = other
    assert "Toy-8K" in problems(workspace, configuration)["base_model"][0]


def test_a_run_of_another_workspace_does_not_exist(charlie, configuration):
    assert "base_run" in problems(charlie.workspaces.get(), configuration)


def test_a_run_of_another_type_is_refused(workspace, configuration, base):
    Job.objects.filter(pk=base.job_id).update(model_type="text2image")
    base.job.refresh_from_db()
    assert "base_run" in problems(workspace, configuration)


@pytest.mark.parametrize("state", [RunState.RUNNING, RunState.FAILED, RunState.STOPPED])
def test_an_unfinished_run_needs_a_checkpoint(workspace, configuration, base, state):
    base.state, configuration.base_step = state, 20
    assert problems(workspace, configuration) == {}
    base.checkpoints.all().delete()
    assert "base_run" in problems(workspace, configuration)


@pytest.mark.parametrize(("step", "allowed"), [(None, True), (20, True), (25, True), (21, False)])
def test_the_step_is_one_that_was_saved(workspace, configuration, step, allowed):
    configuration.base_step = step
    assert ("base_step" not in problems(workspace, configuration)) is allowed


def test_only_the_result_has_no_step(workspace, configuration, base):
    base.state = RunState.STOPPED
    assert "base_step" in problems(workspace, configuration)


@pytest.mark.parametrize(("share", "allowed"), [(-0.1, False), (0, True), (100, True), (100.1, False)])
def test_the_share_of_the_base_data_has_limits(workspace, configuration, share, allowed):
    configuration.base_mix = share
    assert ("base_mix" not in problems(workspace, configuration)) is allowed


def test_the_weights_of_the_base_model_are_not_needed(workspace, configuration, base_model):
    base_model.weights_kind = WeightsKind.NONE
    base_model.save()
    assert problems(workspace, configuration) == {}


def test_the_base_data_do_not_count_for_the_100_rows(workspace, configuration, make_version):
    configuration.sources = [Source(make_version(95, name="few"))]
    configuration.base_mix = 100
    assert "sources" in problems(workspace, configuration)


def test_the_result_comes_first_and_its_checkpoint_is_not_named_twice(base):
    assert startable_steps(base) == [None, 20]


def test_of_a_text_to_image_run_only_the_result_is_whole(base):
    base.job.model_type = "text2image"
    assert startable_steps(base) == [None]
    base.state = RunState.STOPPED
    assert obstacle(base)


def test_what_can_be_chosen_is_offered_first(workspace, base, make_run):
    lora = make_run(RunState.DONE, finished_at=timezone.now())
    make_run(RunState.RUNNING)  # nothing saved: not shown at all
    bases = offered_bases(workspace, "text2text")
    assert [item.run for item in bases] == [base, lora]
    assert bases[0].label == "【support bot V1 Step 25】"
    assert (bases[0].obstacle, bool(bases[1].obstacle)) == ("", True)
    assert offered_bases(workspace, "text2image") == []


def test_the_list_needs_three_queries(workspace, base, make_run, django_assert_max_num_queries):
    for _number in range(5):
        run = make_run(RunState.DONE, finished_at=timezone.now())
        save_checkpoint(run, 3)
    with django_assert_max_num_queries(3):
        assert [item.label for item in offered_bases(workspace, "text2text")]
