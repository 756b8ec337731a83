"""Pages of datasets: they work, need the right to write, refuse the wrong method, and are 404 for strangers."""

import json

import pytest
from django.core.files.storage import default_storage
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from datasets.formats import FORMATS
from datasets.imports import run_import
from datasets.models import Dataset, DatasetVersion, VersionState

GOOD = '[{"prompt": "你好", "response": "Hi!"}]'
HTMX = {"HX-Request": "true"}


def data_file(content: str = GOOD, name: str = "a.jsonl") -> SimpleUploadedFile:
    return SimpleUploadedFile(name, content.encode())


def imported(version: DatasetVersion) -> DatasetVersion:
    run_import(version.pk)
    version.refresh_from_db()
    return version


@pytest.fixture
def draft(waiting) -> DatasetVersion:
    """V1 with three good rows."""
    return imported(waiting(a__jsonl="\n".join([GOOD] * 3)))


@pytest.fixture
def failed(waiting) -> DatasetVersion:
    """V1 with two good rows and one bad one."""
    return imported(waiting(a__jsonl=f"{GOOD}\n{GOOD.replace('Hi', 'Yes')}\n[{{}}]"))


def of_version(name: str, version: DatasetVersion) -> str:
    return reverse(f"datasets:{name}", args=[version.uid])


# --- Who may what --------------------------------------------------------------------------------------------

READ = ["list", "detail", "version", "import_progress", "download"]
WRITE = ["create", "sample", "new_version", "upload", "accept", "retry", "convert", "publish"]


def address(name: str, version: DatasetVersion) -> str:
    if name in ("list", "create", "sample"):
        return reverse(f"datasets:{name}")
    return reverse(
        f"datasets:{name}", args=[(version.dataset if name in ("detail", "new_version") else version).uid]
    )


@pytest.mark.parametrize("name", READ)
def test_a_viewer_reads(client_of, bob, draft, name: str) -> None:
    answer = client_of(bob).get(address(name, draft))
    answer.close()
    assert answer.status_code in (200, 286)


@pytest.mark.parametrize("name", WRITE)
def test_writing_requires_the_right_to_write(client_of, bob, draft, name: str) -> None:
    assert client_of(bob).post(address(name, draft)).status_code == 403


@pytest.mark.parametrize("name", [*READ, *WRITE])
def test_a_stranger_learns_nothing(client_of, charlie, draft, name: str) -> None:
    if name in ("list", "create", "sample"):
        assert draft.dataset.name not in client_of(charlie).get(reverse("datasets:list")).text
    else:
        method = client_of(charlie).get if name in READ else client_of(charlie).post
        assert method(address(name, draft)).status_code == 404


@pytest.mark.parametrize("name", [*READ, *WRITE])
def test_the_wrong_method_is_refused(client_of, alice, draft, name: str) -> None:
    client = client_of(alice)
    method = client.put if name == "create" else client.post if name in READ else client.get
    assert method(address(name, draft)).status_code == 405


@pytest.mark.parametrize("name", [*READ, *WRITE])
def test_signing_in_is_required(client, draft, name: str) -> None:
    method = client.get if name in READ else client.post
    assert method(address(name, draft)).status_code == 302


def test_a_viewer_is_offered_nothing_to_change(client_of, bob, draft) -> None:
    page = client_of(bob).get(of_version("version", draft)).text
    assert of_version("publish", draft) not in page.split("<dialog")[0]
    assert of_version("upload", draft) not in page


# --- List ----------------------------------------------------------------------------------------------------


def test_the_list_shows_the_latest_version(client_of, alice, draft) -> None:
    DatasetVersion.objects.create(dataset=draft.dataset, number=2)
    page = client_of(alice).get(reverse("datasets:list"))
    assert [(dataset.name, version.number) for dataset, version in page.context["rows"]] == [("Greetings", 2)]


