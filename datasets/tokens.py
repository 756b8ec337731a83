"""How long a version's rows are in tokens of a base model, chat template included.

The tokenizer runs in a process of its own (jobs/training/lengths.py, the trainer's own code): the training libraries
stay out of the worker. A count survives its worker: it is claimed by a conditional UPDATE of its heartbeat, which at
the same time is the sign of life and the proof that the claim still holds; one that fell silent is claimed by another
worker and begins anew, which takes seconds.
"""

from __future__ import annotations

import logging
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import IO, Any

import numpy as np
from django.conf import settings
from django.db.models import Q, QuerySet
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from catalog.models import BaseModel, ModelType, OfferedHyperparameter, WeightsKind
from console.afterwards import after_commit
from console.beating import beating
from datasets.columns import read_lines
from datasets.connections import ConnectionFailed
from datasets.locations import DataChanged
from datasets.models import CountState, DatasetVersion, RowType, TokenCount
from datasets.rows import iter_rows
from datasets.statistics import histogram

logger = logging.getLogger(__name__)

# Larger versions are judged by so many rows, drawn with a fixed seed.
SAMPLE_ROWS = 50_000
SAMPLE_SEED = 42
# Rows that are copied to the tokenizer's process in one go.
COPIED_ROWS = 1000
STALE_SECONDS = 30
BEAT_SECONDS = 2

# What tokenizer counts which rows. Text-to-image models cut descriptions themselves and have no length to choose.
MODEL_TYPES: dict[str, ModelType] = {
    RowType.MESSAGES: ModelType.TEXT_TO_TEXT,
    RowType.PREFERENCE: ModelType.TEXT_TO_TEXT,
    RowType.BINARY_PREFERENCE: ModelType.TEXT_TO_TEXT,
    RowType.RANKED: ModelType.TEXT_TO_TEXT,
    RowType.TEXT: ModelType.TEXT_TO_TEXT,
    RowType.IMAGE_MESSAGES: ModelType.IMAGE_UNDERSTANDING,
}

PROBLEMS: dict[str, Promise | str] = {
    "weights_unbound": _("No weights are bound to this base model."),
    "weights_missing": _("The weights directory of this base model does not exist on this machine."),
    "tokenizer_missing": _("The weights of this base model have no tokenizer.json."),
    "weights_unreachable": _(
        "The weights of this base model could not be fetched. Try again; an operator finds the reason in the log of the"
        " worker."
    ),
    "tokenizer_broken": _("The tokenizer of this base model does not load."),
    "rows_lost": _("The rows of this version are no longer in the storage."),
    "rows_unreachable": _("The object storage did not give the rows of this version. Try again."),
    "data_changed": _(
        "The data have changed in the bucket since the rows were counted. Count the rows again."
    ),
    "unexpected": _(
        "The count stopped for a reason of the server's. Try again; if it stays, tell your administrator."
    ),
}


class CannotCount(Exception):
    """`code` is one of PROBLEMS."""

    def __init__(self, code: str) -> None:
        super().__init__(str(PROBLEMS[code]))
        self.code = code


# --- What can be counted --------------------------------------------------------------------------------------


def base_models(version: DatasetVersion) -> list[BaseModel]:
    """The base models whose tokenizers fit the rows of a version."""
    model_type = MODEL_TYPES.get(version.dataset.row_type)
    models = BaseModel.objects.filter(family__model_type=model_type, enabled=True).select_related("family")
    return list(models) if model_type else []


def obstacle(base_model: BaseModel) -> str:
    """Why nothing can be counted with a base model, a key of PROBLEMS; "" if nothing is known to be in the way.
    Weights in a hub or in S3 are fetched first."""
    if not base_model.is_bound:
        return "weights_unbound"
    if base_model.weights_kind == WeightsKind.DIRECTORY:
        directory = Path(base_model.weights_location)
        if not directory.is_dir():
            return "weights_missing"
        if not (directory / "tokenizer.json").is_file():
            return "tokenizer_missing"
    return ""


