"""Rows changed in place: what changes, what is refused, and that nothing is lost on the way."""

import msgspec
import pytest
from django.core.files.storage import default_storage
from django.urls import reverse

from datasets import editing, publishing
from datasets.columns import FLAG_BITS, iter_lines
from datasets.models import Dataset, DatasetVersion, VersionState
from datasets.problems import every
from datasets.publishing import NotAllowed
from tests.datasets.storing import stored, talk

DUPLICATE = FLAG_BITS["duplicate"]


@pytest.fixture
def dataset(workspace) -> Dataset:
    return Dataset.objects.create(workspace=workspace, name="Greetings")


@pytest.fixture
def draft(dataset) -> DatasetVersion:
    """Four rows, of which the third repeats the first."""
    return stored(dataset, [talk("a"), talk("b"), talk("a"), talk("c")], flags=(0, 0, DUPLICATE))


def questions(version: DatasetVersion) -> list[str]:
    version.refresh_from_db()
    return [msgspec.json.decode(line)["messages"][0]["content"] for line in iter_lines(version)]


def change(version: DatasetVersion, replace=None, drop=(), append=()) -> None:
    lines = {number: msgspec.json.encode(row) for number, row in (replace or {}).items()}
    editing.rewrite(
        version, replace=lines, drop=set(drop), append=[msgspec.json.encode(row) for row in append]
    )


def files(version: DatasetVersion) -> list[str]:
    return default_storage.listdir(f"datasets/{version.uid}")[1]


def test_rows_are_replaced_dropped_and_appended(draft, dataset, django_capture_on_commit_callbacks) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        change(draft, {1: talk("B")}, {3}, [talk("d")])
    assert questions(draft) == ["a", "B", "a", "d"]
    as_imported = stored(dataset, [talk("a"), talk("B"), talk("a"), talk("d")], flags=(0, 0, DUPLICATE))
    for name in ("content_hash", "row_count", "turn_count", "character_count", "statistics"):
        assert getattr(draft, name) == getattr(as_imported, name), name
    assert len(files(draft)) == 1


def test_the_second_copy_is_no_duplicate_once_the_first_is_gone(draft) -> None:
    change(draft, drop={0})
    draft.refresh_from_db()
    assert draft.statistics["flags"] == {}
    assert draft.problem_kinds == {}


def test_all_duplicates_go_at_once(draft) -> None:
    assert editing.drop_flagged(draft, "duplicate") == 1
    assert questions(draft) == ["a", "b", "c"]


def warned(version: DatasetVersion) -> tuple[dict[str, int], list[tuple[int, str]]]:
    """The counts of problems; the places in the file of all, which the list of the first ones repeats."""
    version.refresh_from_db()
    places = [(problem["line"], problem["kind"]) for problem in every(version)]
    assert places == [(problem["line"], problem["kind"]) for problem in version.problems]
    assert not version.problems_path or default_storage.exists(version.problems_path)
    return version.problem_kinds, places


def test_warnings_go_with_their_rows_from_the_file_of_all_too(
    imported, django_capture_on_commit_callbacks
) -> None:
    rows = [talk("a"), talk("a"), talk("a"), talk("call 13812345678"), talk("b")]
    version = imported({"a.jsonl": b"\n".join(map(msgspec.json.encode, rows)) + b"\n{"})
    assert warned(version)[0] == {"duplicate": 2, "phone_number": 1, "invalid_json": 1}
    with django_capture_on_commit_callbacks(execute=True):
        change(version, {3: talk("call me")}, {0})
    assert warned(version) == (
        {"duplicate": 1, "invalid_json": 1},
        [(6, "invalid_json"), (3, "duplicate")],
    )
    with django_capture_on_commit_callbacks(execute=True):
        editing.drop_flagged(version, "duplicate")
    assert warned(version) == ({"invalid_json": 1}, [(6, "invalid_json")])
    assert len(files(version)) == 2


def test_warnings_without_a_flag_go_with_their_rows(imported) -> None:
    version = imported({"a.csv": b"prompt,response\n=A(1),r\nq,r\n=B(2),s\n"})
    assert warned(version) == ({"formula_like": 2}, [(2, "formula_like"), (4, "formula_like")])
    change(version, drop={0})
    assert warned(version) == ({"formula_like": 1}, [(4, "formula_like")])


