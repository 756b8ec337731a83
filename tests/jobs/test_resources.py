"""资源配置: what the wizard offers, and what nobody gets however the form is sent."""

import pytest
from django.core.management import call_command
from django.urls import reverse

from jobs.models import Pool, Run, RunState
from jobs.pools import make_default_pool

CREATE = reverse("jobs:create")


@pytest.fixture
def client(client_of, alice):
    return client_of(alice)


@pytest.fixture
def pool(db) -> Pool:
    return Pool.objects.create(
        name="A100", queue="a100", slots=4, device_counts=[1, 2, 8], price="12.5", idle_price="5"
    )


@pytest.fixture
def filled(base_model, make_version):
    return {
        "name": "support bot",
        "type": "text2text",
        "base_model": base_model.name,
        "method": "LoRA",
        "source": make_version(120).uid,
    }


def errors_of(client, typed):
    page = client.post(CREATE, typed)
    assert page.status_code == 422
    return page.context["form"].errors


def test_without_pools_the_section_says_so_and_the_run_has_none(client, filled):
    assert "No resource pool is set up" in client.get(CREATE).text
    client.post(CREATE, filled)
    run = Run.objects.get()
    assert (run.pool, run.devices, run.idle) == (None, 1, False)


def test_the_first_pool_is_chosen_and_its_figures_are_shown(client, pool, make_run):
    make_run(RunState.RUNNING, pool=pool, devices=2)
    Pool.objects.create(name="Old", queue="old", enabled=False)
    page = client.get(CREATE)
    assert "2 of 4 devices free now" in page.text
    assert "¥12.50 per device and hour" in page.text
    assert "Price of idle training: ¥5.00" in page.text
    assert [card.pool.name for card in page.context["form"].pool_cards] == ["A100"]


def test_a_run_gets_what_was_chosen_and_the_next_one_starts_with_it(client, pool, filled):
    client.post(CREATE, filled | {"pool": "a100", "devices": "2", "idle": "on"})
    run = Run.objects.get()
    assert (run.pool, run.devices, run.idle) == (pool, 2, True)
    form = client.get(reverse("jobs:new_run", args=[run.job.uid])).context["form"]
    resources = form.configuration.resources
    assert (resources.pool, resources.devices, resources.idle) == (pool, 2, True)


def test_nothing_typed_means_the_first_pool_and_its_first_number(client, pool, filled):
    client.post(CREATE, filled)
    run = Run.objects.get()
    assert (run.pool, run.devices, run.idle) == (pool, 1, False)


@pytest.mark.parametrize("devices", ["3", "8", "0", "-1", "1.5", "²", "9" * 30, "two"])
def test_a_number_that_is_not_offered_is_refused(client, pool, filled, devices):
    """8 is in the operator's list but not in the pool."""
    assert set(errors_of(client, filled | {"devices": devices})) == {"devices"}


def test_a_disabled_and_an_unknown_pool_are_refused(client, pool, filled):
    Pool.objects.create(name="Old", queue="old", enabled=False)
    assert set(errors_of(client, filled | {"pool": "old"})) == {"pool"}
    assert set(errors_of(client, filled | {"pool": "'; --"})) == {"pool"}


def test_idle_training_only_where_it_is_offered(client, pool, filled):
    Pool.objects.update(allows_idle=False)
    assert "This pool does not offer idle training." in client.get(CREATE).text
    assert set(errors_of(client, filled | {"idle": "on"})) == {"idle"}


def test_idle_training_needs_a_pool(client, filled):
    page = client.post(CREATE, filled | {"idle": "on"})
    assert "Idle training needs a resource pool." in str(page.context["form"].errors)


def test_another_pool_brings_its_own_numbers(client, pool):
    Pool.objects.create(name="CPU", queue="cpu", slots=1, device_counts=[1], allows_idle=False)
    answer = client.post(
        reverse("jobs:panel"),
        {"pool": "cpu", "type": "text2text", "devices": "2"},
        headers={"HX-Request": "true", "HX-Target": "resource-fields"},
    )
    assert answer.context["form"].device_choices == [("1", "1 device")]
    assert 'value="cpu" checked' in answer.text
    assert 'name="idle"' not in answer.text


def test_the_section_takes_two_queries_however_many_pools(client, base_model, django_assert_max_num_queries):
    for number in range(10):
        Pool.objects.create(name=f"P{number}", queue=f"p{number}")
    headers = {"HX-Request": "true", "HX-Target": "resource-fields"}
    with django_assert_max_num_queries(10):
        client.post(reverse("jobs:panel"), {"type": "text2text"}, headers=headers)


def test_the_pool_of_this_machine_is_made_once(db, settings, monkeypatch):
    settings.TRAINING_SLOTS = 3
    settings.TRAINER_DEVICE = "auto"
    monkeypatch.setattr("jobs.pools.gpu_name", lambda: "NVIDIA H100")
    pool = make_default_pool()
    assert (pool.queue, pool.slots, pool.accelerator, pool.device_name) == (
        "training",
        3,
        "gpu",
        "NVIDIA H100",
    )
    assert make_default_pool() is None


def test_the_command_names_the_pool_that_it_made(db, capsys):
    call_command("make_pool")
    call_command("make_pool")
    assert capsys.readouterr().out.count("This machine") == Pool.objects.count() == 1