@pytest.mark.parametrize(("query", "found"), [
    ("q=greet", True), ("q=other", False), ("state=draft", True), ("state=failed", False),
    ("state=nonsense", True), ("page=99", True), ("page=x", True),
])  # fmt: skip
def test_the_list_is_searched_and_filtered(client_of, alice, draft, query: str, found: bool) -> None:
    page = client_of(alice).get(reverse("datasets:list") + "?" + query, headers=HTMX)
    assert bool(page.context["rows"]) is found
    assert "<html" not in page.text


def test_an_empty_list_offers_the_sample(client_of, alice) -> None:
    assert reverse("datasets:sample") in client_of(alice).get(reverse("datasets:list")).text


def test_the_list_takes_the_same_queries_for_any_number_of_datasets(client_of, alice, workspace) -> None:
    def queries() -> int:
        with CaptureQueriesContext(
            connection,
        ) as captured:
            client.get(reverse("datasets:list"))
        return len(captured)

    client = client_of(alice)
    for number in range(12):
        dataset = Dataset.objects.create(workspace=workspace, name=f"Dataset {number}")
        DatasetVersion.objects.create(dataset=dataset, number=1, created_by=alice)
        if number == 1:
            few = queries()
    assert queries() == few <= 8


def test_a_dataset_page_takes_the_same_queries_for_any_number_of_versions(client_of, alice, version) -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            client.get(reverse("datasets:detail", args=[version.dataset.uid]))
        return len(captured)

    client, few = client_of(alice), 0
    for number in range(2, 9):
        DatasetVersion.objects.create(dataset=version.dataset, number=number, created_by=alice)
        few = few or queries()
    assert queries() == few <= 7


# --- Create and upload ---------------------------------------------------------------------------------------


def test_a_dataset_is_created_and_imported_in_one_go(
    client_of, alice, workspace, django_capture_on_commit_callbacks
) -> None:
    form = {"name": "New", "description": "", "files": [data_file(), data_file(name="b.jsonl")]}
    answer = client_of(alice).post(reverse("datasets:create"), form)
    version = DatasetVersion.objects.get(dataset__name="New", dataset__workspace=workspace)
    assert answer.url == of_version("version", version)
    assert (version.state, version.created_by) == (VersionState.IMPORTING, alice)
    assert imported(version).row_count == 2


def test_the_worker_is_woken_after_the_commit(
    client_of, alice, workspace, monkeypatch, django_capture_on_commit_callbacks
) -> None:
    woken = []
    monkeypatch.setattr("datasets.tasks.import_version.delay", woken.append)
    with django_capture_on_commit_callbacks(execute=True):
        client_of(alice).post(reverse("datasets:create"), {"name": "New", "files": data_file()})
        assert woken == []
    assert woken == [DatasetVersion.objects.get().pk]


def test_a_dataset_is_created_without_files(client_of, alice) -> None:
    client_of(alice).post(reverse("datasets:create"), {"name": "New"})
    assert DatasetVersion.objects.get().state == VersionState.EMPTY


def test_htmx_is_sent_to_the_new_version(client_of, alice) -> None:
    answer = client_of(alice).post(reverse("datasets:create"), {"name": "New"}, headers=HTMX)
    assert answer["HX-Redirect"] == of_version("version", DatasetVersion.objects.get())


def test_a_name_taken_is_an_error_at_the_field_and_what_was_typed_stays(client_of, alice, version) -> None:
    form = {"name": "Greetings", "description": "my words"}
    answer = client_of(alice).post(reverse("datasets:create"), form, headers=HTMX)
    assert answer.status_code == 422
    assert list(answer.context["form"].errors) == ["name"]
    assert "my words" in answer.text
    assert Dataset.objects.count() == 1


def test_another_workspace_may_use_the_same_name(client_of, charlie, version) -> None:
    client_of(charlie).post(reverse("datasets:create"), {"name": "Greetings"})
    assert Dataset.objects.filter(name="Greetings").count() == 2


