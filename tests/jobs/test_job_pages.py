"""The list of jobs and the page of a job: who sees what, filters, order, pages, live refresh."""

import pytest
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries

from jobs.listing import PAGE_SIZE
from jobs.models import Job, Metric, Run, RunState

LIST = reverse("jobs:list")
HTMX = {"headers": {"hx-request": "true"}}


@pytest.fixture
def make_job(workspace, alice, base_model):
    """Returns a function that creates a job with one run a state."""

    def make(name: str, *states: str, **fields) -> Job:
        job = Job.objects.create(
            **{"workspace": workspace, "name": name, "model_type": "text2text", "created_by": alice} | fields
        )
        for number, state in enumerate(states, start=1):
            Run.objects.create(job=job, version=number, base_model=base_model, method="LoRA", state=state)
        return job

    return make


def names(page) -> list[str]:
    return [row.job.name for row in page.context["page"].rows]


def test_shows_the_latest_run_of_each_job(client_of, alice, make_job):
    make_job("support bot", RunState.FAILED, RunState.DONE)
    page = client_of(alice).get(LIST)
    (row,) = page.context["page"].rows
    assert (row.run.label, row.run.state, row.run_count) == ("V2", RunState.DONE, 2)
    assert "Toy-8K" in page.text


def test_a_job_without_runs_is_listed(client_of, alice, make_job):
    make_job("planned")
    assert names(client_of(alice).get(LIST)) == ["planned"]


def test_other_workspaces_are_invisible(client_of, charlie, make_job):
    make_job("support bot", RunState.DONE)
    assert names(client_of(charlie).get(LIST)) == []


def test_readers_see_the_list_without_the_button(client_of, alice, bob, make_job):
    make_job("support bot", RunState.DONE)
    assert reverse("jobs:create") in client_of(alice).get(LIST).text
    page = client_of(bob).get(LIST)
    assert names(page) == ["support bot"]
    assert reverse("jobs:create") not in page.text


@pytest.mark.parametrize("name", ["list", "detail"])
def test_pages_refuse_post_and_visitors(client, client_of, alice, make_job, name):
    job = make_job("support bot")
    url = reverse(f"jobs:{name}", args=[job.uid] if name == "detail" else [])
    assert client_of(alice).post(url).status_code == 405
    assert client.get(url).url.startswith(reverse("login"))


def test_filters_by_name_state_and_type(client_of, alice, make_job):
    make_job("Support Bot", RunState.FAILED, RunState.DONE)
    make_job("captions", RunState.DONE, model_type="imageUnderstanding")
    make_job("laws", RunState.DONE, RunState.FAILED)
    client = client_of(alice)
    assert names(client.get(LIST, {"q": "support"})) == ["Support Bot"]
    assert names(client.get(LIST, {"state": "Failed"})) == ["laws"]  # the newest run counts
    assert names(client.get(LIST, {"type": "imageUnderstanding"})) == ["captions"]
    assert "No job matches" in client.get(LIST, {"q": "nothing like it"}).text


def test_nonsense_in_the_address_is_as_good_as_nothing(client_of, alice, make_job):
    make_job("support bot", RunState.DONE)
    page = client_of(alice).get(LIST, {"state": "x", "type": "y", "sort": "password", "before": "job-gone"})
    assert names(page) == ["support bot"]


@pytest.mark.parametrize("sort", ["", "created", "name", "-name"])
def test_pages_hold_every_job_once_even_if_one_is_created_meanwhile(client_of, alice, make_job, sort):
    expected = {f"job {number % 7} {number}" for number in range(2 * PAGE_SIZE + 3)}
    for name in expected:
        make_job(name)
    client, cursor, seen = client_of(alice), "", []
    for number in range(3):
        page = client.get(LIST, {"sort": sort, "before": cursor})
        seen += names(page)
        cursor = page.context["page"].next
        make_job(f"new {number}")
    found = [name for name in seen if not name.startswith("new")]
    assert sorted(found) == sorted(expected)
    if sort in ("name", "-name"):
        assert found == sorted(expected, reverse=sort == "-name")


def test_the_address_of_the_next_page_keeps_the_filters(client_of, alice, make_job):
    for number in range(PAGE_SIZE + 1):
        make_job(f"bot {number}", RunState.DONE)
    page = client_of(alice).get(LIST, {"q": "bot", "state": "Done", "sort": "name"})
    last = page.context["page"].rows[-1].job.uid
    assert f"?q=bot&amp;state=Done&amp;sort=name&amp;before={last}" in page.text


