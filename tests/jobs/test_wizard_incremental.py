"""The page with a base run, a general corpus, and the other job types."""

import pytest
from django.urls import reverse
from django.utils import timezone

from catalog.models import BaseModel, ModelFamily, Offer, WeightsKind
from datasets.models import Dataset, RowType, SharedData, SharedKind
from jobs.models import Checkpoint, Job, Run, RunSource, RunState

CREATE = reverse("jobs:create")
PANEL = reverse("jobs:panel")


@pytest.fixture
def client(client_of, alice):
    return client_of(alice)


@pytest.fixture
def base(make_run, make_version) -> Run:
    """V1 of "support bot": a full-parameter result on Toy-8K, 100 rows."""
    run = make_run(RunState.DONE, method="FullFineTuning", step=30, finished_at=timezone.now())
    RunSource.objects.create(run=run, version=make_version(100, name="before"))
    for step in (10, 30):
        Checkpoint.objects.create(run=run, step=step, path=f"checkpoint-{step}", created_at=timezone.now())
    Job.objects.filter(pk=run.job_id).update(next_version=2)
    return run


@pytest.fixture
def other_model(base_model) -> BaseModel:
    """Another version of the same family."""
    model = BaseModel.objects.create(
        family=base_model.family,
        name="Toy-32K",
        weights_kind=WeightsKind.DIRECTORY,
        weights_location="/nowhere",
    )
    Offer.objects.create(base_model=model, method="LoRA")
    return model


@pytest.fixture
def filled(base, base_model, make_version):
    """A run that builds on `base`."""
    return {
        "name": "more",
        "type": "text2text",
        "base_model": base_model.name,
        "method": "LoRA",
        "source": make_version(120).uid,
        "incremental": "on",
        "base_run": base.uid,
    }


@pytest.fixture
def corpus(make_version) -> SharedData:
    version = make_version(400, name="corpus")
    return SharedData.objects.create(
        kind=SharedKind.CORPUS, name_zh="语料", name_en="Corpus", version=version
    )


def panel(client, part="training-config", **typed):
    return client.post(PANEL, typed, headers={"HX-Request": "true", "HX-Target": part})


def test_the_base_run_locks_the_base_model_and_says_why(client, base, other_model):
    answer = panel(client, incremental="on", base_run=base.uid, base_model="Toy-32K", family="toy")
    form = answer.context["form"]
    assert (form.choice.base_model.name, form.locking_run) == ("Toy-8K", base)
    assert 'type="radio" name="base_model"' not in answer.text
    assert '<input type="hidden" name="base_model" value="Toy-8K">' in answer.text


def test_it_is_shown_with_name_version_and_step(client, base):
    answer = panel(client, incremental="on")
    assert "【support bot V1 Step 30】" in answer.text


def test_what_cannot_be_a_base_is_shown_with_the_reason(client, base, make_run):
    lora = make_run(RunState.DONE, finished_at=timezone.now())
    answer = panel(client, incremental="on")
    assert f'<option value="{lora.uid}" disabled>' in answer.text
    assert "LoRA results cannot be a base" in answer.text


def test_it_creates_a_run_on_the_base(client, filled, base):
    client.post(CREATE, filled | {"base_step": "10", "base_mix": "25"})
    run = Run.objects.exclude(pk=base.pk).get()
    assert (run.base_run, run.base_step, run.base_mix, run.base_model.name) == (base, 10, 25, "Toy-8K")


def test_ten_percent_and_the_result_are_the_defaults(client, filled, base):
    client.post(CREATE, filled)
    run = Run.objects.exclude(pk=base.pk).get()
    assert (run.base_step, run.base_mix) == (None, 10)


def test_a_crafted_base_model_gets_the_message_of_the_rule(client, filled, other_model):
    form = client.post(CREATE, filled | {"base_model": "Toy-32K"}).context["form"]
    assert "keeps that base model" in form.errors["base_model"][0]


@pytest.mark.parametrize(
    ("field", "value"),
    [("base_run", ""), ("base_run", "task-nobody000000"), ("base_run", "\0"), ("base_step", "11"),
     ("base_step", "x"), ("base_mix", "101"), ("base_mix", "some")],
)  # fmt: skip
def test_mistakes_are_said_at_their_fields(client, filled, field, value):
    page = client.post(CREATE, filled | {field: value})
    assert page.status_code == 422
    assert field in page.context["form"].errors


def test_a_run_of_another_workspace_is_unknown(client_of, charlie, filled):
    form = client_of(charlie).post(CREATE, filled).context["form"]
    assert "base_run" in form.errors


def test_the_step_of_another_run_gives_way(client, base):
    form = panel(client, incremental="on", base_run=base.uid, base_step="77", step_of="task-other").context[
        "form"
    ]
    assert form.configuration.base_step is None


def test_with_the_switch_off_nothing_is_built_on(client, filled, base):
    client.post(CREATE, {key: value for key, value in filled.items() if key != "incremental"})
    assert Run.objects.exclude(pk=base.pk).get().base_run is None


def test_base_data_and_corpus_are_part_of_the_mix(client, filled, corpus):
    answer = panel(client, "summary", **filled, with_corpus="on", split_ratio="0")
    lines = answer.context["summary"].lines
    # 10 % of the 80 rows that the base run trained on; 20 characters a row everywhere.
    assert [(line.kind, line.rows) for line in lines] == [("source", 120), ("corpus", 24), ("base_run", 10)]
    assert sum(line.share for line in lines) == pytest.approx(100)
    assert (answer.context["summary"].rows, answer.context["summary"].training) == (144, 154)


