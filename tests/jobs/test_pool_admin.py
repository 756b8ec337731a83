"""Operators set up pools: numbers that can be got, a queue that is free, speeds that make sense."""

import pytest
from django.urls import reverse

from console.models import User
from jobs.models import Pool


@pytest.fixture
def operator(db, client_of):
    return client_of(User.objects.create_superuser("operator", password="password", language="en"))


@pytest.fixture
def typed(base_model):
    return {
        "name": "A100",
        "queue": "a100",
        "accelerator": "gpu",
        "slots": "8",
        "device_counts": "8, 1，2,2",
        "price": "12.5",
        "idle_price": "5",
        "allows_idle": "on",
        "enabled": "on",
        "order": "0",
        "throughputs-TOTAL_FORMS": "1",
        "throughputs-INITIAL_FORMS": "0",
        "throughputs-0-base_model": str(base_model.pk),
        "throughputs-0-method": "LoRA",
        "throughputs-0-tokens_per_second": "1500",
    }


def add(operator, typed):
    return operator.post(reverse("admin:jobs_pool_add"), typed)


def test_a_pool_is_made_with_its_speeds(operator, typed):
    assert add(operator, typed).status_code == 302
    pool = Pool.objects.get()
    assert (pool.device_counts, pool.throughputs.get().tokens_per_second) == ([1, 2, 8], 1500)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("device_counts", "1, 16"),
        ("device_counts", "0"),
        ("device_counts", "one"),
        ("device_counts", ""),
        ("queue", "default"),
        ("throughputs-0-tokens_per_second", "0"),
        ("throughputs-0-tokens_per_second", "nan"),
    ],
)
def test_what_makes_no_sense_is_refused(operator, typed, field, value):
    assert add(operator, typed | {field: value}).status_code == 200
    assert not Pool.objects.exists()


def test_the_list_says_who_is_on_the_pools(operator, make_run):
    pool = Pool.objects.create(name="here", slots=4)
    make_run("Running", pool=pool, devices=3)
    make_run(pool=pool)
    page = operator.get(reverse("admin:jobs_pool_changelist")).text
    assert "3 / 4" in page


def test_a_pool_that_runs_have_used_stays(operator, make_run):
    pool = Pool.objects.create(name="here")
    make_run(pool=pool)
    assert operator.post(reverse("admin:jobs_pool_delete", args=[pool.pk])).status_code == 403
    assert operator.get(reverse("admin:jobs_pool_change", args=[pool.pk])).status_code == 200
