"""From a model to the directories that the process that answers loads; fetched first where they lie elsewhere."""

from __future__ import annotations

import shutil
from pathlib import Path

from django.conf import settings
from django.core.files.storage import default_storage
from filelock import FileLock

from catalog.models import ModelType, ModelVersion
from catalog.serving_targets import Target
from console.disks import on_disk
from jobs.models import Run
from jobs.run_files import result_directory
from jobs.training.card import ADAPTERS, MERGED
from jobs.training.serving_protocol import Kind, Load
from jobs.weights import WeightsUnavailable, local_weights

KINDS: dict[str, Kind] = {
    ModelType.TEXT_TO_TEXT: "text",
    ModelType.IMAGE_UNDERSTANDING: "vision",
    ModelType.TEXT_TO_IMAGE: "image",
}


def load_of(target: Target) -> Load:
    """What a process has to load for a model. Raises WeightsUnavailable with a sentence that a person can act on."""
    own, adapter, run = None, None, target.run
    if target.version is not None:
        run = getattr(target.version, "run", None)
        # What an adapter of an incremental run belongs to is gone sooner than the full weights beside it.
        wants_merged = run is None or run.base_run_id is not None
        own = _version_directory(
            target.version, MERGED if wants_merged and _has_merged(target.version) else ""
        )
    elif run is not None:
        own = result_directory(run, target.step)
        if not own.is_dir():
            raise _missing(target.name, own)
    if own is not None and any((own / name).exists() for name in ADAPTERS):
        own, adapter = None, own
    if own is None:
        own = _start_of(run) if run is not None and run.base_run is not None else None
    base = target.base_model
    return Load(
        kind=KINDS[target.kind],
        base=str(own or local_weights(base)),
        adapter=str(adapter) if adapter else None,
        trust_remote_code=base.trust_remote_code,
        device=settings.TRAINER_DEVICE,  # type: ignore[arg-type]
        threads=settings.TRAINER_THREADS or None,
        context=base.context_length,
    )


def _start_of(run: Run) -> Path:
    """The weights that the adapter of an incremental run was laid over."""
    assert run.base_run is not None
    directory = result_directory(run.base_run, run.base_step)
    if not directory.is_dir():
        raise _missing(str(run.base_run), directory)
    return directory


def _missing(name: str, path: Path) -> WeightsUnavailable:
    message = f"The weights of {name} are not on the machine that serves models ({path})."
    return WeightsUnavailable("weights_missing", message, path=str(path), model=name)


def _has_merged(version: ModelVersion) -> bool:
    return any(item["name"].startswith(f"{MERGED}/") for item in version.files)


def _version_directory(version: ModelVersion, folder: str) -> Path:
    """Where a version's own files (folder "") or the full weights beside them lie; out of an object storage they are
    fetched once."""
    root = on_disk(version.path)
    if root is None:
        return _fetched(version, folder)
    directory = root / folder
    if not directory.is_dir():
        raise _missing(str(version), directory)
    return directory


def _fetched(version: ModelVersion, folder: str) -> Path:
    """A copy under WEIGHTS_DIR."""
    target = settings.WEIGHTS_DIR / "served" / (f"{version.uid}-{folder}" if folder else version.uid)
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{target}.lock"):
        if target.is_dir():
            return target
        half = target.with_suffix(".tmp")
        shutil.rmtree(half, ignore_errors=True)
        for name in (item["name"] for item in version.files):
            if name.startswith(f"{MERGED}/") != (folder == MERGED):
                continue
            path = half / name.removeprefix(f"{folder}/")
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                with default_storage.open(f"{version.path}/{name}") as source, path.open("wb") as copy:
                    shutil.copyfileobj(source, copy, 1024 * 1024)
            except FileNotFoundError as error:
                raise _missing(str(version), Path(name)) from error
        half.rename(target)
    return target