def lengths_of(base_model: BaseModel) -> list[int]:
    """The sequence lengths that runs of a base model may choose (maxSeqLen of its offers), and its context length."""
    found = {base_model.context_length} if base_model.context_length else set()
    for offered in OfferedHyperparameter.objects.filter(offer__base_model=base_model, key="maxSeqLen"):
        found |= set(offered.choices or [offered.default])
        if not offered.choices and offered.minimum and offered.maximum:
            powers = (2**exponent for exponent in range(6, 25))
            found |= {power for power in powers if offered.minimum <= power <= offered.maximum}
    return sorted(int(length) for length in found)


def usual_length(base_model: BaseModel) -> int | None:
    """The sequence length that a run has if nobody chooses one."""
    offered = OfferedHyperparameter.objects.filter(offer__base_model=base_model, key="maxSeqLen").first()
    return int(offered.default) if offered else base_model.context_length


def count_of(version: DatasetVersion, base_model: BaseModel) -> TokenCount | None:
    """The count of the rows as they are now, in whatever state."""
    count = TokenCount.objects.filter(version=version, base_model=base_model).first()
    if count and count.state == CountState.DONE and count.figures.get("hash") != version.content_hash:
        return None
    return count


def tokens_per_character(
    versions: Iterable[DatasetVersion], base_model: BaseModel
) -> dict[DatasetVersion | None, float]:
    """Tokens per character, chat template included, of those of the versions that have been counted, in one query."""
    wanted = {version.pk: version for version in versions if version.character_count}
    counts = TokenCount.objects.filter(version__in=wanted, base_model=base_model, state=CountState.DONE)
    return {
        wanted[pk]: total / wanted[pk].character_count
        for pk, total, content in counts.values_list("version", "total", "figures__hash")
        # A version that was edited afterwards is as good as not counted.
        if content == wanted[pk].content_hash
    }


# --- Counting -------------------------------------------------------------------------------------------------


def start(version: DatasetVersion, base_model: BaseModel) -> TokenCount:
    """Asks for a count; one that is waiting or under way goes on. Raises CannotCount."""
    if code := obstacle(base_model):
        raise CannotCount(code)
    count, _created = TokenCount.objects.get_or_create(version=version, base_model=base_model)
    over = TokenCount.objects.filter(pk=count.pk, state__in=(CountState.DONE, CountState.FAILED))
    over.update(state=CountState.WAITING, problem="", rows_done=0, total=0, figures={}, heartbeat_at=None)
    from datasets.tasks import count_tokens

    after_commit(count_tokens.delay, count.pk)
    count.refresh_from_db()
    return count


def stale_counts() -> list[int]:
    """Ids of the counts that wait for a worker, or whose worker died."""
    return list(_claimable().values_list("pk", flat=True))


def _claimable() -> QuerySet[TokenCount]:
    silent = Q(heartbeat_at=None) | Q(heartbeat_at__lt=timezone.now() - timedelta(seconds=STALE_SECONDS))
    return TokenCount.objects.filter(silent, state__in=(CountState.WAITING, CountState.COUNTING))