@pytest.mark.parametrize(("name", "content", "said"), [
    ("a.gif", GOOD, "of no accepted kind"),
    ("noext", GOOD, "of no accepted kind"),
    ("a.jsonl", "", "is empty"),
    ("a.jsonl", "x" * (1024**2 + 1), "at most 1.0"),
])  # fmt: skip
def test_a_file_that_is_not_accepted_is_an_error_at_the_field(
    client_of, alice, version, settings, name: str, content: str, said: str
) -> None:
    settings.DATASET_MAX_FILE_MB = 1
    answer = client_of(alice).post(
        of_version("upload", version), {"files": [data_file(), data_file(content, name)]}
    )
    assert answer.status_code == 422
    assert said in str(answer.context["form"].errors["files"])
    assert not version.files.exists()


def test_an_upload_without_files_is_an_error_at_the_field(client_of, alice, version) -> None:
    answer = client_of(alice).post(of_version("upload", version), {}, headers=HTMX)
    assert (answer.status_code, list(answer.context["form"].errors)) == (422, ["files"])


@pytest.mark.parametrize(
    "name", ["../../etc/passwd.jsonl", "名 字?.jsonl", "." * 9 + ".jsonl", "长" * 200 + ".jsonl"]
)
def test_a_strange_file_name_stays_in_its_folder(client_of, alice, version, name: str) -> None:
    client_of(alice).post(of_version("upload", version), {"files": data_file(name=name)})
    assert version.files.get().path.startswith(f"datasets/{version.uid}/source/")
    assert imported(version).row_count == 1


def test_an_upload_replaces_files_and_rows(
    client_of, alice, draft, django_capture_on_commit_callbacks, monkeypatch
) -> None:
    monkeypatch.setattr("datasets.tasks.import_version.delay", lambda pk: None)
    old = draft.files.get().path
    with django_capture_on_commit_callbacks(execute=True):
        client_of(alice).post(
            of_version("upload", draft), {"files": data_file(), "format": "prompt_response"}
        )
    assert imported(draft).row_count == 1
    assert not default_storage.exists(old)
    assert default_storage.listdir(f"datasets/{draft.uid}")[1] == ["rows-2.parquet"]


def test_the_sample_becomes_a_dataset_with_one_click(client_of, alice) -> None:
    client = client_of(alice)
    for _click in range(2):
        client.post(reverse("datasets:sample"))
    names = list(Dataset.objects.order_by("pk").values_list("name", flat=True))
    assert names == ["Sample conversations", "Sample conversations 2"]
    version = imported(DatasetVersion.objects.earliest("pk"))
    assert version.state == VersionState.DRAFT
    assert version.row_count >= 100


def test_the_create_page_explains_every_format(client_of, alice) -> None:
    page = client_of(alice).get(reverse("datasets:create")).text
    for format_ in FORMATS.values():
        assert str(format_.label) in page


# --- A version -----------------------------------------------------------------------------------------------


def test_the_first_rows_are_shown_as_conversations(client_of, alice, waiting) -> None:
    rows = [{"prompt": f"question {number}", "response": "<b>r</b>"} for number in range(30)]
    version = imported(waiting(a__jsonl="\n".join(map(json.dumps, rows))))
    page = client_of(alice).get(of_version("version", version)).text
    assert "question 2" in page
    assert "question 3" not in page
    assert "&lt;b&gt;r&lt;/b&gt;" in page


def test_very_long_rows_are_shown_in_part(client_of, alice, waiting) -> None:
    turns = [{"prompt": "p" * 20_000, "response": "r"}] * 100
    version = imported(waiting(a__jsonl=json.dumps(turns)))
    page = client_of(alice).get(of_version("version", version)).text
    assert len(page) < 300_000
    assert "and 160 more messages" in page


