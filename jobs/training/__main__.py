"""`python -m jobs.training RUN_DIR [RUN_DIR …]`: train, one run directory after the other.
`python -m jobs.training --merge RUN_DIR TARGET`: merge the adapter of a finished run into its base model.
`python -m jobs.training --warm RUNS_DIR`: load the libraries, then fork for each of these (see warm.py).

Exit codes: 0 done, stopped, or done before; 1 failed (the event `failed` says why); 75 another process holds
the directory.
"""

import sys
import time
from pathlib import Path

# Before anything else is imported: the installed library `datasets` comes before the app of the same name.
_root = str(Path(__file__).resolve().parents[2])
sys.path[:] = [entry for entry in sys.path if str(Path(entry or ".").resolve()) != _root] + [_root]

import errno  # noqa: E402
import gc  # noqa: E402
import importlib  # noqa: E402
import logging  # noqa: E402
import os  # noqa: E402
import shutil  # noqa: E402
import traceback  # noqa: E402
import warnings  # noqa: E402

import msgspec  # noqa: E402
from filelock import FileLock, Timeout  # noqa: E402

from jobs.training.checkpoints import list_checkpoints, remove_incomplete, step_of  # noqa: E402
from jobs.training.events import FILE_NAME, EventWriter, TrainingFailure, read_events  # noqa: E402
from jobs.training.ranks import Silent, rank, train_together, world_size  # noqa: E402
from jobs.training.spec import LOCK_NAME, PID_NAME, Setting, Spec, read_spec  # noqa: E402
from jobs.training.stopping import Stop, StopRequestedError  # noqa: E402
from jobs.training.trainers import find_trainer  # noqa: E402
from jobs.training.weight_files import check_mergeable  # noqa: E402

FAILED, LOCKED = 1, 75  # 75 is EX_TEMPFAIL: trying later makes sense


def main(arguments: list[str]) -> int:
    # Nothing leaves the machine: no hub look-ups, no telemetry. Set before the libraries read it.
    os.environ |= {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "TOKENIZERS_PARALLELISM": "true"}
    if arguments[:1] == ["--warm"]:
        _quieten()
        from jobs.training.warm import serve

        ordered = serve()
        if ordered is None:
            return 0
        code = _carry_out(ordered)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)  # without taking the libraries apart, whose memory is the warm process's
    return _carry_out(arguments)


def _carry_out(arguments: list[str]) -> int:
    if arguments[:1] == ["--merge"] and len(arguments) == 3:
        return _merge(Path(arguments[1]), Path(arguments[2]))
    if not arguments or arguments[0].startswith("-"):
        print(__doc__)
        return 2
    stop = Stop()
    codes = [run(Path(argument), stop) for argument in arguments if not stop.requested]
    return max(codes, default=0)


def _merge(run_dir: Path, target: Path) -> int:
    run_dir = run_dir.resolve()
    try:
        check_mergeable(read_spec(run_dir))  # before the libraries are loaded, which takes seconds
        _quieten()
        from jobs.training.merging import merge

        merge(run_dir, target)
    except Exception as error:
        failure = explain(error)
        if failure is not error:
            traceback.print_exc()
        print(failure.message, file=sys.stderr, flush=True)
        return FAILED
    return 0


def run(run_dir: Path, stop: Stop) -> int:
    """One run directory, from the lock to the exit code."""
    run_dir = run_dir.resolve()
    if not run_dir.is_dir():
        print(f"{run_dir} is not a directory.", file=sys.stderr)
        return FAILED
    if rank() > 0:
        return _run_beside(run_dir, stop)
    if "RANK" not in os.environ and (spec := _shared_spec(run_dir)) is not None:
        return train_together(run_dir, spec.processes, spec.threads, stop)
    try:
        with FileLock(run_dir / LOCK_NAME, timeout=2):
            (run_dir / PID_NAME).write_text(f"{os.getpid()}\n")
            return _run_locked(run_dir, stop)
    except Timeout:
        print(f"Another process is training in {run_dir}.", file=sys.stderr)
        return LOCKED


def _shared_spec(run_dir: Path) -> Spec | None:
    """The spec of a run that several processes train together; None for one that is done, or that rank 0 will find
    wrong.
    """
    if any(event["type"] == "done" for event in read_events(run_dir / FILE_NAME)[0]):
        return None
    try:
        spec = read_spec(run_dir)
    except TrainingFailure:
        return None
    return spec if spec.processes > 1 else None


def _run_beside(run_dir: Path, stop: Stop) -> int:
    """A rank that only computes; rank 0 says what happens."""
    try:
        _train(read_spec(run_dir), run_dir, Silent(), stop)  # type: ignore[arg-type]
    except StopRequestedError:
        return 0
    except Exception:
        traceback.print_exc()
        return FAILED
    return 0


