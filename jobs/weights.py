"""Where the weights of a base model lie on this machine; fetched first where they are bound to a hub or S3.

One code path for the demo and for real weights: every binding ends in a local directory of safetensors.
"""

from __future__ import annotations

import errno
import hashlib
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import boto3
from botocore.exceptions import BotoCoreError, ClientError
from django.conf import settings
from filelock import FileLock

from catalog.models import BaseModel, WeightsKind
from console import env
from console.disks import is_full
from jobs.training.original import kind_of, variant_of

# What a directory of weights may hold; pickled weights (.bin, .pt) and code are never fetched.
ALLOWED_SUFFIXES = (".safetensors", ".json", ".model", ".txt", ".jinja", ".tiktoken")
COMPLETE = ".complete"
# What the system says of a full disk, also through a process that converts.
FULL = "No space left on device"


class WeightsUnavailable(Exception):
    """The bound weights cannot be had; `code` and `params` go into the run's failure."""

    def __init__(self, code: str, message: str, **params: str) -> None:
        super().__init__(message)
        self.code, self.message, self.params = code, message, params


def local_weights(base_model: BaseModel) -> Path:
    """Returns the directory of a base model's weights, fetching them if this machine does not have them yet, and
    converting them once where they have the layout of ChatGLM or Baichuan2.

    Raises WeightsUnavailable with a sentence that a person can act on.
    """
    directory = _bound_directory(base_model)
    return _converted(base_model, directory) if kind_of(directory) else directory


def _bound_directory(base_model: BaseModel) -> Path:
    location = base_model.weights_location
    match base_model.weights_kind:
        case WeightsKind.DIRECTORY:
            directory = Path(location)
            if not directory.is_dir():
                raise WeightsUnavailable(
                    "weights_missing",
                    f"The weights directory {directory} of {base_model.name} does not exist on this machine.",
                    path=str(directory),
                    reason="there is no such directory on this machine",
                    why="no_directory",
                    model=base_model.name,
                )
            return directory
        case WeightsKind.HUB:
            return _fetched("hub", base_model, _fetch_from_hub)
        case WeightsKind.S3:
            return _fetched("s3", base_model, _fetch_from_s3)
    raise WeightsUnavailable(
        "weights_unbound", f"No weights are bound to {base_model.name}.", model=base_model.name
    )


def _converted(base_model: BaseModel, source: Path) -> Path:
    """Converts once into WEIGHTS_DIR; runs that start together wait for the first one, and an interrupted conversion
    starts again. A process of the trainer's interpreter does it: this one may lack the libraries.
    """
    variant = variant_of(f"{base_model.name} {base_model.weights_location}")
    files = sorted(path for path in source.iterdir() if path.is_file())
    state = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    identity = hashlib.sha256(repr((str(source), variant, state)).encode()).hexdigest()[:12]
    target = settings.WEIGHTS_DIR / "converted" / f"{source.name}-{identity}"
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{target}.lock"):
        if not target.exists():
            command = [settings.TRAINER_PYTHON or sys.executable, "-m", "jobs.training.convert"]
            result = subprocess.run(
                [*command, str(source), str(target), *(["--variant", variant] if variant else [])],
                cwd=settings.BASE_DIR,
                capture_output=True,
                text=True,
                check=False,
            )
            if result.returncode != 0:
                if FULL in result.stderr:
                    raise OSError(errno.ENOSPC, FULL, str(target))
                said = (result.stderr.strip().splitlines() or [f"it ended with {result.returncode}"])[-1]
                reason = (said.partition(" cannot be converted: ")[2] or said).rstrip(".")
                message = f"The weights of {base_model.name} in {source} cannot be converted: {reason}."
                raise WeightsUnavailable("conversion_failed", message, path=str(source), reason=reason)
    return target


def _fetched(kind: str, base_model: BaseModel, fetch) -> Path:  # type: ignore[no-untyped-def]
    """Fetches once into WEIGHTS_DIR; runs that start together wait for the first one."""
    identity = f"{base_model.weights_location}@{base_model.weights_revision}"
    name = f"{Path(base_model.weights_location).name}-{hashlib.sha256(identity.encode()).hexdigest()[:12]}"
    target = settings.WEIGHTS_DIR / kind / name
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{target}.lock"):
        if not (target / COMPLETE).exists():
            fetch(base_model, target)
            (target / COMPLETE).touch()
    return target


def _fetch_from_hub(base_model: BaseModel, target: Path) -> None:
    """Downloads a snapshot of a hub repository; only safetensors and the files around them."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        snapshot_download(
            base_model.weights_location,
            revision=base_model.weights_revision or None,
            local_dir=target,
            allow_patterns=[f"*{suffix}" for suffix in ALLOWED_SUFFIXES],
        )
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        if is_full(error):
            raise
        raise WeightsUnavailable(
            "hub_unreachable",
            f"The weights {base_model.weights_location} could not be fetched from the hub: {error}",
            location=base_model.weights_location,
            reason=str(error).splitlines()[0] if str(error) else type(error).__name__,
        ) from error


def _fetch_from_s3(base_model: BaseModel, target: Path) -> None:
    """Downloads every allowed object below s3://bucket/prefix; the endpoint comes from WEIGHTS_S3_ENDPOINT."""
    url = urlsplit(base_model.weights_location)
    prefix = url.path.strip("/") + "/"
    client = boto3.client("s3", endpoint_url=env.text("WEIGHTS_S3_ENDPOINT") or None)
    try:
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=url.netloc, Prefix=prefix)
        keys = [item["Key"] for page in pages for item in page.get("Contents", ())]
        wanted = [key for key in keys if key.endswith(ALLOWED_SUFFIXES)]
        if not wanted:
            raise WeightsUnavailable(
                "weights_missing",
                f"{base_model.weights_location} holds no weights.",
                path=base_model.weights_location,
                reason="it holds no weights",
                why="no_weights",
                model=base_model.name,
            )
        for key in wanted:
            path = (target / key.removeprefix(prefix)).resolve()
            if not path.is_relative_to(target.resolve()):
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            client.download_file(url.netloc, key, str(path))
    except (BotoCoreError, ClientError) as error:
        raise WeightsUnavailable(
            "s3_unreachable",
            f"The weights {base_model.weights_location} could not be fetched: {error}",
            location=base_model.weights_location,
            reason=str(error),
        ) from error