def test_a_corpus_is_mixed_in_one_to_five(client, filled, corpus, base):
    client.post(CREATE, filled | {"with_corpus": "on"})
    run = Run.objects.exclude(pk=base.pk).get()
    assert (run.corpus, run.corpus_ratio) == (corpus, 0.2)


@pytest.mark.parametrize("parts", ["0", "-5", "0.09", "1001", "many", ""])
def test_a_ratio_that_is_none_is_said_at_its_field(client, filled, corpus, parts):
    page = client.post(CREATE, filled | {"with_corpus": "on", "corpus_parts": parts})
    assert "corpus_parts" in page.context["form"].errors


def test_without_a_corpus_there_is_no_switch(client, base_model):
    assert 'id="id_with_corpus"' not in client.get(CREATE).text


def test_preset_datasets_are_offered_by_their_name(client, base_model, charlie, make_version):
    version = make_version(150, name="internal", workspace=charlie.workspaces.get())
    SharedData.objects.create(
        kind=SharedKind.PRESET, name_zh="预置", name_en="Everyday questions", version=version
    )
    for address in (CREATE, f"{CREATE}?source={version.uid}"):  # the second with its line among the totals
        page = client.get(address)
        assert "Everyday questions" in page.text and "internal" not in page.text


def test_a_high_rate_is_advised_against_and_allowed(client, filled):
    rate = {f"rate-{filled['source']}": "5.1"}
    answer = panel(client, "summary", **filled, **rate)
    assert answer.context["summary"].is_above_recommended
    assert "1 to 5 is recommended" in answer.text
    assert client.post(CREATE, filled | rate).status_code == 302


def test_a_new_run_is_filled_in_like_the_latest(client, filled, corpus, base):
    typed = filled | {"base_step": "10", "base_mix": "0", "with_corpus": "on", "corpus_parts": "3"}
    client.post(CREATE, typed)
    run = Run.objects.exclude(pk=base.pk).get()
    form = client.get(reverse("jobs:new_run", args=[run.job.uid])).context["form"]
    configuration = form.configuration
    assert (configuration.base_run, configuration.base_step, configuration.base_mix) == (base, 10, 0)
    assert (configuration.corpus, configuration.corpus_ratio) == (corpus, 1 / 3)
    assert form["corpus_parts"].value() == "3"
    assert form.problems == {}


@pytest.fixture
def seeing(db) -> BaseModel:
    """A model for image understanding, with weights."""
    family = ModelFamily.objects.create(key="seer", name="Seer", model_type="imageUnderstanding")
    model = BaseModel.objects.create(
        family=family, name="Seer-13B", weights_kind=WeightsKind.DIRECTORY, weights_location="/nowhere/seer"
    )
    Offer.objects.create(base_model=model, method="LoRA")
    return model


def test_image_understanding_has_its_model_in_the_basics(client, seeing):
    page = client.get(CREATE, {"type": "imageUnderstanding"}).text
    assert (
        page.index('id="training"') > page.index('id="id_base_model_field"') > page.index('id="basics-model"')
    )


def test_an_error_about_that_model_is_listed_among_the_basics(client, seeing):
    sent = {"type": "imageUnderstanding", "base_model": "Nothing-1B", "method": "", "name": ""}
    form = client.post(CREATE, sent).context["form"]
    assert list(form.errors) == ["name", "base_model", "method", "source"]
    assert [form.section_of(name) for name in form.errors] == ["basics", "basics", "training", "data"]


def test_a_change_of_type_moves_the_model_and_brings_the_split_of_the_type(client, base_model, seeing):
    typed = {"data_for": "text2text messages", "split_ratio": "33", "family": "toy", "base_model": "Toy-8K"}
    answer = panel(client, type="imageUnderstanding", **typed)
    assert answer.context["form"]["split_ratio"].value() == "5"
    training, _separator, basics = answer.text.partition('<div id="basics-model"')
    assert 'name="base_model"' not in training and 'value="Seer-13B"' in basics
    answer = panel(
        client, type="text2text", data_for="imageUnderstanding image_messages", family="seer", split_ratio="7"
    )
    assert answer.context["form"]["split_ratio"].value() == "20"
    training, _separator, basics = answer.text.partition('<div id="basics-model"')
    assert 'value="Toy-8K"' in training and 'name="base_model"' not in basics


def test_images_have_no_sampling_rates(client, workspace, make_version, seeing):
    Dataset.objects.create(workspace=workspace, name="pictures", row_type=RowType.IMAGE_MESSAGES)
    version = make_version(30, name="pictures")
    page = client.get(CREATE, {"type": "imageUnderstanding", "source": version.uid})
    assert page.context["form"].chosen_versions == [version]
    assert f"rate-{version.uid}" not in page.text


def test_a_base_of_another_type_is_let_go_on_the_page_and_refused_when_submitted(
    client, filled, seeing, base
):
    typed = filled | {"type": "imageUnderstanding", "base_model": "Seer-13B"}
    answer = panel(client, **typed)
    assert answer.context["form"].configuration.base_run is None
    assert base.uid not in answer.text
    errors = client.post(CREATE, typed).context["form"].errors
    assert "another job type" in errors["base_run"][0]


def test_a_corpus_that_is_too_small_says_so(client, filled, corpus):
    answer = panel(client, "summary", **filled, with_corpus="on", corpus_parts="0.1", split_ratio="0")
    share = answer.context["summary"].corpus
    assert (share.rows, share.wanted, share.is_short) == (400, 1200, True)
    # "question 1 answer 1": 4 words of 1.3 tokens for each row, of which the count of characters says 20.
    assert 400 < share.tokens < 4000
    assert "none is taken twice" in answer.text