def test_a_new_order_stays_when_the_filters_change(client_of, alice, make_job):
    """The table is swapped without the form, so the order travels in it."""
    make_job("support bot", RunState.DONE)
    table = client_of(alice).get(LIST, {"sort": "name"}, **HTMX).text
    assert '<input type="hidden" name="sort" value="name" form="job-filter">' in table


def test_htmx_gets_the_table_alone(client_of, alice, make_job):
    make_job("support bot", RunState.DONE)
    answer = client_of(alice).get(LIST, **HTMX)
    assert "support bot" in answer.text
    assert "<html" not in answer.text
    # The same address is a page without htmx: a cache must keep them apart (Back after a filter).
    assert "HX-Request" in answer["vary"]


def test_the_table_polls_only_while_something_is_active(client_of, alice, make_job):
    job = make_job("support bot", RunState.RUNNING)
    client = client_of(alice)
    assert 'hx-trigger="every 2s"' in client.get(LIST, **HTMX).text
    job.runs.update(state=RunState.DONE)
    assert "hx-trigger" not in client.get(LIST, **HTMX).text


def test_an_empty_list_says_what_comes_first(client_of, alice, make_version):
    client = client_of(alice)
    assert reverse("datasets:create") in client.get(LIST).text
    make_version()
    assert "Your data are ready" in client.get(LIST).text


def test_the_list_takes_the_same_queries_for_one_job_as_for_many(
    client_of, alice, make_job, django_assert_num_queries: DjangoAssertNumQueries
):
    client = client_of(alice)
    for number in range(PAGE_SIZE + 1):
        make_job(f"job {number}", RunState.DONE, RunState.RUNNING)
    # session, user, memberships; jobs with creators, newest runs with base models, numbers of runs; policy, drafts
    with django_assert_num_queries(11):
        client.get(LIST)


def test_job_page_lists_its_runs_with_their_last_losses(client_of, alice, make_run):
    run = make_run(RunState.DONE)
    make_run(RunState.RUNNING)
    Metric.objects.create(run=run, key="loss", step=1, value=3.5)
    Metric.objects.create(run=run, key="loss", step=2, value=1.25)
    page = client_of(alice).get(reverse("jobs:detail", args=[run.job.uid]))
    assert [item.label for item in page.context["page_obj"]] == ["V2", "V1"]
    assert page.context["page_obj"][1].last_loss == 1.25
    assert 'hx-trigger="every 2s"' in page.text


def test_job_page_is_closed_to_strangers_and_shows_readers_no_button(client_of, bob, charlie, make_run):
    job = make_run().job
    url = reverse("jobs:detail", args=[job.uid])
    assert client_of(charlie).get(url).status_code == 404
    page = client_of(bob).get(url)
    assert page.status_code == 200
    assert reverse("jobs:new_run", args=[job.uid]) not in page.text


def test_job_page_takes_the_same_queries_for_many_runs(
    client_of, alice, make_run, django_assert_num_queries: DjangoAssertNumQueries
):
    for _unused in range(8):
        run = make_run(RunState.DONE)
    client = client_of(alice)
    # session, user, job, number of runs, runs, memberships
    with django_assert_num_queries(7):
        client.get(reverse("jobs:detail", args=[run.job.uid]))


def test_names_are_shown_as_text(client_of, alice, make_job):
    make_job("<script>alert(1)</script>", RunState.DONE)
    assert "<script>alert(1)" not in client_of(alice).get(LIST).text


def test_the_list_can_be_filtered_by_owner(client_of, alice, bob, make_job):
    make_job("by alice")
    other = make_job("by bob")
    type(other).objects.filter(pk=other.pk).update(created_by=bob)
    page = client_of(alice).get("/sft/", {"owner": "bob"}).content.decode()
    assert "by bob" in page
    assert "by alice" not in page


def test_the_list_can_be_filtered_by_the_family_of_the_newest_run(client_of, alice, make_run, base_model):
    run = make_run()
    client = client_of(alice)
    assert run.job.name in client.get("/sft/", {"model": base_model.family.key}).content.decode()
    assert (
        run.job.name
        not in client.get("/sft/", {"model": "another"}, headers={"HX-Request": "true"}).content.decode()
    )