def test_new_warnings_are_listed_with_their_rows(imported) -> None:
    rows = [[{"prompt": f"q {number}", "response": "r"}] for number in range(4)]
    version = imported({"a.jsonl": b"\n".join(map(msgspec.json.encode, rows))})
    change(version, {1: talk("mail me: ada@example.com"), 2: talk("q 0", "r")}, append=[talk("q 3", "r")])
    version.refresh_from_db()
    expected = [("email_address", "a.jsonl", 2), ("duplicate", "a.jsonl", 3), ("duplicate", "", None)]
    assert [(one["kind"], one["file"], one["line"]) for one in version.problems] == expected
    assert version.problem_kinds == {"email_address": 1, "duplicate": 2} == version.statistics["flags"]
    assert "ada@example.com" in version.problems[0]["excerpt"]
    change(version, {1: talk("mail me: bob@example.com"), 2: talk("another")})
    version.refresh_from_db()
    assert [one["kind"] for one in version.problems] == ["email_address", "duplicate"]


def test_new_warnings_stand_in_the_file_of_all_too(imported) -> None:
    row = b'[{"prompt": "q", "response": "r"}]\n'
    version = imported({"a.jsonl": row * 2 + b'[{"prompt": "p", "response": "r"}]'})
    assert version.problems_path
    change(version, {2: talk("q", "r")})
    version.refresh_from_db()
    assert [problem["line"] for problem in every(version)] == [2, 3]


def test_a_change_that_fails_leaves_neither_rows_nor_problems(imported, monkeypatch) -> None:
    version = imported({"a.jsonl": b"\n".join([msgspec.json.encode(talk("a"))] * 3)})
    before = files(version)
    with pytest.raises(NotAllowed), monkeypatch.context() as patch:
        patch.setattr(editing, "EDITABLE", (VersionState.EMPTY,))
        patch.setattr(editing, "obstacle", lambda *_given, **_more: "")
        change(version, drop={0})
    assert files(version) == before


@pytest.mark.parametrize("state", [VersionState.PUBLISHED, VersionState.IMPORTING, VersionState.EMPTY])
def test_only_open_versions_change(draft, state: str) -> None:
    DatasetVersion.objects.update(state=state)
    with pytest.raises(NotAllowed):
        change(draft, drop={0})
    assert questions(draft) == ["a", "b", "a", "c"]


@pytest.mark.parametrize("drop", [{0, 1, 2, 3}, {4}])
def test_neither_all_rows_nor_missing_ones_are_dropped(draft, drop: set[int]) -> None:
    with pytest.raises(NotAllowed):
        change(draft, drop=drop)


def test_a_large_version_is_refused_with_another_way(draft) -> None:
    DatasetVersion.objects.update(row_count=editing.MAX_ROWS + 1)
    with pytest.raises(NotAllowed, match="download it"):
        change(draft, drop={0})


def test_a_change_in_between_wins_and_leaves_one_file(draft, monkeypatch) -> None:
    write = editing._write

    def slow(*args):
        figures = write(*args)
        DatasetVersion.objects.filter(pk=draft.pk).update(content_hash="of somebody else")
        return figures

    monkeypatch.setattr(editing, "_write", slow)
    with pytest.raises(NotAllowed, match="Somebody else"):
        change(draft, drop={0})
    assert len(files(draft)) == 1


def test_token_counts_of_the_old_rows_go(draft) -> None:
    from catalog.loading import load_data_files
    from catalog.models import BaseModel
    from datasets.models import TokenCount

    load_data_files()
    TokenCount.objects.create(version=draft, base_model=BaseModel.objects.first())
    change(draft, drop={0})
    assert not TokenCount.objects.exists()


# --- Pages ---------------------------------------------------------------------------------------------------


def address(name: str, version: DatasetVersion) -> str:
    number = () if name == "drop_flagged" else (2,)
    return reverse(f"datasets:{name}", args=[version.uid, *number])


NAMES = ["edit_row", "drop_row", "drop_flagged"]


@pytest.mark.parametrize("name", NAMES)
def test_viewers_change_nothing_and_strangers_learn_nothing(
    client_of, bob, charlie, draft, name: str
) -> None:
    assert client_of(bob).post(address(name, draft)).status_code == 403
    assert client_of(charlie).post(address(name, draft)).status_code == 404


@pytest.mark.parametrize("name", NAMES)
def test_the_wrong_method_is_refused(client_of, alice, draft, name: str) -> None:
    client = client_of(alice)
    method = client.put if name == "edit_row" else client.get
    assert method(address(name, draft)).status_code == 405


def typed(version: DatasetVersion, **more: str) -> dict[str, str]:
    return {
        "hash": version.content_hash,
        "message-0": "b",
        "message-1": "ok",
        "shown-1": "1",
        "learned-1": "on",
    } | more


