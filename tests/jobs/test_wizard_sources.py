"""The list of sources of the wizard: hundreds of versions, a search, what is chosen always there; data in place."""

import pytest
from django.urls import reverse

from datasets.models import Connection, Dataset, DatasetVersion, Location, VersionState
from jobs import source_fields
from jobs.models import Job

CREATE = reverse("jobs:create")
PANEL = reverse("jobs:panel")


@pytest.fixture
def client(client_of, alice, base_model):
    return client_of(alice)


@pytest.fixture
def listed(client):
    """Returns a function that asks for the list as htmx does; gives the names of its rows."""

    def ask(**typed) -> list[str]:
        answer = client.post(PANEL, typed, headers={"HX-Request": "true", "HX-Target": "source-list"})
        ask.text = answer.text
        return [row.label for row in answer.context["form"].source_rows]

    return ask


@pytest.fixture
def many(workspace) -> list[DatasetVersion]:
    """45 published versions, "set 44" the newest."""
    datasets = Dataset.objects.bulk_create(
        Dataset(workspace=workspace, name=f"set {number:02}") for number in range(45)
    )
    return DatasetVersion.objects.bulk_create(
        DatasetVersion(
            dataset=dataset, number=1, state=VersionState.PUBLISHED, row_count=200, character_count=9
        )
        for dataset in datasets
    )


@pytest.fixture
def place(workspace) -> DatasetVersion:
    """A folder of a bucket that is being counted."""
    dataset = Dataset.objects.create(workspace=workspace, name="in place")
    version = DatasetVersion.objects.create(dataset=dataset, number=1, state=VersionState.IMPORTING)
    connection = Connection.objects.create(workspace=workspace, name="BOS", access_key="x", secret_key="x")
    Location.objects.create(version=version, connection=connection, bucket="data", prefix="chats")
    return version


def test_a_few_are_shown_and_more_on_request(listed, many):
    assert listed()[0] == "set 44 V1" and len(listed()) == 20
    assert "more-sources" in listed.text
    assert len(listed(source_shown="40")) == 40
    assert len(listed(source_shown="60")) == 45 and 'id="more-sources"' not in listed.text
    assert len(listed(source_shown="many")) == 20


def test_a_search_finds_what_is_not_shown(listed, many):
    assert listed(source_q="set 07") == ["set 07 V1"]
    assert listed(source_q=many[3].uid) == ["set 03 V1"]
    assert listed(source_q="nothing\0") == [] and "No published dataset" in listed.text


def test_what_is_chosen_stays_on_top_of_every_search(listed, many):
    chosen = many[2]
    names = listed(source=chosen.uid, source_q="set 44", **{f"rate-{chosen.uid}": "2.5"})
    assert names == ["set 02 V1", "set 44 V1"]
    assert 'value="2.5"' in listed.text and listed.text.count(" checked") == 1


def test_what_lies_beyond_those_that_are_read_can_be_chosen_and_tested_on(client, listed, many, monkeypatch):
    monkeypatch.setattr(source_fields, "MOST_TEST_SETS", 21)
    assert listed(source=many[0].uid)[0] == "set 00 V1"
    typed = {
        "source": many[0].uid,
        "test_source": many[1].uid,
        "base_model": "Toy-8K",
        "method": "LoRA",
        "name": "bot",
    }
    answer = client.post(CREATE, typed)
    assert answer.status_code == 302, answer.context["form"].errors


def test_the_list_asks_no_more_queries_for_many_than_for_one(listed, many):
    _queries(listed, source_shown="1")  # the catalogue is in memory from here on
    assert _queries(listed, source_shown="45") <= _queries(listed, source_shown="1")


def _queries(listed, **typed) -> int:
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    with CaptureQueriesContext(connection) as captured:
        listed(**typed)
    return len(captured)


def test_a_folder_that_was_taken_is_chosen_while_it_is_counted(listed, client, place):
    assert listed(source_used=place.uid) == ["in place V1"]
    assert reverse("jobs:source_row", args=[place.uid]) in listed.text and " checked" in listed.text
    typed = {"source": place.uid, "base_model": "Toy-8K", "method": "LoRA", "name": "bot"}
    page = client.post(CREATE, typed)
    assert "still being counted" in page.context["form"].errors["source"][0]
    assert place.uid in page.text


def test_a_row_asks_for_itself_until_it_is_counted(client, place):
    url = reverse("jobs:source_row", args=[place.uid])
    assert "every 2s" in client.get(url, {"type": "text2text"}).text
    DatasetVersion.objects.update(state=VersionState.PUBLISHED, row_count=321)
    text = client.get(url, {"type": "nonsense"}).text
    assert "321" in text and "every 2s" not in text and f"rate-{place.uid}" in text
    DatasetVersion.objects.update(state=VersionState.FAILED)
    assert reverse("datasets:version", args=[place.uid]) in client.get(url).text


def test_a_row_knows_the_job_whose_next_run_it_is_for(client, workspace, base_model, place):
    job = Job.objects.create(workspace=workspace, name="bot", model_type="text2text", base_model=base_model)
    url = reverse("jobs:source_row", args=[place.uid])
    assert f"&amp;job={job.uid}" in client.get(url, {"job": job.uid}).text
    DatasetVersion.objects.update(state=VersionState.PUBLISHED, row_count=321)
    assert f'hx-post="{PANEL}?job={job.uid}"' in client.get(url, {"job": job.uid}).text
    assert f'hx-post="{PANEL}"' in client.get(url).text
    assert client.get(url, {"job": "job-of-nobody"}).status_code == 404


def test_a_count_that_failed_is_said_at_the_field(client, place):
    DatasetVersion.objects.update(state=VersionState.FAILED)
    page = client.post(CREATE, {"source": place.uid, "base_model": "Toy-8K", "method": "LoRA", "name": "bot"})
    assert "could not be counted" in page.context["form"].errors["source"][0]


def test_rows_are_for_members_who_may_write(client_of, bob, charlie, alice, place):
    url = reverse("jobs:source_row", args=[place.uid])
    assert client_of(bob).get(url).status_code == 403
    assert client_of(charlie).get(url).status_code == 404
    assert client_of(alice).post(url).status_code == 405


def test_another_workspaces_place_is_not_chosen(client_of, charlie, base_model, place):
    answer = client_of(charlie).post(
        PANEL, {"source_used": place.uid}, headers={"HX-Request": "true", "HX-Target": "source-list"}
    )
    assert answer.context["form"].source_rows == []
