"""The page of an import's problems, and all of them to take away."""

import csv
import io
import json

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.urls import reverse

from datasets.models import DatasetVersion

ROW = '{"prompt": "p", "response": "r"}'


@pytest.fixture
def failed(imported) -> DatasetVersion:
    """V1 with twelve errors of one kind, one of another and a warning."""
    return imported({"a.jsonl": "\n".join([ROW, ROW, *["{}"] * 12, "{"]).encode()})


def address(version: DatasetVersion) -> str:
    return reverse("datasets:problems", args=[version.uid])


def download(client, version: DatasetVersion, ending: str):
    return client.get(reverse("datasets:problems_download", args=[version.uid, ending]))


def body(answer) -> str:
    return b"".join(answer.streaming_content).decode()


def test_it_lists_all_that_was_kept_errors_apart_from_warnings(client_of, alice, failed) -> None:
    page = client_of(alice).get(address(failed)).content.decode()
    assert page.count("a.jsonl:") >= 14
    assert (
        page.index("Errors:")
        < page.index("Invalid JSON")
        < page.index("Warnings:")
        < page.index("Duplicate row")
    )


def test_the_overview_leads_there(client_of, alice, failed) -> None:
    page = client_of(alice).get(reverse("datasets:version", args=[failed.uid])).content.decode()
    assert address(failed) in page


def test_a_viewer_reads_and_downloads_but_is_offered_no_mending(client_of, bob, failed) -> None:
    page = client_of(bob).get(address(failed)).content.decode()
    assert page.count(f'href="{address(failed)}') == 0
    assert download(client_of(bob), failed, "csv").status_code == 200


def test_a_member_is_offered_mending_for_each_bad_record(client_of, alice, failed) -> None:
    page = client_of(alice).get(address(failed)).content.decode()
    assert page.count(f'href="{address(failed)}') == 13


def test_json_lines_have_everything(client_of, alice, failed) -> None:
    told = [json.loads(line) for line in body(download(client_of(alice), failed, "jsonl")).splitlines()]
    assert len(told) == failed.problem_count == 14
    third = next(problem for problem in told if problem["line"] == 3)
    assert (third["kind"], third["level"]) == ("missing", "error")
    assert (third["message"], third["record"].strip()) == ("The field is missing.", "{}")


def test_csv_has_a_line_for_each(client_of, alice, failed) -> None:
    answer = download(client_of(alice), failed, "csv")
    assert 'filename="Greetings-V1-problems.csv"' in answer["Content-Disposition"]
    rows = list(csv.DictReader(io.StringIO(body(answer).removeprefix("\ufeff"))))
    assert len(rows) == 14
    third = next(row for row in rows if row["line"] == "3")
    assert (third["file"], third["level"], third["problem"]) == ("a.jsonl", "error", "The field is missing.")


@pytest.mark.parametrize("start", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"])
def test_csv_runs_no_formula(client_of, alice, failed, start: str) -> None:
    DatasetVersion.objects.update(
        problems_path="", problems=[failed.problems[0] | {"excerpt": start, "file": start}]
    )
    row = next(
        csv.DictReader(
            io.StringIO(body(download(client_of(alice), failed, "csv")).removeprefix("\ufeff"), newline="")
        )
    )
    assert (row["excerpt"], row["file"]) == (f"'{start}", f"'{start}")


def test_all_problems_come_from_the_storage(client_of, alice, failed) -> None:
    lines = "".join(json.dumps(failed.problems[1] | {"record": "{}"}) + "\n" for _number in range(3000))
    path = default_storage.save("datasets/x/problems-1.jsonl", ContentFile(lines.encode()))
    DatasetVersion.objects.update(problems_path=path)
    told = body(download(client_of(alice), failed, "jsonl")).splitlines()
    assert (len(told), json.loads(told[0])["record"]) == (3000, "{}")


def test_lost_problems_are_404(client_of, alice, failed) -> None:
    DatasetVersion.objects.update(problems_path="datasets/x/gone.jsonl")
    assert download(client_of(alice), failed, "csv").status_code == 404
    assert client_of(alice).get(address(failed)).status_code == 200


def test_strangers_and_other_methods(client_of, alice, charlie, failed) -> None:
    assert client_of(charlie).get(address(failed)).status_code == 404
    assert download(client_of(charlie), failed, "csv").status_code == 404
    assert client_of(alice).post(address(failed)).status_code == 405


def test_it_says_where_not_all_problems_were_kept(client_of, alice, failed, monkeypatch) -> None:
    page = reverse("datasets:problems", args=[failed.uid])
    assert "problems the first" not in client_of(alice).get(page).text
    monkeypatch.setattr("datasets.views.problems.NOTED_PROBLEMS", 2)
    count = failed.problem_count
    assert f"Of {count} problems the first 2 were kept." in client_of(alice).get(page).text


def test_warnings_lead_to_their_rows_where_there_are_rows(client_of, alice, imported) -> None:
    version = imported({"a.jsonl": b'[{"prompt": "p", "response": "r"}]\n' * 2})
    link = f"{reverse('datasets:rows', args=[version.uid])}?flag=duplicate"
    for name in ("version", "problems"):
        assert link in client_of(alice).get(reverse(f"datasets:{name}", args=[version.uid])).text
    DatasetVersion.objects.update(rows_path="")
    assert link not in client_of(alice).get(reverse("datasets:problems", args=[version.uid])).text


def test_a_version_without_problems_says_so(client_of, alice, version) -> None:
    assert b"No problems were found." in client_of(alice).get(address(version)).content
