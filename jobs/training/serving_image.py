"""Pictures that a text-to-image pipeline draws."""

import base64
import inspect
import io
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from jobs.training.device import TINY, find_device
from jobs.training.diffusion import check_pipeline, find_family
from jobs.training.serving_protocol import Emit, Load, Refused, Task

# Where nobody says how many; a large model on a CPU takes minutes for a step.
STEPS = {"cuda": 30, "cpu": 8}


class CancelledError(Exception):
    """Nobody waits for the picture any more."""


class ImageModel:
    """A pipeline of one of the families that can be trained, with its own sampler."""

    context: int | None = None

    def __init__(self, asked: Load) -> None:
        self.device = find_device(asked.device)
        path = Path(asked.base)
        family = find_family(path)
        check_pipeline(path, family)
        dtype = torch.bfloat16 if self.device == "cuda" else torch.float32
        self.family = family(path, dtype, dtype, self.device)
        if asked.adapter:
            self.family.pipe.load_lora_weights(asked.adapter)
        self.family.network.eval()
        if asked.threads:
            torch.set_num_threads(asked.threads)
        elif self.device == "cpu" and self.family.network.num_parameters() < TINY:
            torch.set_num_threads(1)

    def answer(self, task: Task, emit: Emit, is_cancelled: Callable[[], bool]) -> dict[str, Any]:
        prompt = next((turn.content for turn in reversed(task.turns) if turn.role == "user"), "")
        if not prompt.strip():
            raise Refused("invalid_value", "Say what the picture is to show.", "prompt")
        drawing, family, pipe = task.drawing, self.family, self.family.pipe
        steps = drawing.steps or STEPS[self.device]
        seed = random.randrange(2**31) if drawing.seed is None else drawing.seed  # noqa: S311
        options: dict[str, Any] = {} if drawing.guidance is None else {"guidance_scale": drawing.guidance}

        def step_ended(_pipe: Any, step: int, _time: Any, values: dict[str, Any]) -> dict[str, Any]:
            if is_cancelled():
                raise CancelledError
            emit("progress", step=step + 1, steps=steps)
            return values

        if "callback_on_step_end" in inspect.signature(pipe.__call__).parameters:
            options["callback_on_step_end"] = step_ended
        try:
            with (
                torch.no_grad(),
                torch.autocast(self.device, dtype=torch.bfloat16, enabled=self.device == "cuda"),
            ):
                latents = pipe(
                    **family._as_arguments(family.encode_prompt(prompt), family.encode_nothing()),
                    num_inference_steps=steps,
                    height=family.resolution,
                    width=family.resolution,
                    generator=torch.Generator().manual_seed(seed),
                    output_type="latent",
                    **options,
                ).images
                picture = pipe.image_processor.postprocess(family._decode(latents.float()))[0]
        except CancelledError:
            return {"finish_reason": "cancelled"}
        file = io.BytesIO()
        picture.save(file, "PNG")
        emit("picture", text=base64.b64encode(file.getvalue()).decode())
        return {"finish_reason": "stop"}
