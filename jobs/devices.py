"""Which GPUs of this machine a training worker may give to runs.

Where a machine has GPUs every run holds particular ones, noted in the database (`Run.held_devices`), and its trainer
sees no others: libraries would spread over all that they see. Without GPUs devices are only counted.
"""

from __future__ import annotations

import os
import shutil

from django.conf import settings

from jobs import announcing

# Ordinals are those of nvidia-smi.
ORDER = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
_found: tuple[str, ...] = ()


def gpus_here() -> tuple[str, ...]:
    """The names of the GPUs as CUDA_VISIBLE_DEVICES takes them: those that it lists, else all that the driver lists
    ("0", "1", …); none if runs are to train without (TRAINER_DEVICE)."""
    global _found
    if settings.TRAINER_DEVICE == "cpu":
        return ()
    listed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if listed is not None:
        # CUDA stops at the first that is none, such as -1.
        names = [name.strip() for name in listed.split(",")]
        end = next((at for at, name in enumerate(names) if not name or name.startswith("-")), len(names))
        return tuple(names[:end])
    # A driver that does not answer for a moment is asked again.
    if not _found and shutil.which("nvidia-smi"):
        _found = tuple(str(number) for number, _gpu in enumerate(announcing.gpus()))
    return _found


def environment(held: list[str]) -> dict[str, str]:
    """What a trainer's environment says so that it sees these devices alone; nothing where none are held."""
    return ORDER | {"CUDA_VISIBLE_DEVICES": ",".join(held)} if held else {}
