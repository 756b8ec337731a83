"""费用与时长: rounding, where the figures come from, and no figure where nothing is known."""

from dataclasses import replace
from decimal import Decimal

import pytest
from django.core.cache import cache
from django.urls import reverse

from datasets.mixing import Source
from datasets.models import CountState, TokenCount
from jobs.configuration import Configuration, submit
from jobs.estimate import charged_hours, comparison, estimate, ruled_tokens
from jobs.models import Pool, Run, RunState, Throughput
from jobs.resources import Resources


@pytest.fixture(autouse=True)
def _empty_cache():
    cache.clear()


@pytest.fixture
def pool(db) -> Pool:
    return Pool.objects.create(
        name="A100",
        queue="a100",
        slots=4,
        device_counts=[1, 2, 4],
        price=Decimal(10),
        idle_price=Decimal(4),
    )


@pytest.fixture
def configuration(base_model, make_version, pool) -> Configuration:
    """1000 rows of 20 characters, a fifth held out, three epochs."""
    return Configuration(
        name="support bot again",
        model_type="text2text",
        base_model=base_model,
        method="LoRA",
        hyperparameters={"epoch": 3},
        sources=[Source(make_version(1000))],
        split_ratio=20.0,
        resources=Resources(pool),
    )


@pytest.fixture
def finished(make_run, pool):
    """Returns a function that makes a finished run: 1 token per character, 100 tokens a second."""

    def make(**fields):
        standard = {
            "pool": pool,
            "epoch": 2.0,
            "held_seconds": 400.0,
            "estimate": {"characters": 20_000},
            "summary": {"data": {"rows": 800, "eval_rows": 200, "tokens": 16_000}},
        }
        return make_run(RunState.DONE, **(standard | fields))

    return make


@pytest.mark.parametrize(
    ("seconds", "hours"),
    [(0, "0.01"), (0.1, "0.01"), (36, "0.01"), (36.001, "0.02"), (3600, "1.00"), (3600.01, "1.01")],
)
def test_time_is_counted_in_steps_of_a_hundredth_hour(seconds, hours):
    """Seed: 最小计量粒度为0.01小时,不足0.01小时按0.01小时计算."""
    assert charged_hours(seconds) == Decimal(hours)


@pytest.mark.parametrize(
    ("text", "tokens"), [("你好世界", 4), ("one two", 2.6), ("学习 Django 5.2", 2 + 1.3 * 3), ("", 0)]
)
def test_tokens_by_rule_of_thumb(text, tokens):
    assert ruled_tokens(text) == pytest.approx(tokens)


def test_nothing_is_claimed_about_speed_that_nobody_knows(configuration):
    figures = estimate(configuration)
    assert figures.amount > 0
    assert (figures.hours, figures.price, figures.speed_from) == (None, None, "")


def test_validation_rows_and_epochs_count(configuration):
    # "question 7" and "answer 7" are two words each: 5.2 tokens in about 19 characters.
    assert estimate(configuration).characters == 20_000
    amount = estimate(configuration).amount
    assert estimate(replace(configuration, split_ratio=0.0)).amount == amount
    assert estimate(replace(configuration, hyperparameters={"epoch": 6})).amount == pytest.approx(
        2 * amount, abs=1
    )
    assert amount == pytest.approx(20_000 * 5.2 / 20 * 3, rel=0.15)


def test_sampling_counts(configuration):
    tripled = [replace(configuration.sources[0], sampling_rate=3.0)]
    # 800 rows three times, 200 held out once.
    assert estimate(replace(configuration, sources=tripled)).characters == 20 * 2600


def test_the_operators_speed_comes_first(configuration, pool, base_model, finished):
    finished()
    Throughput.objects.create(pool=pool, base_model=base_model, method="LoRA", tokens_per_second=10)
    figures = estimate(configuration)
    # 20 000 characters of one token each, three times, ten a second: 6000 s.
    assert (figures.amount, figures.hours, figures.speed_from) == (60_000, Decimal("1.67"), "operator")
    assert figures.price == Decimal("16.7")


def test_speed_and_tokens_are_learned_from_finished_runs(configuration, finished):
    finished()
    figures = estimate(configuration)
    assert (figures.tokens_from, figures.speed_from) == ("runs", "runs")
    # 40 000 tokens in 400 s: 600 s for 60 000.
    assert (figures.amount, figures.hours) == (60_000, Decimal("0.17"))


def test_one_odd_run_does_not_decide(configuration, finished):
    for seconds in (400.0, 400.0, 4.0):
        finished(held_seconds=seconds)
    assert estimate(configuration).hours == Decimal("0.17")


def test_runs_elsewhere_and_failed_ones_teach_no_speed(configuration, finished, make_run):
    finished(pool=None)
    for change in ({"method": "FullFineTuning"}, {"state": RunState.FAILED}):
        Run.objects.filter(pk=finished().pk).update(**change)
    assert estimate(configuration).speed_from == ""


def test_runs_on_the_same_dataset_teach_its_tokens(configuration, finished):
    finished(summary={"data": {"rows": 100, "eval_rows": 0, "tokens": 60_000}})
    alike = finished()
    alike.sources.create(version=configuration.sources[0].version)
    assert estimate(configuration).amount == 60_000


