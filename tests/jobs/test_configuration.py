"""The one function that decides whether a run may start, at the edges of each rule of the seed."""

import pytest

from catalog.models import Model, WeightsKind
from datasets.mixing import Source
from datasets.models import VersionState
from jobs.configuration import Configuration, ConfigurationRefused, problems, submit, training_rows
from jobs.models import Job, Publication, Run, RunState


@pytest.fixture
def configuration(base_model, make_version):
    return Configuration(
        name="support bot",
        model_type="text2text",
        base_model=base_model,
        method="LoRA",
        hyperparameters={"epoch": 1, "learningRate": 3e-4, "loggingSteps": 1},
        sources=[Source(make_version(120))],
    )


def test_a_complete_configuration_may_start(workspace, configuration):
    assert problems(workspace, configuration) == {}


@pytest.mark.parametrize(
    ("rows", "rate", "allowed"), [(100, 1, True), (99, 1, False), (50, 2, True), (10, 9.9, False)]
)
def test_at_least_100_rows_after_sampling(workspace, configuration, make_version, rows, rate, allowed):
    configuration.sources = [Source(make_version(rows, name="small"), rate)]
    assert ("sources" not in problems(workspace, configuration)) is allowed


def test_two_small_datasets_reach_100_together(workspace, configuration, make_version):
    configuration.sources = [Source(make_version(40, name="a"), 1.5), Source(make_version(20, name="b"), 2)]
    assert problems(workspace, configuration) == {}


@pytest.mark.parametrize(("rate", "allowed"), [(0.009, False), (0.01, True), (10, True), (10.01, False)])
def test_the_sampling_rate_has_limits(workspace, configuration, make_version, rate, allowed):
    version = make_version(20_000, name="big")
    configuration.sources = [Source(version, rate)]
    assert (f"rate-{version.uid}" not in problems(workspace, configuration)) is allowed


@pytest.mark.parametrize(("ratio", "allowed"), [(-1, False), (0, True), (50, True), (51, False)])
def test_the_split_has_limits(workspace, configuration, ratio, allowed):
    configuration.split_ratio = ratio
    assert ("split_ratio" not in problems(workspace, configuration)) is allowed


@pytest.mark.parametrize(("split", "allowed"), [(0, False), (0.1, False), (20, True)])
def test_early_stopping_needs_a_test_set(workspace, configuration, split, allowed):
    """The trainer would refuse it, once the run has begun."""
    configuration.split_ratio = split
    configuration.hyperparameters |= {
        "earlyStopping": "True",
        "earlyStopMetric": "validationLoss",
        "validationStep": 4,
    }
    assert ("hp-earlyStopping" not in problems(workspace, configuration)) is allowed


def test_only_published_versions_are_trained_on(workspace, configuration, make_version):
    configuration.sources = [Source(make_version(200, VersionState.DRAFT, name="draft"))]
    assert "sources" in problems(workspace, configuration)


def test_data_of_another_workspace_do_not_exist(workspace, charlie, configuration, make_version):
    elsewhere = charlie.workspaces.get()
    configuration.sources = [Source(make_version(200, workspace=elsewhere))]
    assert "sources" in problems(workspace, configuration)


@pytest.mark.parametrize(("length", "allowed"), [(500, True), (501, False)])
def test_the_description_is_counted_in_characters(workspace, configuration, length, allowed):
    configuration.description = "🙂" * length
    assert ("description" not in problems(workspace, configuration)) is allowed


def test_a_base_model_without_weights_is_refused_at_its_field(workspace, configuration, base_model):
    base_model.weights_kind = WeightsKind.NONE
    base_model.save()
    assert "base_model" in problems(workspace, configuration)


def test_a_method_that_is_not_offered_is_refused(workspace, configuration):
    configuration.method = "FullFineTuning"
    assert "method" in problems(workspace, configuration)


def test_job_names_are_unique_in_a_workspace(workspace, alice, configuration):
    submit(workspace, alice, configuration)
    assert "name" in problems(workspace, configuration)


def test_the_family_cannot_change_while_a_run_is_active(workspace, alice, configuration, base_model):
    run = submit(workspace, alice, configuration)
    family = base_model.family
    family.pk, family.key, family.name = None, "other", "Other"
    family.save()
    base_model.pk, base_model.name, base_model.family = None, "Other-8K", family
    base_model.save()
    configuration.job, configuration.base_model = run.job, base_model
    assert "base_model" in problems(workspace, configuration)
    Run.objects.update(state=RunState.STOPPED)
    assert "base_model" not in problems(workspace, configuration)


def test_runs_of_a_job_are_numbered(workspace, alice, configuration):
    first = submit(workspace, alice, configuration)
    configuration.job = first.job
    second = submit(workspace, alice, configuration)
    assert (first.label, second.label, Job.objects.count()) == ("V1", "V2", 1)


def test_a_refused_configuration_leaves_nothing_behind(workspace, alice, configuration):
    configuration.sources = []
    with pytest.raises(ConfigurationRefused) as refused:
        submit(workspace, alice, configuration)
    assert set(refused.value.problems) == {"sources"}
    assert not Job.objects.exists()


def test_publishing_into_an_existing_model_keeps_its_type(workspace, configuration):
    Model.objects.create(workspace=workspace, name="painter", model_type="text2image")
    configuration.auto_publish, configuration.model_name = True, "painter"
    assert "model_name" in problems(workspace, configuration)


@pytest.mark.parametrize("name", ["", "x", "_hidden", "a b", "x" * 51])
def test_bad_model_names_are_refused(workspace, configuration, name):
    configuration.auto_publish, configuration.model_name = True, name
    assert "model_name" in problems(workspace, configuration)


def test_the_target_of_publishing_is_fixed_at_submission(workspace, alice, configuration):
    model = Model.objects.create(workspace=workspace, name="assistant", model_type="text2text")
    configuration.auto_publish, configuration.model_name = True, "assistant"
    run = submit(workspace, alice, configuration)
    assert (run.publication, run.publish_model, run.publish_as_new) == (Publication.PENDING, model, False)


def test_rows_are_counted_after_split_and_sampling(configuration, make_version):
    configuration.sources, configuration.split_ratio = [Source(make_version(100, name="c"), 2.5)], 20
    assert training_rows(configuration) == (200, 20)
    configuration.test_version = make_version(1500, name="d")
    assert training_rows(configuration) == (250, 1000)
