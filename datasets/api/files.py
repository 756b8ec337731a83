"""OpenAI's `files`: each is a version of a dataset. What is uploaded becomes a new dataset of the file's name.

Small files are read while the client waits, so that a job can use them at once, as programs are used to; large ones
by a worker (`status` says "uploaded" until that has ended). A file that a job trains on is published by that.
"""

from __future__ import annotations

from pathlib import PurePath
from typing import Any

from django.core.exceptions import ValidationError
from django.core.files.storage import default_storage
from django.db import IntegrityError, transaction
from django.db.models import QuerySet
from django.http import FileResponse, HttpRequest, StreamingHttpResponse
from django.utils.translation import gettext as _

from console.api.errors import conflict, invalid, not_found
from console.api.keys import Caller
from console.api.openai import Endpoint, cut, listed
from console.deletion import NotDeletable
from console.downloads import as_file
from console.models import Scope
from datasets import deletion, imports, publishing, uploads
from datasets.models import Dataset, DatasetVersion, VersionState
from datasets.problems import error_count, grouped
from datasets.rows import json_lines
from datasets.storage import stream

PURPOSE = "fine-tune"
# Read at once up to this size.
SMALL_BYTES = 8 * 1024**2
NAME_LENGTH = 50
_STATUS = {
    VersionState.EMPTY: "uploaded",
    VersionState.IMPORTING: "uploaded",
    VersionState.FAILED: "error",
}


def file_id(version: DatasetVersion) -> str:
    return "file-" + version.uid.removeprefix("ds-")


def find(caller: Caller, given: str, param: str = "file_id", *, own: bool = True) -> DatasetVersion:
    """The version behind a file's ID, or behind its own identifier. Raises Refused."""
    uid = "ds-" + given.removeprefix("file-") if given.startswith("file-") else given
    versions = DatasetVersion.objects.select_related("dataset__workspace").filter(uid=uid)
    found = versions.filter(dataset__workspace=caller.workspace).first()
    if found is None and not own:
        found = versions.filter(shared__enabled=True).first()
    if found is None:
        raise not_found(f"There is no file {given!r} in this workspace.", param)
    return found


def describe(version: DatasetVersion) -> dict[str, Any]:
    files = list(version.files.all())
    name = files[0].name if files else f"{version.dataset.name}-{version.label}.jsonl"
    described = {
        "id": file_id(version),
        "object": "file",
        "bytes": version.size,
        "created_at": int(version.created_at.timestamp()),
        "filename": name,
        "purpose": PURPOSE,
        "status": _STATUS.get(VersionState(version.state), "processed"),
    }
    if version.state == VersionState.FAILED:
        described["status_details"] = _why(version)
    return described


def _why(version: DatasetVersion) -> str:
    """The first error of an import that failed, where it stands, and how many there are."""
    groups = grouped(version.problems, version.problem_kinds, 1)
    if not groups:
        return ""
    text = str(groups[0].kind.title)
    if groups[0].shown:
        problem, text = groups[0].shown[0]
        place = {"line": problem["line"], "field": problem["field"], "problem": text}
        if problem["line"] and problem["field"]:
            text = _("Line %(line)s, %(field)s: %(problem)s") % place
        elif problem["line"]:
            text = _("Line %(line)s: %(problem)s") % place
    more = error_count(version.problem_kinds) - 1
    return f"{text} ({_('%(count)d more') % {'count': more}})" if more > 0 else text


def create(caller: Caller, request: HttpRequest) -> dict[str, Any]:
    file, purpose = request.FILES.get("file"), request.POST.get("purpose", "")
    if file is None:
        raise invalid("Send a file, as multipart/form-data.", "file")
    if purpose != PURPOSE:
        raise invalid(f"The only purpose here is {PURPOSE}.", "purpose")
    if not PurePath(file.name or "").suffix:
        # Clients that are given bytes invent a name without an ending.
        file.name = f"{file.name or 'upload'}.jsonl"
    try:
        uploads.check([file])
    except ValidationError as error:
        raise invalid(" ".join(error.messages), "file") from error
    version = _new_version(caller, PurePath(file.name or "").stem)
    with transaction.atomic():
        uploads.import_files(version, [file])
        # In one transaction, so that no worker is faster.
        claimed = imports.claim(version.pk) if (file.size or 0) <= SMALL_BYTES else None
    if claimed is not None:
        imports.carry_on(claimed)
    version.refresh_from_db()
    return describe(version)


def _new_version(caller: Caller, name: str) -> DatasetVersion:
    """V1 of a dataset under the first name that is free."""
    base = name.replace("\0", "").strip() or "upload"
    base = base if len(base) > 1 else f"{base}-data"
    candidate, number = base[:NAME_LENGTH], 1
    while True:
        if not Dataset.objects.filter(workspace=caller.workspace, name=candidate).exists():
            try:
                with transaction.atomic():
                    return publishing.create_dataset(caller.workspace, caller.user, candidate)
            except IntegrityError:
                pass  # somebody else was faster
        number += 1
        ending = f" ({number})"
        candidate = base[: NAME_LENGTH - len(ending)] + ending


def _files(caller: Caller) -> QuerySet[DatasetVersion]:
    versions = DatasetVersion.objects.filter(dataset__workspace=caller.workspace)
    versions = versions.exclude(state=VersionState.EMPTY).defer("statistics", "import_saved")
    return versions.select_related("dataset").prefetch_related("files")


def list_files(caller: Caller, request: HttpRequest) -> dict[str, Any]:
    if request.GET.get("purpose", PURPOSE) != PURPOSE:
        return listed([])
    found = _files(caller)

    def key(given: str) -> int | None:
        uid = "ds-" + given.removeprefix("file-")
        return found.filter(uid=uid).values_list("pk", flat=True).first()

    files, has_more = cut(request, found, key, limit=10_000, most=10_000)
    return listed([describe(version) for version in files], has_more=has_more)


def retrieve(caller: Caller, request: HttpRequest, file: str) -> dict[str, Any]:
    return describe(find(caller, file))


def content(caller: Caller, request: HttpRequest, file: str) -> StreamingHttpResponse:
    """The file as it was uploaded; of a version that came from several, its rows."""
    version = find(caller, file)
    uploaded = list(version.files.all())
    source = uploaded[0] if len(uploaded) == 1 else None
    path = source.path if source else version.rows_path
    if not path or not default_storage.exists(path):
        raise not_found("This file has no content.", "file_id")
    kind = "application/octet-stream"
    if source:
        return as_file(FileResponse(stream(path), content_type=kind), source.name)
    rows = StreamingHttpResponse(json_lines(version), content_type=kind)
    return as_file(rows, f"{version.dataset.name}-{version.label}.jsonl")


def delete(caller: Caller, request: HttpRequest, file: str) -> dict[str, Any]:
    """Deletes the version, and the dataset with its last one."""
    version = find(caller, file)
    try:
        if version.dataset.versions.count() == 1:
            deletion.delete_dataset(version.dataset, caller.user)
        else:
            deletion.delete_version(version, caller.user)
    except NotDeletable as reason:
        raise conflict(str(reason), "file_id") from reason
    return {"id": file, "object": "file", "deleted": True}


FILES = {"get": Endpoint(list_files), "post": Endpoint(create, Scope.WRITE)}
ONE_FILE = {"get": Endpoint(retrieve), "delete": Endpoint(delete, Scope.ADMIN)}
CONTENT = {"get": Endpoint(content)}
