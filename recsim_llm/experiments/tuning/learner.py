"""Training of the weights: loss on answers only, AdamW, one step over several rows, a state that can be saved."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from recsim_llm.errors import ConfigError, DataError, LLMError, MissingExtraError, RecordingError
from recsim_llm.experiments.tuning.assessment.measure import TunedAnswers
from recsim_llm.experiments.tuning.blocks import use_blocks
from recsim_llm.experiments.tuning.encoding import Batch, TokenRow, batch_of, packed
from recsim_llm.experiments.tuning.lessons import Lesson
from recsim_llm.types import Floats
from recsim_llm.untrusted import read_tensors

if TYPE_CHECKING:
    import torch

_CPU_TOKENS, _GPU_TOKENS = 1, 8_192
"""Most tokens per forward pass on a CPU and on a GPU, but at least one lesson, which keeps a CPU busy."""
_WORTH = 1.2
"""Least speed-up of bfloat16 over float32 on a CPU that justifies its lower precision."""
_CLIP = 1.0
_BETAS = (0.9, 0.95)
_LORA_LAYERS = "all-linear"


class TuningLearner:
    """A causal language model in training.

    Args:
        model: A causal language model of `transformers`. Trained weights are kept in float32, since steps are too small
            for bfloat16; if the device is made for bfloat16, the layers compute in it.
        lora_rank: Rank of adapters on all linear layers (Hu et al., 2021, with alpha twice the rank); 0 trains all
            weights except the token embeddings.
        rate: Highest learning rate.

    Raises:
        MissingExtraError: Adapters are requested and peft is not installed.
    """

    def __init__(self, model: Any, lora_rank: int = 0, rate: float = 3e-4) -> None:
        import torch

        self.rate, self._lora = rate, lora_rank > 0
        use_blocks(model)
        self.model = _with_adapters(model, lora_rank) if lora_rank else model
        self._device = model.device
        self._precision = mixed_precision(self._device)
        self._most = _CPU_TOKENS if self._device.type == "cpu" else _GPU_TOKENS
        if not lora_rank:
            # Token embeddings are half of a small model's weights, rarely read here, and needed for writing texts.
            model.get_input_embeddings().weight.requires_grad_(False)
        self._weights = {name: w for name, w in self.model.named_parameters() if w.requires_grad}
        self._optimiser = torch.optim.AdamW(self._weights.values(), lr=rate, betas=_BETAS, weight_decay=0.0)

    @property
    def num_weights(self) -> int:
        """Number of trained weights."""
        return sum(weight.numel() for weight in self._weights.values())

    def step(self, rows: Sequence[TokenRow], rehearsed: Sequence[TokenRow], share: float, rate: float) -> float:
        """Take one step.

        Args:
            rows: Lessons.
            rehearsed: Written answers.
            share: Share of the loss that the rehearsed answers have.
            rate: Factor of the learning rate, in (0, 1].

        Returns:
            Mean loss of the lessons' answers, nats.
        """
        import torch

        self.model.train()
        for group in self._optimiser.param_groups:
            group["lr"] = self.rate * rate
        total = 0.0
        for each, weight in ((rows, 1.0 - share if rehearsed else 1.0), (rehearsed, share)):
            count = sum(len(row.places) for row in each)
            for pack in packed(each, self._most):
                # Gradients accumulate over packs; dividing by the total makes the loss a mean over all answers.
                loss = self._loss(self._batch(pack)) / count
                torch.autograd.backward(loss * weight)
                total += float(loss.detach()) if each is rows else 0.0
        if not np.isfinite(total):
            raise LLMError("The loss is no number any more: the learning rate is too high. Give a lower --rate.")
        torch.nn.utils.clip_grad_norm_(self._weights.values(), _CLIP)
        self._optimiser.step()
        self._optimiser.zero_grad(set_to_none=True)
        return total

    def ask(self, lessons: Sequence[Lesson], rows: Iterable[TokenRow]) -> TunedAnswers:
        """Return the model's distributions for the questions, in order, of lessons without `told` stars.

        Args:
            lessons: The lessons.
            rows: The lessons as tokens; each is read only when it is asked.
        """
        import torch

        self.model.eval()
        with torch.inference_mode():
            found = [self._chances(self._batch(pack)) for pack in packed(rows, self._most)]
        asked = [(lesson.user, each) for lesson in lessons for each in lesson.asked]
        columns = [(user, each.item, each.level) for user, each in asked]
        users, items, levels = np.array(columns, dtype=np.int64).reshape(-1, 3).T
        width = max(part.shape[1] for part in found)
        # Packs differ in their number of choices C: pad all to the widest.
        pmf = np.concatenate([np.pad(part, ((0, 0), (0, width - part.shape[1]))) for part in found])
        return TunedAnswers(users, items, levels, pmf)

    def _batch(self, rows: Sequence[TokenRow]) -> Batch:
        return batch_of(rows, self._device, self._precision)

    def _logprobs(self, batch: Batch) -> torch.Tensor:
        """(L, C) log-probabilities of the candidate tokens, normalised over all tokens."""
        import torch

        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._precision == torch.bfloat16):
            logits = self.model(
                input_ids=batch.ids,
                blocks=batch.blocks,
                position_ids=batch.positions,
                logits_to_keep=batch.places,
                use_cache=False,
            ).logits[0]
        # (L, V) logits at the predicted places -> (L, C).
        chosen: torch.Tensor = logits.float().log_softmax(dim=-1).gather(1, batch.tokens)
        return chosen

    def _loss(self, batch: Batch) -> torch.Tensor:
        loss: torch.Tensor = -(batch.targets * self._logprobs(batch)).sum()
        return loss

    def _chances(self, batch: Batch) -> Floats:
        chance = self._logprobs(batch).masked_fill(~batch.choices, float("-inf")).softmax(dim=-1)
        values: Floats = chance.double().cpu().numpy()
        return values

    def weights(self) -> dict[str, torch.Tensor]:
        """Trained weights by name (not copies)."""
        return {name: weight.detach() for name, weight in self._weights.items()}

    def set_weights(self, weights: dict[str, torch.Tensor]) -> None:
        """Set weights returned by `weights`.

        Raises:
            ConfigError: They belong to another model.
        """
        import torch

        shapes = {name: weight.shape for name, weight in self._weights.items()}
        if {name: weight.shape for name, weight in weights.items()} != shapes:
            raise ConfigError("This checkpoint is of another model: its weights have other names or sizes.")
        with torch.no_grad():
            for name, weight in self._weights.items():
                weight.copy_(weights[name])

    def state(self) -> dict[str, Any]:
        """Everything that a training needs to resume."""
        return {"weights": self.weights(), "optimiser": self._optimiser.state_dict()}

    def load(self, state: dict[str, Any]) -> None:
        """Resume from `state`.

        Raises:
            ConfigError: The state belongs to another model.
        """
        self.set_weights(state["weights"])
        self._optimiser.load_state_dict(state["optimiser"])

    def save_adapter(self, folder: Path) -> None:
        """Write the adapter separately, if there is one; then merge it into the weights."""
        if self._lora:
            self.model.save_pretrained(folder)
            self.model = self.model.merge_and_unload()


def mixed_precision(device: Any) -> Any:
    """Precision of the layers: bfloat16 on GPUs and on CPUs that are faster with it, else float32."""
    import torch

    return torch.bfloat16 if device.type != "cpu" or _cpu_gains_by_bfloat16() else torch.float32


@cache
def _cpu_gains_by_bfloat16() -> bool:
    """Measured, since having the instructions says little: one CPU with them is 1.6 times as fast, another half."""
    import torch

    if not torch.cpu._is_avx512_bf16_supported():
        return False  # emulated, up to a hundred times slower

    def seconds(dtype: torch.dtype) -> float:
        one, other = torch.ones(512, 576, dtype=dtype), torch.ones(576, 1_536, dtype=dtype)
        times = []
        for _ in range(8):
            start = time.perf_counter()
            one @ other
            times.append(time.perf_counter() - start)
        return min(times)

    return seconds(torch.bfloat16) * _WORTH < seconds(torch.float32)


def save_tensors(path: Path, content: Any) -> None:
    """Write a file with `torch.save` atomically: if the process is killed, the old file stays intact."""
    import torch

    beside = path.with_suffix(".tmp")
    try:
        with beside.open("wb") as file:
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except (OSError, RuntimeError) as error:
        beside.unlink(missing_ok=True)
        raise RecordingError(f"{path} cannot be written ({error}). Free some space and go on with --resume.") from error


def load_tensors(path: Path) -> Any:
    """Read what `save_tensors` wrote.

    Raises:
        RecordingError: The file is damaged.
    """
    try:
        return read_tensors(path)
    except (OSError, DataError) as error:
        raise RecordingError(f"{path} is damaged ({error}). Tune again into another folder.") from error


def _with_adapters(model: Any, rank: int) -> Any:
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError as error:
        raise MissingExtraError("peft", "tune", "--lora-rank") from error
    config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=_LORA_LAYERS, task_type="CAUSAL_LM")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # peft calls transformers by deprecated names
        return get_peft_model(model, config)