def test_more_devices_take_less_time_at_the_same_price(configuration, pool, base_model):
    Throughput.objects.create(pool=pool, base_model=base_model, method="LoRA", tokens_per_second=0.01)
    one = estimate(configuration)
    two = estimate(replace(configuration, resources=Resources(pool, 2)))
    assert two.hours == pytest.approx(one.hours / 2, abs=Decimal("0.01"))
    assert two.price == pytest.approx(one.price, abs=Decimal("0.2"))


def test_idle_training_has_its_own_price(configuration, pool, finished):
    finished()
    normal, idle = (
        estimate(configuration),
        estimate(replace(configuration, resources=Resources(pool, 1, True))),
    )
    assert (normal.price, idle.price) == (Decimal("1.7"), Decimal("0.68"))


def test_the_estimate_stays_with_the_run_and_meets_what_it_came_to(
    configuration, workspace, alice, finished, client_of, pool
):
    finished()
    run = submit(workspace, alice, configuration)
    assert run.estimate["tokens"] == 60_000
    assert (run.estimate["hours"], run.estimate["price"]) == ("0.17", "1.7000")
    run.summary, run.epoch, run.held_seconds = (
        {"data": {"rows": 800, "eval_rows": 200, "tokens": 20_000}},
        3.0,
        700.0,
    )
    run.save()
    Pool.objects.update(price="99")
    actual = comparison(run)
    assert (actual.amount, actual.hours, actual.price) == (75_000, Decimal("0.20"), Decimal("2.0"))
    page = client_of(alice).get(reverse("jobs:run", args=[run.uid])).text
    assert "¥1.70" in page and "¥2.00" in page


def test_the_page_follows_the_costs_of_a_run(finished, client_of, alice):
    run = finished(estimate={"tokens": 1234, "hours": "0.5", "price": None})
    url = reverse("jobs:progress", args=[run.uid])
    answer = client_of(alice).get(url, headers={"HX-Request": "true"})
    assert 'id="run-cost"' in answer.text
    assert "1,234" in answer.text and "Actual" in answer.text


def test_pictures_are_counted_and_not_their_captions(configuration):
    figures = estimate(replace(configuration, model_type="text2image"))
    assert figures.is_samples
    assert "samples" in figures.stored()


def test_the_tokens_of_unseen_pictures_are_not_guessed(configuration):
    assert estimate(replace(configuration, model_type="imageUnderstanding")).amount is None


def test_the_summary_changes_with_the_form(client_of, alice, configuration, finished):
    finished()
    typed = {
        "type": "text2text",
        "base_model": configuration.base_model.name,
        "method": "LoRA",
        "source": configuration.sources[0].version.uid,
    }
    headers = {"HX-Request": "true", "HX-Target": "summary"}
    ask = lambda **more: client_of(alice).post(reverse("jobs:panel"), typed | more, headers=headers).text  # noqa: E731
    assert "about 0.17 h" in ask(**{"hp-epoch": "3"})
    assert "about 0.34 h" in ask(**{"hp-epoch": "6"})
    assert "about ¥0.68" in ask(**{"hp-epoch": "3", "idle": "on"})
    assert 'id="cost" hx-swap-oob="innerHTML"' in ask()


def test_an_estimate_takes_few_queries(configuration, finished, django_assert_max_num_queries):
    for _number in range(10):
        finished()
    estimate(configuration)
    with django_assert_max_num_queries(5):
        estimate(configuration)


# --- Counted tokens ----------------------------------------------------------------------------------------------


def count(version, base_model, total, **fields):
    standard = {"state": CountState.DONE, "figures": {"hash": version.content_hash}}
    return TokenCount.objects.create(
        version=version, base_model=base_model, total=total, **(standard | fields)
    )


def test_counted_tokens_go_before_what_earlier_runs_tell(configuration, finished):
    finished()
    version = configuration.sources[0].version
    count(version, configuration.base_model, version.character_count // 2)
    figures = estimate(configuration)
    assert (figures.amount, figures.tokens_from, figures.counted) == (30_000, "count", 1.0)
    halved = replace(configuration, sources=[Source(version, 0.5)], split_ratio=0.0)
    assert estimate(halved).amount == 15_000


@pytest.mark.parametrize(
    "fields", [{"state": CountState.COUNTING}, {"figures": {"hash": "of other rows"}}, {"figures": {}}]
)
def test_a_count_that_is_not_of_these_rows_is_not_used(configuration, finished, fields):
    finished()
    count(configuration.sources[0].version, configuration.base_model, 1, **fields)
    figures = estimate(configuration)
    assert (figures.amount, figures.tokens_from, figures.counted) == (60_000, "runs", 0.0)


def test_what_is_not_counted_is_estimated_beside_what_is(configuration, finished, make_version):
    finished()
    counted, other = configuration.sources[0].version, make_version(1000, name="other")
    count(counted, configuration.base_model, 2 * counted.character_count)
    figures = estimate(replace(configuration, sources=[Source(counted), Source(other)]))
    assert figures.amount == pytest.approx(3 * (2 * 20_000 + 20_000), rel=0.01)
    assert (figures.tokens_from, figures.counted) == ("runs", pytest.approx(0.5, abs=0.01))


def test_a_count_of_texts_says_nothing_of_pictures(configuration, finished):
    count(configuration.sources[0].version, configuration.base_model, 1)
    assert estimate(replace(configuration, model_type="imageUnderstanding")).amount is None