def test_lost_rows_are_told(client_of, alice, draft) -> None:
    default_storage.delete(draft.rows_path)
    client = client_of(alice)
    assert "no longer in the storage" in client.get(of_version("version", draft)).text
    assert client.get(of_version("download", draft)).status_code == 404


def test_problems_are_shown_with_their_places(client_of, alice, failed) -> None:
    page = client_of(alice).get(of_version("version", failed)).text
    assert "a.jsonl:3" in page
    assert "[0].prompt" in page
    assert "The field is missing." in page


def test_the_poll_goes_on_while_it_is_imported(client_of, alice, waiting) -> None:
    version = waiting(a__jsonl=GOOD)
    answer = client_of(alice).get(of_version("import_progress", version), headers=HTMX)
    assert (answer.status_code, "every 1s" in answer.text) == (200, True)


def test_progress_is_told_in_bytes(client_of, alice, waiting) -> None:
    version = waiting(a__jsonl="x" * 2048)
    DatasetVersion.objects.update(progress=1024, import_heartbeat_at=timezone.now())
    page = client_of(alice).get(of_version("version", version)).text
    assert "1.0\xa0KB of 2.0\xa0KB" in page
    assert 'value="50"' in page


def test_the_poll_stops_with_the_result(client_of, alice, draft) -> None:
    answer = client_of(alice).get(of_version("import_progress", draft), headers=HTMX)
    assert (answer.status_code, "every 1s" in answer.text) == (286, False)
    assert 'id="version-badge" hx-swap-oob' in answer.text


def test_the_good_rows_of_a_failed_import_are_taken_with_one_click(client_of, alice, failed) -> None:
    client_of(alice).post(of_version("accept", failed))
    failed.refresh_from_db()
    assert (failed.state, failed.row_count, failed.problem_count) == (VersionState.DRAFT, 2, 1)


def test_a_failed_import_can_be_repeated(client_of, alice, failed) -> None:
    client_of(alice).post(of_version("retry", failed))
    failed.refresh_from_db()
    assert (failed.state, failed.problem_count) == (VersionState.IMPORTING, 0)
    assert imported(failed).problem_count == 1


def test_the_files_are_read_in_another_format_without_another_upload(client_of, alice, draft) -> None:
    """What was detected is a guess."""
    client = client_of(alice)
    assert 'id="again_format"' in client.get(of_version("version", draft)).text
    for asked, expected in (({"format": "alpaca"}, "alpaca"), ({"format": "?"}, "alpaca"), ({}, "alpaca")):
        client.post(of_version("retry", draft), asked)
        assert (imported(draft).format, draft.state) == (expected, VersionState.FAILED)
    client.post(of_version("retry", draft), {"format": ""})
    assert (imported(draft).format, draft.state) == ("prompt_response", VersionState.DRAFT)


def test_the_rows_are_downloaded(client_of, bob, draft) -> None:
    answer = client_of(bob).get(of_version("download", draft))
    assert answer["Content-Disposition"] == 'attachment; filename="Greetings-V1.jsonl"'
    assert len(answer.getvalue().splitlines()) == 3


def test_a_version_without_rows_has_no_download(client_of, alice, version) -> None:
    assert client_of(alice).get(of_version("download", version)).status_code == 404


def test_a_new_version_is_empty(client_of, alice, draft) -> None:
    client_of(alice).post(reverse("datasets:new_version", args=[draft.dataset.uid]))
    newest = draft.dataset.versions.first()
    assert (newest.number, newest.state, newest.created_by) == (2, VersionState.EMPTY, alice)


@pytest.mark.parametrize("state", VersionState.values)
def test_a_version_has_a_page_in_every_state(client_of, alice, bob, draft, state: str) -> None:
    draft.state = state
    draft.save()
    for user in (alice, bob):
        assert client_of(user).get(of_version("version", draft)).status_code == 200
        assert client_of(user).get(reverse("datasets:detail", args=[draft.dataset.uid])).status_code == 200