def test_a_row_is_saved(client_of, alice, draft) -> None:
    fields = typed(draft, system="Be\r\nbrief", **{"message-1": "new"})
    assert client_of(alice).post(address("edit_row", draft), fields).status_code == 302
    draft.refresh_from_db()
    assert msgspec.json.decode(list(iter_lines(draft))[1])["messages"] == [
        {"role": "system", "content": "Be\nbrief"},
        {"role": "user", "content": "b"},
        {"role": "assistant", "content": "new"},
    ]


def test_an_error_names_its_turn_and_keeps_what_was_typed(client_of, alice, draft) -> None:
    fields = typed(draft, **{"message-0": " ", "message-1": "typed"})
    answer = client_of(alice).post(address("edit_row", draft), fields)
    assert answer.status_code == 422
    shown = {field.name: field for field in answer.context["fields"]}
    assert "empty" in shown["message-0"].error
    assert (shown["message-1"].value, shown["message-1"].error) == ("typed", "")


def test_a_reply_may_be_context_only(client_of, alice, draft) -> None:
    fields = typed(draft, **{"message-2": "q", "message-3": "r", "shown-3": "1", "learned-3": "on"})
    del fields["learned-1"]
    client_of(alice).post(address("edit_row", draft), fields)
    draft.refresh_from_db()
    said = msgspec.json.decode(list(iter_lines(draft))[1])["messages"]
    assert [message.get("weight") for message in said] == [None, 0, None, None]


@pytest.mark.parametrize(("action", "count"), [("add", 4), ("remove-1", 2)])
def test_turns_come_and_go_without_saving(client_of, alice, draft, action: str, count: int) -> None:
    answer = client_of(alice).post(address("edit_row", draft), typed(draft, action=action))
    fields = [field for field in answer.context["fields"] if field.index is not None and field.index >= 0]
    assert (answer.status_code, len(fields)) == (200, count)
    assert questions(draft) == ["a", "b", "a", "c"]


def test_rows_that_changed_since_are_not_overwritten(client_of, alice, draft) -> None:
    answer = client_of(alice).post(address("edit_row", draft), typed(draft, hash="old"))
    assert answer.status_code == 422
    client_of(alice).post(address("drop_row", draft), {"hash": "old"})
    assert questions(draft) == ["a", "b", "a", "c"]


def test_a_row_is_dropped_from_its_page(client_of, alice, draft) -> None:
    client_of(alice).post(address("drop_row", draft), {"hash": draft.content_hash})
    assert questions(draft) == ["a", "a", "c"]


def test_flagged_rows_are_dropped_from_the_page(client_of, alice, draft) -> None:
    client_of(alice).post(address("drop_flagged", draft), {"kind": "duplicate"})
    assert questions(draft) == ["a", "b", "c"]
    assert client_of(alice).post(address("drop_flagged", draft), {"kind": "x"}).status_code == 404


@pytest.mark.parametrize("number", [0, 99])
def test_a_row_that_is_not_there_has_no_page(client_of, alice, draft, number: int) -> None:
    assert client_of(alice).get(reverse("datasets:edit_row", args=[draft.uid, number])).status_code == 404


def test_a_published_row_is_shown_with_the_reason(client_of, alice, draft) -> None:
    publishing.publish(draft)
    answer = client_of(alice).post(address("edit_row", draft), typed(draft))
    assert "Start a new version" in answer.context["problem"]
    assert questions(draft) == ["a", "b", "a", "c"]


def test_texts_are_edited_as_well(client_of, alice, dataset) -> None:
    version = stored(dataset, [{"text": "one"}, {"text": "two"}])
    client_of(alice).post(address("edit_row", version), {"hash": version.content_hash, "text": "三"})
    version.refresh_from_db()
    assert msgspec.json.decode(list(iter_lines(version))[1]) == {"text": "三"}


def test_the_ways_to_change_rows_are_on_the_pages(client_of, alice, bob, draft) -> None:
    edit, drop = address("edit_row", draft), address("drop_flagged", draft)
    for person, offered in ((alice, True), (bob, False)):
        client = client_of(person)
        assert (edit in client.get(reverse("datasets:rows", args=[draft.uid])).text) is offered
        assert (drop in client.get(reverse("datasets:version", args=[draft.uid])).text) is offered


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("files", "import them again"),
        ("version", "V1, which it was started from, keeps"),
        ("", "brought back"),
    ],
)
def test_the_question_before_dropping_says_what_becomes_of_the_rows(
    client_of, alice, draft, source: str, sentence: str
) -> None:
    if source == "files":
        draft.files.create(name="a.jsonl", path="a.jsonl", size=1)
    if source == "version":
        draft = publishing.new_version_from(draft, alice)
    page = client_of(alice).get(reverse("datasets:version", args=[draft.uid])).text
    assert sentence in page
