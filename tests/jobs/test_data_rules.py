"""What each job type asks of its data, at the edges of each rule; general corpora and preset datasets."""

import pytest

from catalog.models import ModelFamily
from datasets.mixing import Source
from datasets.models import Dataset, RowType, SharedData, SharedKind
from jobs.configuration import Configuration, problems, submit, training_rows
from jobs.mix import counted_rows, mix


@pytest.fixture
def configuration(base_model, make_version):
    return Configuration(
        name="bot",
        model_type="text2text",
        base_model=base_model,
        method="LoRA",
        sources=[Source(make_version(120))],
    )


@pytest.fixture
def of_type(base_model, make_version, workspace):
    """Returns a function that gives a configuration of an image type with one dataset of so many rows."""

    def make(model_type: str, rows: int, **fields) -> Configuration:
        kinds = {"text2image": RowType.IMAGE_CAPTION, "imageUnderstanding": RowType.IMAGE_MESSAGES}
        ModelFamily.objects.filter(pk=base_model.family_id).update(model_type=model_type)
        base_model.family.refresh_from_db()
        Dataset.objects.create(workspace=workspace, name="pictures", row_type=kinds[model_type])
        version = make_version(0, name="pictures")
        version.row_count = rows
        version.save()
        return Configuration(
            name="painter",
            model_type=model_type,
            base_model=base_model,
            method="LoRA",
            sources=[Source(version)],
            **fields,
        )

    return make


@pytest.fixture
def corpus(charlie, make_version) -> SharedData:
    """A general corpus of 50 rows that lies in a workspace nobody here belongs to."""
    version = make_version(50, name="corpus", workspace=charlie.workspaces.get())
    return SharedData.objects.create(
        kind=SharedKind.CORPUS, name_zh="语料", name_en="Corpus", version=version
    )


@pytest.mark.parametrize(
    ("own", "split", "allowed"),
    # One row of the corpus for five that are trained on.
    [(83, 0, True), (82, 0, False), (87, 20, True), (85, 20, False)],
)
def test_the_corpus_counts_for_the_100_rows(
    workspace, configuration, make_version, corpus, own, split, allowed
):
    configuration.sources = [Source(make_version(own, name="own"))]
    configuration.corpus, configuration.split_ratio = corpus, split
    assert counted_rows(mix(configuration)) in (range(100, 110) if allowed else (98, 99))
    assert ("sources" not in problems(workspace, configuration)) is allowed


def test_the_corpus_is_in_proportion_to_what_is_trained_on(configuration, corpus):
    configuration.corpus, configuration.split_ratio = corpus, 20
    assert [(part.kind, part.trained) for part in mix(configuration)] == [("source", 96), ("corpus", 19)]
    assert training_rows(configuration) == (115, 24)


def test_no_row_of_the_corpus_is_taken_twice(configuration, corpus):
    configuration.corpus, configuration.corpus_ratio = corpus, 10
    assert mix(configuration)[1].rows == 50


@pytest.mark.parametrize(("ratio", "allowed"), [(0.0009, False), (0.001, True), (10, True), (10.1, False)])
def test_the_ratio_of_the_corpus_has_limits(workspace, configuration, corpus, ratio, allowed):
    configuration.corpus, configuration.corpus_ratio = corpus, ratio
    assert ("corpus_ratio" not in problems(workspace, configuration)) is allowed


def test_a_corpus_that_is_not_offered_is_refused(workspace, configuration, corpus):
    corpus.enabled = False
    corpus.save()
    configuration.corpus = corpus
    assert "corpus" in problems(workspace, configuration)


def test_a_preset_dataset_is_trained_on_by_everybody(workspace, alice, charlie, configuration, make_version):
    version = make_version(150, name="preset", workspace=charlie.workspaces.get())
    configuration.sources = [Source(version)]
    assert "sources" in problems(workspace, configuration)
    shared = SharedData.objects.create(
        kind=SharedKind.PRESET, name_zh="预置", name_en="Preset", version=version
    )
    assert submit(workspace, alice, configuration).sources.get().version == version
    configuration.name = "second"
    shared.enabled = False
    shared.save()
    assert "sources" in problems(workspace, configuration)


def test_a_corpus_is_no_preset_dataset(workspace, configuration, corpus):
    configuration.sources = [Source(corpus.version, 2)]
    assert "sources" in problems(workspace, configuration)


def test_the_test_set_is_not_trained_on(workspace, configuration):
    configuration.test_version = configuration.sources[0].version
    assert "test_source" in problems(workspace, configuration)


@pytest.mark.parametrize(("images", "allowed"), [(9, False), (10, True), (2000, True), (2001, True)])
def test_text_to_image_takes_10_images_and_more(workspace, of_type, images, allowed):
    assert ("sources" not in problems(workspace, of_type("text2image", images))) is allowed


@pytest.mark.parametrize(("images", "trained"), [(2000, 2000), (2001, 2000), (9000, 2000)])
def test_text_to_image_trains_on_2000_images_at_most(of_type, images, trained):
    assert training_rows(of_type("text2image", images, split_ratio=0)) == (trained, 0)


@pytest.mark.parametrize(("ratio", "allowed"), [(-1, False), (0, True), (20, True), (21, False)])
def test_image_understanding_holds_out_20_percent_at_most(workspace, of_type, ratio, allowed):
    configuration = of_type("imageUnderstanding", 200, split_ratio=ratio)
    assert ("split_ratio" not in problems(workspace, configuration)) is allowed


def test_image_understanding_holds_out_5_percent_and_1000_rows_at_most(of_type):
    configuration = of_type("imageUnderstanding", 200)
    assert training_rows(configuration) == (190, 10)
    configuration.sources[0].version.row_count = 30_000
    assert training_rows(configuration) == (29_000, 1000)


@pytest.mark.parametrize("model_type", ["text2image", "imageUnderstanding"])
def test_images_are_neither_sampled_nor_mixed_with_texts(workspace, of_type, corpus, model_type):
    configuration = of_type(model_type, 200, corpus=corpus)
    version = configuration.sources[0].version
    configuration.sources = [Source(version, 2)]
    assert {"corpus", f"rate-{version.uid}"} <= set(problems(workspace, configuration))


@pytest.mark.parametrize("model_type", ["text2image", "imageUnderstanding"])
def test_conversations_are_no_pictures(workspace, of_type, make_version, model_type):
    configuration = of_type(model_type, 200)
    configuration.sources = [Source(make_version(200, name="texts"))]
    assert "sources" in problems(workspace, configuration)


def test_an_unknown_type_is_refused(workspace, configuration):
    configuration.model_type = "text2smell"
    assert set(problems(workspace, configuration)) == {"type"}
