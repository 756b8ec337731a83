"""Section 数据配置: what may be chosen, what the choice comes to, and the test set."""

import pytest
from django.urls import reverse

from datasets.models import VersionState
from jobs.models import Run
from jobs.summary import rounded

CREATE = reverse("jobs:create")
PANEL = reverse("jobs:panel")


@pytest.fixture
def client(client_of, alice, base_model):
    return client_of(alice)


@pytest.fixture
def summary(client):
    """Returns a function that asks for the summary beside the form."""

    def ask(**typed):
        return client.post(PANEL, typed, headers={"HX-Request": "true", "HX-Target": "summary"})

    return ask


def test_only_published_versions_of_the_workspace_are_offered(client, charlie, make_version):
    published = make_version(120)
    make_version(120, VersionState.DRAFT, name="draft")
    make_version(120, workspace=charlie.workspaces.get(), name="foreign")
    form = client.get(CREATE).context["form"]
    assert form.published == [published]


def test_without_any_it_leads_to_a_new_dataset(client):
    assert reverse("datasets:create") in client.get(CREATE).text


def test_the_mix_is_counted_as_it_is_typed(summary, make_version):
    small, large = make_version(40, name="small"), make_version(400, name="large")
    answer = summary(source=[small.uid, large.uid], **{f"rate-{small.uid}": "2.5"}, split_ratio="0")
    lines = answer.context["summary"].lines
    # Newest first; 20 characters a row: 400 × 20 and 40 × 2.5 × 20.
    assert [(line.rows, line.share) for line in lines] == [(400, 80.0), (100, 20.0)]
    assert answer.context["summary"].training == 500
    assert 'id="data-totals" hx-swap-oob' in answer.text


@pytest.mark.parametrize(("rate", "enough"), [("1", False), ("2.5", True)])
def test_the_rule_of_100_rows_is_shown(summary, make_version, rate, enough):
    version = make_version(40)
    answer = summary(source=version.uid, **{f"rate-{version.uid}": rate})
    assert answer.context["summary"].has_enough_rows is enough
    assert ("rows after sampling: enough" in answer.text) is enough


@pytest.mark.parametrize("rate", ["", "many", "0", "11", "-1", "nan"])
def test_a_rate_that_is_none_is_said_to_be_missing(summary, make_version, rate):
    version = make_version(400)
    answer = summary(source=version.uid, **{f"rate-{version.uid}": rate})
    missing = {item.field for item in answer.context["summary"].missing}
    assert f"rate-{version.uid}" in missing
    assert answer.context["summary"].training is None


def test_a_test_set_of_its_own_takes_the_place_of_the_split(client, make_version):
    train, test = make_version(200), make_version(1500, name="questions")
    typed = {"type": "text2text", "base_model": "Toy-8K", "method": "LoRA", "name": "support bot"}
    client.post(CREATE, typed | {"source": train.uid, "test_source": test.uid, "split_ratio": "33"})
    run = Run.objects.get()
    assert (run.test_version, run.split_ratio) == (test, 0)


def test_a_version_that_nobody_may_use_is_named(client, charlie, make_version):
    foreign = make_version(200, workspace=charlie.workspaces.get())
    typed = {"base_model": "Toy-8K", "method": "LoRA", "name": "support bot", "source": foreign.uid}
    page = client.post(CREATE, typed | {"test_source": foreign.uid})
    assert foreign.uid in page.context["form"].errors["source"][0]
    assert "test_source" in page.context["form"].errors


@pytest.mark.parametrize(
    "percentages", [[100 / 3] * 3, [0.04, 99.96], [16.66, 16.67, 66.67], [100 / 7] * 7, [], [100.0]]
)
def test_shares_add_up_to_100(percentages):
    assert sum(rounded(percentages)) == pytest.approx(100 if percentages else 0)
    assert all(abs(a - b) < 0.1 for a, b in zip(rounded(percentages), percentages, strict=True))


def test_the_summary_needs_few_queries(summary, make_version, django_assert_max_num_queries):
    uids = [make_version(100, name=f"chats {number}").uid for number in range(5)]
    with django_assert_max_num_queries(16):
        summary(
            source=uids, name="bot", base_model="Toy-8K", method="LoRA", auto_publish="on", model_name="bot"
        )
