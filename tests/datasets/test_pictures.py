"""Pictures with captions and conversations about pictures: from archives, by every way of naming them, to a run."""

import base64
import json
from pathlib import Path

import pytest
from django.core.files.storage import default_storage
from django.urls import reverse

from datasets.models import VersionState
from datasets.pictures import copy_pictures, open_picture
from datasets.rows import iter_rows
from tests.datasets.making import picture, tar_of, zip_of

RED, BLUE = picture("red"), picture("blue", "JPEG")


def rows(version) -> list[dict]:
    return [json.loads(line) for line in iter_rows(version)]


def stored(version, name: str) -> bytes:
    with open_picture(version, name) as file:
        return file.read()


def talk(image: object = "1.png", question: str = "<ImageHere>What is it?") -> str:
    said = [{"role": "user", "content": question}, {"role": "assistant", "content": "A colour."}]
    return json.dumps({"images": image if isinstance(image, list) else [image], "messages": said})


@pytest.mark.parametrize("pack", [zip_of, tar_of])
def test_pictures_with_captions_of_the_same_name(imported, pack) -> None:
    files = {
        "set/1.png": RED, "set/1.json": '{"prompt": "red"}', "set/2.JPG": BLUE, "set/2.txt": "\ufeffblue\n",
        "__MACOSX/set/._1.png": "x", ".DS_Store": "x",
    }  # fmt: skip
    version = imported({"a.zip" if pack is zip_of else "a.tar.gz": pack(files)})
    assert (version.state, version.format, version.problem_kinds) == ("draft", "image_caption", {})
    version.dataset.refresh_from_db()
    assert version.dataset.row_type == "image_caption"
    assert [row["prompt"] for row in rows(version)] == ["red", "blue"]
    names = [row["image"].removeprefix("images/") for row in rows(version)]
    assert [stored(version, name) for name in names] == [RED, BLUE]


def test_a_picture_without_a_caption_is_named(imported) -> None:
    version = imported({"a.zip": zip_of({"1.png": RED, "1.txt": "red", "2.png": BLUE})})
    assert (version.state, version.row_count, version.problem_kinds) == ("failed", 1, {"no_caption": 1})
    assert version.problems[0]["file"] == "2.png"


@pytest.mark.parametrize("meta", [
    ("metadata.jsonl", '{"file_name": "1.png", "text": "red"}\n{"file_name": "sub/2.jpg", "text": "blue"}'),
    ("captions.jsonl", '{"image": "./1.png", "prompt": "red"}\n{"image": "sub\\\\2.jpg", "prompt": "blue"}'),
    ("metadata.csv", "file_name,text\n1.png,red\nsub/2.jpg,blue\n"),
])  # fmt: skip
def test_one_file_names_the_pictures(imported, meta: tuple[str, str]) -> None:
    version = imported(
        {"a.zip": zip_of({"train/1.png": RED, "train/sub/2.jpg": BLUE, f"train/{meta[0]}": meta[1]})}
    )
    assert (version.state, [row["prompt"] for row in rows(version)]) == ("draft", ["red", "blue"])


def test_the_same_picture_is_stored_once(imported) -> None:
    meta = '{"image": "1.png", "prompt": "a"}\n{"image": "2.png", "prompt": "b"}'
    version = imported({"a.zip": zip_of({"1.png": RED, "2.png": RED, "meta.jsonl": meta})})
    assert version.row_count == 2
    assert len(default_storage.listdir(f"datasets/{version.uid}/images")[1]) == 1


LLAVA = {"image": "coco/1.png", "conversations": [
    {"from": "human", "value": "What is it?\n<image>"}, {"from": "gpt", "value": "A colour."},
]}  # fmt: skip
PARTS = {"messages": [
    {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "1.png"}}, {"type": "text", "text": "Q"}]},
    {"role": "assistant", "content": "A"},
]}  # fmt: skip


@pytest.mark.parametrize(("record", "question"), [
    (talk(), "<image>What is it?"),
    (talk(question="What <Image1Here> is it?"), "What <image> is it?"),
    (talk(question="No mark"), "<image>\nNo mark"),
    (talk("data:image/png;base64," + base64.b64encode(RED).decode()), "<image>What is it?"),
    (json.dumps(LLAVA), "What is it?\n<image>"),
    (json.dumps(PARTS), "<image>\nQ"),
    (json.dumps({"image": "1.png", "prompt": "Q", "response": "A"}), "<image>\nQ"),
])  # fmt: skip
def test_conversations_about_a_picture(imported, record: str, question: str) -> None:
    version = imported({"a.zip": zip_of({"data/rows.jsonl": record, "images/1.png": RED})})
    assert (version.state, version.format) == ("draft", "prompt_image_response")
    (row,) = rows(version)
    assert row["image"].startswith("images/")
    assert row["messages"][0]["content"] == question


def test_pictures_may_be_uploaded_beside_the_rows(imported) -> None:
    version = imported({"rows.jsonl": talk("elsewhere/1.png").encode(), "1.png": RED})
    assert (version.state, version.row_count) == ("draft", 1)