class _Claim:
    """A count that this worker has, as long as its heartbeat is the one that this worker wrote last."""

    def __init__(self, count: TokenCount) -> None:
        self.count, self.at, self.rows = count, count.heartbeat_at, 0
        self.is_lost = False

    def write(self, **values: Any) -> bool:
        """Changes the count unless the claim is lost; returns whether it holds."""
        now = timezone.now()
        own = TokenCount.objects.filter(pk=self.count.pk, heartbeat_at=self.at).exclude(state=CountState.DONE)
        if own.update(heartbeat_at=now, **values):
            self.at = now
        else:
            self.is_lost = True
        return not self.is_lost

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Shows life and progress from a thread, because loading a tokenizer or fetching weights shows none."""

        def beat() -> None:
            if not self.is_lost:
                self.write(rows_done=self.rows)

        with beating(f"token-count-{self.count.pk}", BEAT_SECONDS, beat):
            yield


def run_count(count_id: int) -> bool:
    """Counts if nobody else does. Returns whether this call carried the count to its end, good or bad."""
    count = _claimable().filter(pk=count_id).select_related("version__dataset", "base_model").first()
    if count is None:
        return False
    claim = _Claim(count)
    if not claim.write(state=CountState.COUNTING, rows_done=0):
        return False
    version, base_model = count.version, count.base_model
    try:
        with claim.kept():
            longest, total, refused = _counted(claim, version, base_model)
    except CannotCount as problem:
        return claim.write(state=CountState.FAILED, problem=problem.code)
    except ConnectionFailed as error:
        logger.warning("token count %s: %s", count.pk, error)
        code = "data_changed" if isinstance(error, DataChanged) else "rows_unreachable"
        return claim.write(state=CountState.FAILED, problem=code)
    except FileNotFoundError:
        return claim.write(state=CountState.FAILED, problem="rows_lost")
    except Exception:
        logger.exception("token count %s stopped", count.pk)
        return claim.write(state=CountState.FAILED, problem="unexpected")
    if claim.is_lost:
        return False
    share = len(longest) / version.row_count if version.row_count else 1.0
    figures = histogram(np.asarray(longest, np.int64)) | {
        "cut": {
            str(length): int(np.count_nonzero(np.asarray(longest) > length))
            for length in lengths_of(base_model)
        },
        "rows": len(longest),
        "refused": refused,
        "hash": version.content_hash,
    }
    # Rows that the template refuses are taken to be as long as the others.
    estimated = round(total / share) if share else 0
    return claim.write(
        state=CountState.DONE, total=estimated, rows_done=len(longest) + refused, figures=figures
    )


def _counted(claim: _Claim, version: DatasetVersion, base_model: BaseModel) -> tuple[list[int], int, int]:
    """The longest sample of each row, the tokens of all samples, the rows that the template refuses."""
    longest: list[int] = []
    total = refused = 0
    directory = _weights(base_model)
    with tempfile.TemporaryFile() as rows, tempfile.TemporaryFile() as errors:
        _copy_rows(version, rows)
        rows.seek(0)
        command = [sys.executable, "-m", "jobs.training.lengths", str(directory)]
        if base_model.trust_remote_code:
            command.append("--trust-remote-code")
        with subprocess.Popen(
            command, stdin=rows, stdout=subprocess.PIPE, stderr=errors, cwd=settings.BASE_DIR
        ) as process:
            assert process.stdout is not None
            for line in process.stdout:
                if claim.is_lost:
                    process.kill()
                    break
                if line == b"-\n":
                    refused += 1
                else:
                    own, of_all = map(int, line.split())
                    longest.append(own)
                    total += of_all
                claim.rows += 1
        if process.returncode and not claim.is_lost:
            errors.seek(0)
            logger.error("token count %s: %s", claim.count.pk, errors.read(4000).decode(errors="replace"))
            raise CannotCount("tokenizer_broken" if process.returncode == 3 else "unexpected")
    return longest, total, refused


def _weights(base_model: BaseModel) -> Path:
    """The directory of the weights, fetched first where they lie elsewhere. Raises CannotCount."""
    # Weights belong to the training side; from there nothing else is asked.
    from jobs.weights import WeightsUnavailable, local_weights

    if code := obstacle(base_model):
        raise CannotCount(code)
    try:
        directory = local_weights(base_model)
    except WeightsUnavailable as error:
        logger.warning("tokens of %s: %s", base_model, error)
        raise CannotCount("weights_unreachable") from error
    if not (directory / "tokenizer.json").is_file():
        raise CannotCount("tokenizer_missing")
    return directory


def _copy_rows(version: DatasetVersion, file: IO[bytes]) -> None:
    """Writes the rows to be counted as lines: all of them, or the sample. Raises FileNotFoundError,
    ConnectionFailed."""
    if version.row_count <= SAMPLE_ROWS:
        file.writelines(line + b"\n" for line in iter_rows(version))
        return
    numbers = sorted(random.Random(SAMPLE_SEED).sample(range(version.row_count), SAMPLE_ROWS))  # noqa: S311
    if not version.rows_path:
        # A bucket gives rows in their order only.
        chosen = set(numbers)
        file.writelines(line + b"\n" for at, line in enumerate(iter_rows(version)) if at in chosen)
        return
    for at in range(0, SAMPLE_ROWS, COPIED_ROWS):
        file.writelines(line + b"\n" for line in read_lines(version, numbers[at : at + COPIED_ROWS]))