def _run_locked(run_dir: Path, stop: Stop) -> int:
    past, _ = read_events(run_dir / FILE_NAME)
    if any(event["type"] == "done" for event in past):
        print(f"{run_dir} is done.")
        return 0
    events = EventWriter(run_dir / FILE_NAME, attempt=max((event["attempt"] for event in past), default=1))
    try:
        spec = read_spec(run_dir)
        events.attempt = spec.attempt
        _train_in_memory(spec, run_dir, events, stop)
    except StopRequestedError:
        steps = [step_of(path) for path in list_checkpoints(run_dir / "checkpoints")]
        events.write("stopped", step=max(steps, default=0), checkpoint=max(steps, default=None))
    except Exception as error:
        failure = explain(error)
        if failure is not error:
            traceback.print_exc()
        if failure.code == "disk_full":  # what was half written makes room for the event
            remove_incomplete(run_dir / "checkpoints")
            shutil.rmtree(run_dir / "output.tmp", ignore_errors=True)
        print(f"failed: {failure.message}", file=sys.stderr, flush=True)
        events.write("failed", code=failure.code, params=failure.params, message=failure.message)
        return FAILED
    finally:
        events.close()
    return 0


def _train_in_memory(spec: Spec, run_dir: Path, events: EventWriter, stop: Stop) -> None:
    """Train; where the memory is not enough, again with half the batch and twice the accumulation, which is the same
    training in smaller portions, and at last with activations that are not kept. Goes on from the newest checkpoint,
    as every start does.
    """
    while True:
        try:
            _train(spec, run_dir, events, stop)
            return
        except (MemoryError, RuntimeError) as error:  # torch.OutOfMemoryError is a RuntimeError
            may_retry = explain(error).code == "out_of_memory" and world_size() == 1
            smaller = _in_less_memory(spec, run_dir) if may_retry else {}
            if not smaller:
                raise
            traceback.clear_frames(error.__traceback__)  # they hold the model that did not fit
        chosen = {key: Setting(value, "trainer") for key, value in smaller.items()}
        spec = msgspec.structs.replace(spec, hyperparameters=spec.hyperparameters | chosen)
        if CHECKPOINTING in smaller:
            events.warn(
                "checkpointing_on", f"The memory was not enough, so {CHECKPOINTING} is on from here on."
            )
        else:
            batch, steps = smaller.values()
            message = (
                f"The memory was not enough, so batchSize is {batch} and gradientAccumulationSteps {steps}"
            )
            events.warn("batch_halved", f"{message} from here on.", batch=batch, steps=steps)
        gc.collect()
        import torch

        torch.cuda.empty_cache()


CHECKPOINTING = "gradientCheckpointing"


def _in_less_memory(spec: Spec, run_dir: Path) -> dict[str, int | str]:
    """The hyperparameters with which the run may fit: half of the batch that it was started with and the accumulation
    doubled, or, where the batch cannot be halved, checkpointing if nobody turned it off. Empty where there is no such
    way, or the run had not got as far as a batch.
    """
    starts = [event for event in read_events(run_dir / FILE_NAME)[0] if event["type"] == "start"]
    if not starts or starts[-1]["attempt"] != spec.attempt:
        return {}
    resolved = starts[-1]["resolved"]
    batch = resolved["batchSize"]["value"]
    if batch % 2 == 0:
        steps = resolved["gradientAccumulationSteps"]["value"]
        return {"batchSize": batch // 2, "gradientAccumulationSteps": steps * 2}
    return (
        {CHECKPOINTING: "True"} if resolved[CHECKPOINTING] == {"value": "False", "origin": "trainer"} else {}
    )


def _train(spec: Spec, run_dir: Path, events: EventWriter, stop: Stop) -> None:
    events.write("phase", name="loading_libraries")
    if spec.threads:
        os.environ["OMP_NUM_THREADS"] = str(spec.threads)  # read once, when torch is loaded
    began = time.monotonic()
    _quieten()
    trainer = find_trainer(spec.trainer)
    assert trainer is not None  # read_spec has checked it
    module = importlib.import_module(f"jobs.training.{trainer.module}")
    print(f"libraries loaded in {time.monotonic() - began:.1f} s", flush=True)
    stop.check()
    module.train(spec, run_dir, events, stop)


def _quieten() -> None:
    """Without the libraries' notes to each other and their progress bars."""
    warnings.simplefilter("ignore", FutureWarning)
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # on kernels that it would fetch from a hub
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    import datasets

    datasets.disable_progress_bars()  # type: ignore[attr-defined]  # the library, not the app


def explain(error: Exception) -> TrainingFailure:
    """The failure as one sentence with a stable code."""
    if isinstance(error, TrainingFailure):
        return error
    text = str(error)
    if isinstance(error, MemoryError) or "out of memory" in text.lower() or "can't allocate memory" in text:
        message = (
            "The machine ran out of memory; lower batchSize or maxSeqLen, or choose a smaller base model."
        )
        return TrainingFailure("out_of_memory", message)
    is_full = isinstance(error, OSError) and error.errno == errno.ENOSPC
    # safetensors puts the system's words into its own error; torch's zip writer only notices that bytes are lost.
    if is_full or "No space left on device" in text or "inline_container.cc" in text:
        return TrainingFailure("disk_full", "The disk is full; free space and start the run again.")
    first = next((line.strip() for line in text.splitlines() if line.strip()), "no message")
    message = f"The trainer met an unexpected {type(error).__name__}: {first.rstrip('.')}."
    return TrainingFailure("unexpected", message, error=type(error).__name__, text=first)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