@pytest.mark.parametrize(("record", "kind"), [
    (talk(["1.png", "1.png"]), "several_pictures"),
    (talk([]), "empty_list"),
    (talk("https://example.com/1.png"), "picture_address"),
    (talk("data:image/png;base64,*"), "picture_data_url"),
    (talk("data:text/html,x"), "picture_data_url"),
    (talk("../../../etc/passwd"), "picture_missing"),
    (talk("/etc/passwd"), "picture_missing"),
    (talk("same.png"), "picture_ambiguous"),
    (talk(question="<image> and <image>"), "several_marks"),
    (talk(3), "wrong_type"),
    (talk("text.png"), "picture_unknown"),
    (talk("gif.png"), "picture_unknown"),
    (talk("half.png"), "picture_broken"),
    (talk("half.jpg"), "picture_broken"),
    (talk("moving.png"), "picture_animated"),
    (talk("huge.png"), "picture_too_many_pixels"),
    (json.dumps({"image": "1.png", "conversations": [
        {"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hi"},
        {"from": "human", "value": "<image>What is it?"}, {"from": "gpt", "value": "Red"},
    ]}), "mark_not_first"),
])  # fmt: skip
def test_a_row_whose_picture_cannot_be_used_is_named(
    imported, record: str, kind: str, moving: bytes, huge: bytes
) -> None:
    files = {
        "rows.jsonl": talk() + "\n" + record, "1.png": RED, "a/same.png": RED, "b/same.png": BLUE,
        "text.png": "no picture", "gif.png": picture(kind="GIF"), "half.png": picture(size=(300, 300))[:200],
        "half.jpg": picture("blue", "JPEG", (300, 300))[:700], "moving.png": moving, "huge.png": huge,
    }  # fmt: skip
    version = imported({"a.zip": zip_of(files)})
    version.problem_kinds.pop("picture_unused")
    assert (version.state, version.row_count, version.problem_kinds) == ("failed", 1, {kind: 1})
    problem = next(problem for problem in version.problems if problem["kind"] == kind)
    assert (problem["file"], problem["line"]) == ("a.zip/rows.jsonl", 2)
    assert default_storage.listdir(f"datasets/{version.uid}/images")[1] == [
        Path(rows(version)[0]["image"]).name
    ]


@pytest.fixture(scope="module")
def moving() -> bytes:
    from io import BytesIO

    from PIL import Image

    file = BytesIO()
    frames = [Image.new("RGB", (4, 4), color) for color in ("red", "blue")]
    frames[0].save(file, "PNG", save_all=True, append_images=frames[1:])
    return file.getvalue()


@pytest.fixture(scope="module")
def huge() -> bytes:
    """A picture of 60 million pixels in 60 KB."""
    from io import BytesIO

    from PIL import Image

    file = BytesIO()
    Image.new("1", (10_000, 6_000)).save(file, "PNG")
    return file.getvalue()


def test_a_second_import_leaves_only_its_own_pictures(imported, waiting) -> None:
    version = imported({"a.zip": zip_of({"1.png": RED, "1.txt": "red"})})
    version.files.all().delete()
    version.import_heartbeat_at = None
    version.save()
    # As a killed worker leaves it: half a file of the right name.
    again = imported({"b.zip": zip_of({"1.jpg": BLUE, "1.txt": "blue"})})
    assert len(default_storage.listdir(f"datasets/{version.uid}/images")[1]) == 1
    assert rows(again)[0]["image"].endswith(".jpg")


def test_half_a_picture_of_a_killed_worker_is_written_again(imported, version) -> None:
    import hashlib

    from django.core.files.base import ContentFile

    name = f"{hashlib.sha256(RED).hexdigest()[:16]}.png"
    default_storage.save(f"datasets/{version.uid}/images/{name}", ContentFile(RED[:5]))
    imported({"a.zip": zip_of({"1.png": RED, "1.txt": "red"})})
    assert stored(version, name) == RED


def test_pictures_are_copied_for_a_run(imported, tmp_path: Path) -> None:
    version = imported({"a.zip": zip_of({"1.png": RED, "1.txt": "red"})})
    names = [row["image"] for row in rows(version)]
    assert copy_pictures(version, names * 2, tmp_path / "images") == len(RED)
    assert (tmp_path / names[0]).read_bytes() == RED
    with pytest.raises(FileNotFoundError):
        copy_pictures(version, ["images/0000000000000000.png"], tmp_path / "images")


def test_pictures_are_shown_to_members_only(imported, client_of, bob, charlie) -> None:
    version = imported({"a.zip": zip_of({"1.png": RED, "1.txt": "<b>red</b>"})})
    name = rows(version)[0]["image"].removeprefix("images/")
    page = client_of(bob).get(reverse("datasets:version", args=[version.uid])).text
    assert reverse("datasets:thumbnail", args=[version.uid, name]) in page
    for view, content_type in (("picture", "image/png"), ("thumbnail", "image/webp")):
        address = reverse(f"datasets:{view}", args=[version.uid, name])
        answer = client_of(bob).get(address)
        assert (answer["Content-Type"], answer["X-Content-Type-Options"]) == (content_type, "nosniff")
        assert "private" in answer["Cache-Control"]
        assert answer.getvalue()
        assert client_of(charlie).get(address).status_code == 404
        assert client_of(bob).post(address).status_code == 405
    for other in ("0000000000000000.png", "..", "rows-1.parquet"):
        assert client_of(bob).get(reverse("datasets:picture", args=[version.uid, other])).status_code == 404


def test_another_kind_of_rows_needs_another_dataset(imported, alice) -> None:
    from django.core.files.base import ContentFile

    from datasets.imports import run_import
    from datasets.models import DatasetVersion, SourceFile
    from datasets.publishing import new_version

    first = imported({"a.zip": zip_of({"1.png": RED, "1.txt": "red"})})
    second = new_version(first.dataset, alice)
    path = default_storage.save("x.jsonl", ContentFile(b'{"prompt": "p", "response": "r"}'))
    SourceFile.objects.create(version=second, name="x.jsonl", path=path, size=9)
    DatasetVersion.objects.filter(pk=second.pk).update(state=VersionState.IMPORTING)
    run_import(second.pk)
    second.refresh_from_db()
    assert (second.state, second.row_count, second.problem_kinds) == ("failed", 0, {"other_kind": 1})
