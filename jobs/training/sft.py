"""TRL's SFTTrainer as the text trainer uses it, and whether an architecture can be packed."""

from typing import Any

import torch
from pyarrow import compute
from torch.nn import functional
from trl import SFTTrainer

from jobs.training.grouping import FEWEST_STEPS, ByLength
from jobs.training.rows import IGNORED, Prepared
from jobs.training.sharding import Sharded
from jobs.training.weights import LoadedBefore


class TextTrainer(Sharded, LoadedBefore, SFTTrainer):
    """TRL's trainer, because it packs without leaking, balances experts right under accumulation, and on a
    GPU never builds the logits of every position, which are gigabytes with a vocabulary of 100,000.

    On a CPU that fused head is three times slower and saves nothing, so there the model's own forward is
    used, on the positions that carry a label. Both give the same loss.
    """

    def compute_loss(
        self, model: Any, inputs: dict, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        if self.model.training or return_outputs:
            return self._loss(model, inputs, return_outputs, num_items_in_batch)
        count = int((inputs["labels"][:, 1:] != IGNORED).sum())
        loss = self._loss(model, inputs)
        self._scored.append((loss.item() * count, count))
        return loss

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        rows = self.train_dataset if train_dataset is None else train_dataset
        per_device = self.args.train_batch_size * self.args.gradient_accumulation_steps
        batch = per_device * self.args.world_size
        if self.args.packing or len(rows) < FEWEST_STEPS * batch:
            return super()._get_train_sampler(train_dataset)
        lengths = compute.list_value_length(rows.data.column("input_ids"))
        return ByLength(torch.tensor(lengths.to_numpy()), batch, self.args.seed)

    def evaluation_loop(self, *args: Any, **kwargs: Any) -> Any:
        """Means over tokens. transformers takes the mean of the batches' means, so that eval_loss would depend on
        the batch size.
        """
        self._scored: list[tuple[float, int]] = []
        result = super().evaluation_loop(*args, **kwargs)
        counts = [count for _, count in self._scored]
        hits = zip(self._metrics["eval"]["mean_token_accuracy"], counts, strict=True)
        own = [
            sum(counts),
            sum(loss for loss, _ in self._scored),
            sum(share * count for share, count in hits),
        ]
        sums = self.accelerator.reduce(torch.tensor(own, dtype=torch.float64, device=self.accelerator.device))
        total, loss, right = sums.tolist()
        result.metrics["eval_loss"] = loss / max(1, total)
        self._metrics["eval"]["mean_token_accuracy"] = [right / max(1, total)]
        return result

    def _loss(
        self, model: Any, inputs: dict, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        if inputs["input_ids"].device.type != "cpu" or return_outputs:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        mode = "train" if self.model.training else "eval"
        targets = inputs["labels"][:, 1:]
        columns = (targets != IGNORED).any(dim=0).nonzero().squeeze(1)
        extra = {"output_router_logits": True} if self.aux_loss_enabled else {}
        outputs = model(
            **{key: value for key, value in inputs.items() if key != "labels"},
            use_cache=False,  # with a cache, packed rows would see each other
            logits_to_keep=columns,
            **extra,
        )
        targets = targets[:, columns].flatten()
        logits = outputs.logits.flatten(0, 1).float()
        count = (targets != IGNORED).sum() if num_items_in_batch is None else num_items_in_batch
        loss = functional.cross_entropy(logits, targets, ignore_index=IGNORED, reduction="sum")
        loss = loss / torch.as_tensor(count).clamp(min=1)
        if num_items_in_batch is not None:
            loss = loss * self.accelerator.num_processes  # DDP takes the mean of the processes' gradients
        if self.aux_loss_enabled:
            # One mean per forward pass; with accumulation the passes of a step are summed.
            steps = self.current_gradient_accumulation_steps if num_items_in_batch is not None else 1
            loss = loss + self.router_aux_loss_coef * outputs.aux_loss / steps
            self._metrics[mode]["aux_loss"].append(outputs.aux_loss.item())
        is_scored = targets != IGNORED
        hits = (logits.detach().argmax(dim=-1) == targets)[is_scored]
        self._metrics[mode]["mean_token_accuracy"].append(hits.float().mean().item() if len(hits) else 0.0)
        if mode == "train":
            mask = inputs.get("attention_mask", inputs["input_ids"])
            tokens = int(mask.sum()) if "attention_mask" in inputs else mask.numel()
            self._total_train_tokens += tokens * self.accelerator.num_processes
        self._metrics[mode]["num_tokens"] = [self._total_train_tokens]
        return loss

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """No README in checkpoints: they are not published from here."""


@torch.no_grad()
def packs_cleanly(model: Any, rows: Prepared) -> bool:
    """Whether packed rows stay apart in this architecture: a row must not notice which other row comes before it.

    Asked of the model itself, because some (BLOOM) ignore the positions that separate packed rows.
    """
    device = next(model.parameters()).device
    row = torch.tensor([list(rows.rows[0].input_ids[:16])], device=device)
    positions = torch.arange(row.shape[1], device=device).repeat(2)[None]
    was_training = model.training
    model.eval()
    after = [
        model(input_ids=torch.cat([first, row], dim=1), position_ids=positions, use_cache=False).logits
        for first in (row, torch.zeros_like(row))
    ]
    model.train(was_training)
    one, other = (logits[:, row.shape[1] :].float() for logits in after)
    return bool((one - other).abs().max() < 1e-3 * one.abs().max())  # 0 where rows are apart, up to rounding
