"""A published version in a repository on a Hugging Face hub, through huggingface_hub.

In a process of its own (`manage.py carry_out_push`), so that it reaches no address that the operator does not allow:
a hub says itself where large files are to be sent.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from contextlib import ExitStack
from typing import BinaryIO, cast

from cryptography.fernet import InvalidToken
from django.utils.translation import gettext as _

from catalog.models.pushes import Push
from console.endpoints import EndpointRefused, InnerAddress, allowed_addresses_only, check_endpoint
from console.secrets import HUBS, decrypt
from datasets.connections import ConnectionFailed
from datasets.storage import seekable


def is_installed() -> bool:
    """The library is optional for the console: requirements-tracking.txt."""
    return importlib.util.find_spec("huggingface_hub") is not None


def copy(push: Push, report: Callable[[int], None]) -> None:
    """Uploads all files in one commit; `report` hears how many bytes are there. What the hub has is not sent again:
    it knows large files by their checksum. Raises ConnectionFailed, FileNotFoundError."""
    if push.account is None:
        raise ConnectionFailed(_("The hub account has been deleted."))
    if not is_installed():
        raise ConnectionFailed(_("The library huggingface_hub is not installed on the console's worker."))
    try:
        check_endpoint(push.account.endpoint)
        token = decrypt(push.account.token, HUBS)
    except EndpointRefused as refused:
        raise ConnectionFailed(str(refused)) from refused
    except InvalidToken as error:
        text = _("The token cannot be read any more, because SECRET_KEY was changed. Make a new hub account.")
        raise ConnectionFailed(text) from error
    with ExitStack() as stack:
        paths = {file["name"]: f"{push.version.path}/{file['name']}" for file in push.version.files}
        contents = {name: cast(BinaryIO, stack.enter_context(seekable(path))) for name, path in paths.items()}
        stack.enter_context(allowed_addresses_only())
        _upload(push, token, contents, report)


def _upload(push: Push, token: str, contents: dict[str, BinaryIO], report: Callable[[int], None]) -> None:
    import httpx2
    from huggingface_hub import CommitOperationAdd, HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    assert push.account is not None
    api = HfApi(endpoint=push.account.endpoint.rstrip("/"), token=token)
    done = 0
    try:
        api.create_repo(push.repository, private=True, exist_ok=True)
        operations = []
        for file in push.version.files:
            operation = CommitOperationAdd(file["name"], contents[file["name"]])
            api.preupload_lfs_files(push.repository, [operation], free_memory=False)
            operations.append(operation)
            done += file["size"]
            report(done)
        message = f"{push.version} ({push.version.uid})"
        api.create_commit(push.repository, operations, commit_message=message)
    except (HfHubHTTPError, HFValidationError, httpx2.HTTPError, InnerAddress) as error:
        raise ConnectionFailed(_first_line(error)) from error
    except RuntimeError as error:  # what went wrong with a large file is behind it
        raise ConnectionFailed(_first_line(error.__cause__ or error)) from error


def _first_line(error: BaseException) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:3])[:500] or type(error).__name__
