"""The text-to-image pipelines that can be trained: their weights, their loss, their pictures, their files.

`model_index.json` of the weights directory says which one a directory holds. A pipeline has one network that is
trained; the autoencoder and the text encoders stay as they are, so each picture and prompt is encoded once.
"""

import json
import shutil
from pathlib import Path
from typing import Any, ClassVar

import diffusers
import torch
import transformers
from diffusers import (
    DDPMScheduler,
    ErnieImagePipeline,
    ErnieImageTransformer2DModel,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from diffusers.utils import convert_state_dict_to_diffusers, logging
from peft import get_peft_model_state_dict
from PIL import Image
from safetensors import SafetensorError
from torch import nn
from torch.nn import functional

from jobs.training.pictures import fill_square, to_tensor
from jobs.training.weight_files import broken, check_loaded, check_weights, missing

MODEL_INDEX = "model_index.json"
NETWORK_INDEX = "diffusion_pytorch_model.safetensors.index.json"

Encoded = dict[str, torch.Tensor]


class Family:
    """A pipeline on one device. `network` is what is trained; the rest is frozen.

    `dtype` is that of the frozen text encoders and, with LoRA, of the network. The autoencoder stays in
    float32: SDXL's overflows in half precision, and it runs once a picture.
    """

    pipeline_class: ClassVar[Any]
    network_class: ClassVar[Any]
    network_name: ClassVar[str]  # the component that is trained, also the name of its directory
    tokenizer_names: ClassVar[tuple[str, ...]]
    text_encoder_names: ClassVar[tuple[str, ...]]
    not_needed: ClassVar[tuple[str, ...]] = ()
    lora_layers: ClassVar[tuple[str, ...]] = ("to_q", "to_k", "to_v", "to_out.0")

    def __init__(self, path: Path, dtype: torch.dtype, network_dtype: torch.dtype, device: str) -> None:
        logging.disable_progress_bar()
        logging.set_verbosity_error()
        self.path, self.device = path, device
        self.network = self._load(self.network_name, self.network_class, network_dtype)
        self.pipe = self._load_pipeline(dtype)
        self.pipe.set_progress_bar_config(disable=True)
        for name, component in self.pipe.components.items():
            if isinstance(component, nn.Module) and name != self.network_name:
                component.requires_grad_(False).eval()

    def _load(self, name: str, kind: Any, dtype: torch.dtype) -> Any:
        """A component with weights, each of them there, in its shape and finite."""
        folder = self.path / name
        # So that their names are told; diffusers tells one in its error.
        further = {"ignore_mismatched_sizes": True} if kind.__module__.startswith("transformers.") else {}
        try:
            module, info = kind.from_pretrained(
                folder,
                dtype=dtype,
                local_files_only=True,
                use_safetensors=True,
                output_loading_info=True,
                **further,
            )
        except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
            if isinstance(error, torch.OutOfMemoryError):
                raise
            raise broken(folder, _first_line(error)) from error
        check_loaded(folder, info)
        for tensor, parameter in module.named_parameters():
            if not torch.isfinite(parameter).all():
                reason = f"the tensor {tensor} holds NaN or infinity"
                raise broken(folder, reason, "tensor_not_finite", tensor)
        return module

    def _load_frozen(self, dtype: torch.dtype) -> dict[str, Any]:
        """The autoencoder and the text encoders, by the classes that the pipeline names."""
        libraries = {"transformers": transformers, "diffusers": diffusers}
        loaded = {}
        for name in ("vae", *self.text_encoder_names):
            library, kind = _read_index(self.path)[name]
            if library in libraries and hasattr(libraries[library], kind):
                number = torch.float32 if name == "vae" else dtype
                loaded[name] = self._load(name, getattr(libraries[library], kind), number)
        return loaded

    def _load_pipeline(self, dtype: torch.dtype) -> Any:
        try:
            pipe = self.pipeline_class.from_pretrained(
                self.path,
                **{self.network_name: self.network},
                **self._load_frozen(dtype),
                **dict.fromkeys(self.not_needed),
                dtype={"vae": torch.float32, "default": dtype},
                local_files_only=True,
                use_safetensors=True,
            )
        except (
            OSError,
            ValueError,
            TypeError,
            KeyError,
            RuntimeError,
            ImportError,
            SafetensorError,
        ) as error:
            if isinstance(error, torch.OutOfMemoryError):
                raise
            raise broken(self.path, _first_line(error)) from error
        return pipe.to(self.device)

    @property
    def resolution(self) -> int:
        """Height and width of the pictures that the pipeline was made for, in pixels."""
        raise NotImplementedError

    def encode_picture(self, picture: Image.Image) -> Encoded:
        """What the loss needs of a picture, without a batch dimension, on the CPU."""
        raise NotImplementedError

    def encode_prompt(self, prompt: str) -> Encoded:
        """What the network needs of a prompt, without a batch dimension, on the CPU."""
        raise NotImplementedError

    def encode_nothing(self) -> Encoded:
        """What guidance leads away from: the empty prompt, as the pipeline itself shows it to the network."""
        return self.encode_prompt("")

    def is_cut(self, prompt: str) -> bool:
        """Whether the text encoders see only the beginning of the prompt."""
        tokenizers = [getattr(self.pipe, name) for name in self.tokenizer_names]
        return any(len(tokenizer(prompt).input_ids) > tokenizer.model_max_length for tokenizer in tokenizers)

    def drop_text_encoders(self) -> None:
        """Free their memory; `encode_prompt` does not work any more."""
        for name in self.text_encoder_names:
            setattr(self.pipe, name, None)
        if self.device == "cuda":
            torch.cuda.empty_cache()

    def collate(self, rows: list[Encoded]) -> Encoded:
        """One batch of encoded rows."""
        return {key: torch.stack([row[key] for row in rows]) for key in rows[0]}

    def loss(self, batch: Encoded, generators: list[torch.Generator] | None) -> torch.Tensor:
        """Mean loss of a batch; `generators`, one a row, make the noise repeatable (evaluation)."""
        raise NotImplementedError

    @torch.no_grad()
    def draw(self, prompt: Encoded, empty: Encoded, steps: int, seed: int) -> Image.Image:
        """A picture for an encoded prompt, with the pipeline's own sampler."""
        with torch.autocast(self.device, dtype=torch.bfloat16, enabled=self.device == "cuda"):
            latents = self.pipe(
                **self._as_arguments(prompt, empty),
                num_inference_steps=steps,
                height=self.resolution,
                width=self.resolution,
                generator=torch.Generator().manual_seed(seed),
                output_type="latent",
            ).images
        return self.pipe.image_processor.postprocess(self._decode(latents.float()))[0]

    def _as_arguments(self, prompt: Encoded, empty: Encoded) -> dict[str, Any]:
        """Encoded prompts as the pipeline's call wants them."""
        raise NotImplementedError

    def _decode(self, latents: torch.Tensor) -> torch.Tensor:
        """Latents as the pipeline's sampler leaves them -> pixels from -1 to 1."""
        raise NotImplementedError

    def save_adapter(self, output: Path) -> None:
        """The adapters as a file that `pipe.load_lora_weights(output)` reads."""
        layers = convert_state_dict_to_diffusers(get_peft_model_state_dict(self.network))
        config = self.network.peft_config["default"].to_dict()
        self.pipeline_class.save_lora_weights(
            output,
            **{f"{self.network_name}_lora_layers": layers},
            **{f"{self.network_name}_lora_adapter_metadata": config},
        )

    def save_full(self, output: Path) -> None:
        """The whole pipeline: the trained network, and the files of everything else as they were."""
        output.mkdir(parents=True)
        shutil.copy2(self.path / MODEL_INDEX, output)
        for name in components(self.path):
            if name != self.network_name and (self.path / name).is_dir():
                shutil.copytree(self.path / name, output / name, ignore=shutil.ignore_patterns("*.bin", ".*"))
        self.network.save_pretrained(output / self.network_name)


class Sdxl(Family):
    """Stable Diffusion XL: a U-Net that predicts the noise (or the velocity) in noisy latents."""

    pipeline_class = StableDiffusionXLPipeline
    network_class = UNet2DConditionModel
    network_name = "unet"
    tokenizer_names = ("tokenizer", "tokenizer_2")
    text_encoder_names = ("text_encoder", "text_encoder_2")

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.noise_schedule = DDPMScheduler.from_config(self.pipe.scheduler.config)

    @property
    def resolution(self) -> int:
        return self.network.config.sample_size * self.pipe.vae_scale_factor

    @torch.no_grad()
    def encode_picture(self, picture: Image.Image) -> Encoded:
        """`moments`: mean and log variance of the latents, of which each step draws a sample. `time_ids`: the
        picture's own size and where it was cut, which SDXL is told in training."""
        square, (top, left) = fill_square(picture, self.resolution)
        pixels = to_tensor(square)[None].to(self.device)
        posterior = self.pipe.vae.encode(pixels).latent_dist
        size = self.resolution
        return {
            "moments": posterior.parameters[0].cpu(),
            "time_ids": torch.tensor(
                [picture.height, picture.width, top, left, size, size], dtype=torch.float32
            ),
        }

    @torch.no_grad()
    def encode_prompt(self, prompt: str) -> Encoded:
        embeds, _, pooled, _ = self.pipe.encode_prompt(
            prompt, device=self.device, do_classifier_free_guidance=False
        )
        return {"prompt_embeds": embeds[0].cpu(), "pooled": pooled[0].cpu()}

    def encode_nothing(self) -> Encoded:
        empty = self.encode_prompt("")
        if self.pipe.config.force_zeros_for_empty_prompt:
            return {key: torch.zeros_like(value) for key, value in empty.items()}
        return empty

    def loss(self, batch: Encoded, generators: list[torch.Generator] | None) -> torch.Tensor:
        mean, log_variance = batch["moments"].chunk(2, dim=1)
        deviation = torch.exp(0.5 * log_variance.clamp(-30, 20))
        latents = mean + deviation * _normal(mean, generators)
        latents = latents * self.pipe.vae.config.scaling_factor
        noise = _normal(latents, generators)
        steps = self.noise_schedule.config.num_train_timesteps
        timesteps = (_uniform(latents, generators) * steps).long()
        predicted = self.network(
            self.noise_schedule.add_noise(latents, noise, timesteps),
            timesteps,
            batch["prompt_embeds"],
            added_cond_kwargs={"text_embeds": batch["pooled"], "time_ids": batch["time_ids"]},
        ).sample
        is_velocity = self.noise_schedule.config.prediction_type == "v_prediction"
        target = self.noise_schedule.get_velocity(latents, noise, timesteps) if is_velocity else noise
        return functional.mse_loss(predicted.float(), target.float())

    def _as_arguments(self, prompt: Encoded, empty: Encoded) -> dict[str, Any]:
        return {
            "prompt_embeds": prompt["prompt_embeds"][None].to(self.device),
            "pooled_prompt_embeds": prompt["pooled"][None].to(self.device),
            "negative_prompt_embeds": empty["prompt_embeds"][None].to(self.device),
            "negative_pooled_prompt_embeds": empty["pooled"][None].to(self.device),
        }

    def _decode(self, latents: torch.Tensor) -> torch.Tensor:
        return self.pipe.vae.decode(latents / self.pipe.vae.config.scaling_factor).sample


class ErnieImage(Family):
    """ERNIE-Image: a transformer that predicts the way from the picture to the noise (flow matching)."""

    pipeline_class = ErnieImagePipeline
    network_class = ErnieImageTransformer2DModel
    network_name = "transformer"
    tokenizer_names = ("tokenizer",)
    text_encoder_names = ("text_encoder",)
    not_needed = ("pe", "pe_tokenizer")  # rewrites prompts before they are drawn
    lora_layers = (*Family.lora_layers, "gate_proj", "up_proj", "linear_fc2")

    @property
    def resolution(self) -> int:
        return self.pipe.vae.config.sample_size

    def _statistics(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and deviation of the latents; the 1e-5 is the pipeline's own, not the configuration's."""
        norm = self.pipe.vae.bn
        return norm.running_mean.view(1, -1, 1, 1), torch.sqrt(norm.running_var.view(1, -1, 1, 1) + 1e-5)

    @torch.no_grad()
    def encode_picture(self, picture: Image.Image) -> Encoded:
        square, _ = fill_square(picture, self.resolution)
        pixels = to_tensor(square)[None].to(self.device)
        mean, deviation = self._statistics()
        latents = self.pipe._patchify_latents(self.pipe.vae.encode(pixels).latent_dist.mode())
        return {"latents": ((latents - mean) / deviation)[0].cpu()}

    @torch.no_grad()
    def encode_prompt(self, prompt: str) -> Encoded:
        return {"text": self.pipe.encode_prompt(prompt, self.device)[0].cpu()}

    def collate(self, rows: list[Encoded]) -> Encoded:
        """Prompts differ in length: padded, with their lengths."""
        texts = [row["text"] for row in rows]
        return {
            "latents": torch.stack([row["latents"] for row in rows]),
            "text": nn.utils.rnn.pad_sequence(texts, batch_first=True),
            "lengths": torch.tensor([len(text) for text in texts]),
        }

    def loss(self, batch: Encoded, generators: list[torch.Generator] | None) -> torch.Tensor:
        latents = batch["latents"]
        noise = _normal(latents, generators)
        share = _uniform(latents, generators)
        shift = self.pipe.scheduler.config.shift
        sigmas = shift * share / (1 + (shift - 1) * share)
        wide = sigmas.view(-1, 1, 1, 1)
        predicted = self.network(
            hidden_states=(1 - wide) * latents + wide * noise,
            timestep=sigmas * self.pipe.scheduler.config.num_train_timesteps,
            text_bth=batch["text"],
            text_lens=batch["lengths"],
        ).sample
        return functional.mse_loss(predicted.float(), noise - latents)

    def _as_arguments(self, prompt: Encoded, empty: Encoded) -> dict[str, Any]:
        return {
            "prompt_embeds": [prompt["text"].to(self.device)],
            "negative_prompt_embeds": [empty["text"].to(self.device)],
        }

    def _decode(self, latents: torch.Tensor) -> torch.Tensor:
        mean, deviation = self._statistics()
        return self.pipe.vae.decode(self.pipe._unpatchify_latents(latents * deviation + mean)).sample


FAMILIES: dict[str, type[Family]] = {family.pipeline_class.__name__: family for family in (Sdxl, ErnieImage)}


def find_family(path: Path) -> type[Family]:
    """The family of a weights directory. Raises TrainingFailure (weights_missing) when there is none."""
    if not path.is_dir():
        raise missing(path, "the directory does not exist", "no_directory")
    if not (path / MODEL_INDEX).exists():
        raise missing(path, f"{MODEL_INDEX} is missing", "file_missing", MODEL_INDEX)
    name = _read_index(path).get("_class_name")
    if name not in FAMILIES:
        raise missing(path, f"it holds a {name}, and only {' and '.join(FAMILIES)} can be trained")
    return FAMILIES[name]


def check_pipeline(path: Path, family: type[Family]) -> None:
    """Open every weight file of the pipeline once. Raises TrainingFailure naming the one that is wrong."""
    present = components(path)
    wanted = (family.network_name, "vae", "scheduler", *family.tokenizer_names, *family.text_encoder_names)
    for name in wanted:
        if name not in present or not (path / name).is_dir():
            raise missing(path, f"its directory {name} is missing", "file_missing", name)
    for name in (family.network_name, "vae", *family.text_encoder_names):
        files = check_weights(path / name)
        index = path / name / NETWORK_INDEX
        if index.exists():
            lost = set(json.loads(index.read_text())["weight_map"].values()) - {file.name for file in files}
            if lost:
                raise missing(path / name, f"{min(lost)} is missing", "file_missing", min(lost))


def components(path: Path) -> list[str]:
    """The names of the directories that make up a pipeline."""
    index = _read_index(path)
    return [name for name, value in index.items() if isinstance(value, list) and value[0] is not None]


def _read_index(path: Path) -> dict[str, Any]:
    try:
        index = json.loads((path / MODEL_INDEX).read_text())
    except ValueError:
        raise broken(path, f"{MODEL_INDEX} is not valid JSON", "not_json", MODEL_INDEX) from None
    if not isinstance(index, dict):
        raise broken(path, f"{MODEL_INDEX} is not an object", "not_json", MODEL_INDEX)
    return index


def _normal(like: torch.Tensor, generators: list[torch.Generator] | None) -> torch.Tensor:
    """Standard normal noise in the shape of a batch."""
    if generators is None:
        return torch.randn_like(like)
    rows = [torch.randn(like.shape[1:], generator=generator) for generator in generators]
    return torch.stack(rows).to(like.device, like.dtype)


def _uniform(like: torch.Tensor, generators: list[torch.Generator] | None) -> torch.Tensor:
    """A number from 0 to 1 for each row of a batch."""
    if generators is None:
        return torch.rand(len(like), device=like.device)
    return torch.cat([torch.rand(1, generator=generator) for generator in generators]).to(like.device)


def _first_line(error: Exception) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
