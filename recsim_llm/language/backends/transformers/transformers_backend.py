"""Backend for a causal language model in this process, on CPU or GPU; shared prefixes are read once.

Prompts are grouped by (system, context). The system text is read once, each context once on top of it, and then all
questions of a group in one batch on top of that. `chat_layout` tokenises prompts; `kv` does one step through the
model. On CPU a context is read in blocks of 64 tokens, which are cached, so that of a context that has grown since the
last call (an agent's memory) only the new part is read.

Batch independence: in CPU float32 an answer has the same bits whatever else is in the call. Matrix products give a
row the same bits in every product of a multiple of 4 rows, but not in one of 1, 2 or 3. So questions are padded on the
left to a multiple of 16 tokens, only questions of the same padded length share a batch (attention then sums in one
order), there is always at least one padding token (all masks take one code path), and predictions are computed for at
least 4 rows. The steps between the labels of an answer of several slots are padded to 16 tokens too: attention gives
each thread its own buffer, and in narrower steps those of later threads are not aligned to the vector width, which
changes how sums are grouped. On some CPUs MKL also needs its strict mode (`MKL_CBWR`), which it reads at its first
product: a process that computes before the first model is loaded must set it itself. On a GPU the kernel depends on
the batch size, and answers agree only up to bfloat16 rounding.
"""

from __future__ import annotations

import os
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

from annotated_types import Ge, Le

from recsim_llm.checked import Name
from recsim_llm.errors import ConfigError, LLMError, MissingExtraError
from recsim_llm.language.backends.transformers.chat_layout import VERSION, ChatLayout
from recsim_llm.language.backends.transformers.kv import KeptPasts, Past, pad, predict, read
from recsim_llm.language.backends.transformers.text_sampling import Decoder
from recsim_llm.language.model_files import fingerprint, load_model
from recsim_llm.language.protocol import Usage, no_adapters
from recsim_llm.language.slots import SlotReader, SlotTokens, likeliest
from recsim_llm.types import Completion, Prompt

if TYPE_CHECKING:
    import torch

_BUCKET = 16
_KEEP_CPU = 8
_SYSTEMS_KEPT = 4
_BLOCK = 64
_DIGITS = 5
_CPU_BATCH_TOKENS, _GPU_BATCH_TOKENS = 8_192, 65_536


class _BatchRow(NamedTuple):
    """One row of a batch: a question, or a question with a choice behind it.

    `place` is the position of its prompt in the call; `reads` are (positions from the end, token, choice); `slots` are
    the labels of an answer that holds several.
    """

    place: int
    ids: list[int]
    reads: tuple[tuple[int, int, int], ...]
    slots: SlotTokens | None = None

    @property
    def kind(self) -> tuple[str, int]:
        """Key for batching; only rows of one kind share a batch."""
        if self.slots is not None:
            return "slots", len(self.slots.gap)
        return ("labels", 0) if self.reads else ("text", 0)


class _Group(NamedTuple):
    """Questions that share system and context."""

    system: tuple[int, ...]
    context: list[int]
    rows: list[_BatchRow]

    @property
    def tokens(self) -> int:
        """Number of key-value positions that its rows need."""
        prefix = len(self.system) + len(self.context)
        return sum(prefix + len(row.ids) + _BUCKET for row in self.rows)


class TransformersLLM:
    """Any causal language model that `transformers` can load and whose layers are all attention.

    Labels are read from the first token of each choice as it follows the generation prompt. Where two choices begin
    with the same token, every choice is scored as a whole, token by token (and, if one choice is a prefix of another,
    with the end of the answer after it), which costs one row per choice. An answer of several slots reads its question
    once, then the likeliest label and the space after it for each slot but the last (these are its output tokens); its
    choices must be one token each. Log-probabilities are rounded to 5 digits. Texts are decoded greedily, or sampled
    with numbers that depend on the prompt's seed alone. Calls from two threads take turns.

    Args:
        model: A name of `models.MODELS`, a folder, or a hub id.
        device: "cpu", "cuda", "cuda:1", ...; "auto" takes a GPU if there is one.
        dtype: "float32", "bfloat16", "float16"; "auto" is float32 on CPU and bfloat16 elsewhere.
        max_batch_tokens: Most tokens of prefix and question per batch, which bounds memory; None is 8,192 on CPU and
            65,536 on GPU.
        kept_bytes: Most memory for contexts cached between calls, on CPU; the least recently used go first.
        trust_remote_code: Run Python code that comes with the model. It can do whatever you can: read it first.

    Raises:
        MissingExtraError: torch or transformers is not installed.
        ModelNotFoundError: The model is not on this machine and cannot be fetched from the hub.
        UntrustedCodeError: The model needs Python code of its own, which is not allowed.
        ConfigError: Unknown dtype or device, or a model with layers that are not attention.
    """

    def __init__(
        self,
        model: str,
        device: Name = "auto",
        dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto",
        max_batch_tokens: Annotated[int, Ge(1), Le(10**9)] | None = None,
        kept_bytes: Annotated[int, Ge(0), Le(10**15)] = 1 << 30,
        trust_remote_code: bool = False,
    ) -> None:
        torch = _import_torch()
        self.usage = Usage()
        self._device = torch.device(_pick_device(device))
        on_cpu = self._device.type == "cpu"
        if on_cpu:
            os.environ.setdefault("MKL_CBWR", "AUTO,STRICT")  # see "Batch independence"
        dtype = ("float32" if on_cpu else "bfloat16") if dtype == "auto" else dtype
        if dtype not in {"float32", "bfloat16", "float16"}:
            raise ConfigError(f"dtype is '{dtype}'; use float32, bfloat16, float16 or auto.")
        self._model, tokenizer, folder = load_model(model, self._device, getattr(torch, dtype), trust_remote_code)
        self._layout = ChatLayout(tokenizer)
        self._context_length = _context_length(self._model)
        self._keep = _KEEP_CPU if on_cpu else 1
        self._pack_groups = not on_cpu
        self._max_batch_tokens = max_batch_tokens or (_CPU_BATCH_TOKENS if on_cpu else _GPU_BATCH_TOKENS)
        self._decoder = Decoder(self._model, self._device, _end_ids(self._model, tokenizer))
        self._slots = SlotReader(self._model, self._device, _BUCKET if on_cpu else 1)
        self._systems: dict[tuple[int, ...], Past] = {}
        self._contexts = KeptPasts(kept_bytes)
        self._lock = threading.Lock()
        self._fed = 0  # tokens of prompts that went through the model so far
        model = fingerprint(model, folder, with_code=trust_remote_code)
        self._name = f"transformers:{model}:{dtype}:{self._device.type}:layout{VERSION}"

    @property
    def name(self) -> str:
        """Identity for caches: the model's content, its precision, kind of device, and the prompt layout."""
        return self._name

    def generate(self, prompts: Sequence[Prompt]) -> list[Completion]:
        """Answer every prompt; those that are longer than the model's context are refused.

        Raises:
            LLMError: Choices cannot be told apart (or, with several slots, are not one token each), or memory ran out.
        """
        torch = _import_torch()
        started = time.perf_counter()
        no_adapters(self.name, prompts)
        with self._lock, torch.inference_mode(), _memory_explained(self._max_batch_tokens):
            groups, refused = self._grouped(prompts)
            before = self._fed
            # An answer: choice -> log-probability; the log-probabilities of several slots; or token ids of a text.
            answers: list[dict[int, float] | list[int] | list[float]] = [{} for _ in prompts]
            for pack in self._packs(groups):
                self._run(pack, prompts, answers)
        self.usage.seconds += time.perf_counter() - started
        sizes = {row.place: len(g.system) + len(g.context) + len(row.ids) for g in groups for row in g.rows}
        # If each choice costs a row, more tokens can be fed than the prompts hold.
        self.usage.cached_tokens += max(0, sum(sizes.values()) - (self._fed - before))
        self.usage.calls += len(prompts)
        self.usage.refused += len(refused)
        return [
            Completion("", refused=refused[i]) if i in refused else self._completion(p, answers[i], sizes[i])
            for i, p in enumerate(prompts)
        ]

    def _completion(self, prompt: Prompt, answer: Any, tokens: int) -> Completion:
        self.usage.prompt_tokens += tokens
        if prompt.slots > 1 and prompt.choices:
            wrote = self._slot_tokens(prompt).fed(prompt.slots)
            self.usage.output_tokens += wrote
            return Completion(likeliest(prompt.choices, answer), tuple(answer), tokens, wrote)
        if isinstance(answer, list):
            self.usage.output_tokens += len(answer)
            return Completion(self._layout.decode(answer), (), tokens, len(answer))
        logprobs = tuple([round(answer[choice], _DIGITS) for choice in range(len(prompt.choices))])
        return Completion(prompt.choices[logprobs.index(max(logprobs))], logprobs, tokens, 0)

    def _grouped(self, prompts: Sequence[Prompt]) -> tuple[list[_Group], dict[int, str]]:
        """Groups of questions; and the reason per prompt that is too long, by position."""
        groups: dict[tuple[str, str], _Group] = {}
        refused: dict[int, str] = {}
        systems: dict[str, tuple[int, ...]] = {}
        for index, prompt in enumerate(prompts):
            group = groups.get(prompt[:2])
            if group is None:
                if prompt.system not in systems:
                    systems[prompt.system] = tuple(self._layout.system(prompt))
                group = _Group(systems[prompt.system], self._layout.context(prompt), [])
                groups[prompt[:2]] = group
            rows = self._rows(index, prompt)
            reason = self._too_long(prompt, group, max(len(row.ids) for row in rows))
            if reason:
                refused[index] = reason
            else:
                group.rows.extend(rows)
        return [group for group in groups.values() if group.rows], refused

    def _rows(self, index: int, prompt: Prompt) -> list[_BatchRow]:
        ids = self._layout.question(prompt)
        return self._label_rows(index, prompt, ids) if prompt.choices else [_BatchRow(index, ids, ())]

    def _too_long(self, prompt: Prompt, group: _Group, question: int) -> str:
        """Why a prompt does not fit into the model's context; "" if it does."""
        longest = len(group.system) + len(group.context) + question + self._layout.answer_tokens(prompt)
        return self._layout.too_long(longest, self._context_length)

    def _slot_tokens(self, prompt: Prompt) -> SlotTokens:
        return self._layout.slot_tokens(prompt.choices, bool(prompt.system))

    def _label_rows(self, index: int, prompt: Prompt, ids: list[int]) -> list[_BatchRow]:
        if prompt.slots > 1:
            return [_BatchRow(index, ids, (), self._slot_tokens(prompt))]
        labels = self._layout.labels(prompt.choices, bool(prompt.system))
        if len({label[0] for label in labels}) == len(labels):
            return [_BatchRow(index, ids, tuple((0, label[0], choice) for choice, label in enumerate(labels)))]
        if any(a != b and b[: len(a)] == a for a in labels for b in labels):
            labels = tuple((*label, self._decoder.end_ids[0]) for label in labels)
        return [
            _BatchRow(index, [*ids, *label[:-1]], tuple((len(label) - 1 - j, t, choice) for j, t in enumerate(label)))
            for choice, label in enumerate(labels)
        ]

    def _packs(self, groups: list[_Group]) -> Iterator[list[_Group]]:
        """Groups that share a batch: one at a time on CPU, which a single group keeps busy."""
        if not self._pack_groups:
            yield from ([group] for group in groups)
            return
        pack: list[_Group] = []
        room = self._max_batch_tokens
        for group in sorted(groups, key=lambda g: (g.system, len(g.context))):
            if pack and (group.tokens > room or group.system != pack[0].system):
                yield pack
                pack, room = [], self._max_batch_tokens
            pack.append(group)
            room -= group.tokens
        if pack:
            yield pack

    def _run(self, pack: list[_Group], prompts: Sequence[Prompt], answers: list[Any]) -> None:
        past = self._read_contexts(pack)
        batches: dict[tuple[tuple[str, int], int, int], list[tuple[int, _BatchRow]]] = defaultdict(list)
        for number, group in enumerate(pack):
            self._fed += sum(len(row.ids) for row in group.rows)
            for row in group.rows:
                # One more than the tokens, rounded up, so that there is always padding.
                width = (len(row.ids) // _BUCKET + 1) * _BUCKET
                depth = max((back for back, _, _ in row.reads), default=0) + 1
                batches[row.kind, width, -(-depth // self._keep) * self._keep].append((number, row))
        for ((kind, _), width, keep), members in batches.items():
            size = max(1, self._max_batch_tokens // (past.mask.shape[1] + width))  # rows per batch, bounds memory
            for start in range(0, len(members), size):
                batch = members[start : start + size]
                if kind == "slots":
                    self._read_slots(self._select(past, batch), batch, width, keep, prompts, answers)
                elif kind == "text":
                    wanted = [prompts[row.place] for _, row in batch]
                    ids, mask = pad([row.ids for _, row in batch], width, left=True, device=self._device)
                    texts = self._decoder.decode(self._select(past, batch), ids, mask, keep, wanted)
                    for (_, row), text in zip(batch, texts, strict=True):
                        answers[row.place] = text
                else:
                    self._read_labels(self._select(past, batch), batch, width, keep, answers)

    def _read_contexts(self, pack: list[_Group]) -> Past:
        past = self._read_system(pack[0].system)
        if not any(group.context for group in pack):
            return past
        if not self._pack_groups:
            return self._read_blocks(past, pack[0])
        import torch

        self._fed += sum(len(group.context) for group in pack)
        # The system text, read once as one row, is repeated for the G contexts, which are padded on the right.
        past = past.select(torch.zeros(len(pack), dtype=torch.long, device=self._device))
        width = max(len(group.context) for group in pack)
        ids, mask = pad([group.context for group in pack], width, left=False, device=self._device)
        return read(self._model, past, ids, mask)

    def _read_blocks(self, system: Past, group: _Group) -> Past:
        """Read one context, on top of its longest cached prefix.

        Block boundaries are fixed, so that the bits do not depend on what was cached.
        """
        ids = group.context
        whole = len(ids) // _BLOCK * _BLOCK
        done = next((n for n in range(whole, 0, -_BLOCK) if (group.system, *ids[:n]) in self._contexts), 0)
        past = self._contexts.get((group.system, *ids[:done])) if done else system
        for start in range(done, whole, _BLOCK):
            past = self._read_on(past, ids[start : start + _BLOCK])
        if whole > done:
            self._contexts.put((group.system, *ids[:whole]), past)
        return self._read_on(past, ids[whole:]) if whole < len(ids) else past

    def _read_on(self, past: Past, ids: list[int]) -> Past:
        self._fed += len(ids)
        return read(self._model, past, *pad([ids], len(ids), left=False, device=self._device))

    def _read_system(self, system: tuple[int, ...]) -> Past:
        past = self._systems.pop(system, None)
        if past is None:
            self._fed += len(system)
            past = read(self._model, None, *pad([list(system)], len(system), left=True, device=self._device))
        self._systems[system] = past  # the most recently used is last in the dictionary
        if len(self._systems) > _SYSTEMS_KEPT:
            self._systems.pop(next(iter(self._systems)))
        return past

    def _select(self, past: Past, batch: list[tuple[int, _BatchRow]]) -> Past:
        import torch

        single = past.mask.shape[0] == 1
        return past.select(torch.tensor([0 if single else number for number, _ in batch], device=self._device))

    def _read_slots(
        self,
        past: Past,
        batch: list[tuple[int, _BatchRow]],
        width: int,
        keep: int,
        prompts: Sequence[Prompt],
        answers: list[Any],
    ) -> None:
        ids, mask = pad([row.ids for _, row in batch], width, left=True, device=self._device)
        labels = [row.slots for _, row in batch if row.slots is not None]
        slots = [prompts[row.place].slots for _, row in batch]
        found = self._slots.read(past, ids, mask, keep, labels, slots)
        for (_, row), values in zip(batch, found, strict=True):
            answers[row.place] = values

    def _read_labels(
        self, past: Past, batch: list[tuple[int, _BatchRow]], width: int, keep: int, answers: list[dict[int, float]]
    ) -> None:
        ids, mask = pad([row.ids for _, row in batch], width, left=True, device=self._device)
        # Left padding: questions end in the last column, so the last `keep` positions hold all that is read.
        logits, _ = predict(self._model, past, ids, mask, keep)  # (R, keep, V)
        logprobs = logits.float().log_softmax(dim=-1)
        where = [(r, keep - 1 - back, token) for r, (_, row) in enumerate(batch) for back, token, _ in row.reads]
        values = _pick(logprobs, where)
        # A choice of several tokens sums the log-probabilities of its tokens.
        targets = [(row.place, choice) for _, row in batch for _, _, choice in row.reads]
        for (index, choice), value in zip(targets, values, strict=True):
            answers[index][choice] = answers[index].get(choice, 0.0) + value


def _pick(values: torch.Tensor, where: list[tuple[int, int, int]]) -> list[float]:
    import torch

    rows, positions, tokens = torch.tensor(where, device=values.device).unbind(dim=1)
    return [float(value) for value in values[rows, positions, tokens].tolist()]


def _import_torch() -> Any:
    try:
        import torch
        import transformers  # noqa: F401 - fails here, with a sentence, rather than later
    except ImportError as error:
        raise MissingExtraError(error.name or "torch", "transformers", "A language model in this process") from error
    return torch


def _pick_device(device: str) -> str:
    import torch

    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise ConfigError("device is 'cuda', but torch sees no GPU here. Use device='auto' or 'cpu'.")
    return device


def _context_length(model: Any) -> int | None:
    config = model.config.get_text_config()
    other = set(getattr(config, "layer_types", None) or ()) - {"full_attention", "sliding_attention"}
    if other or getattr(model, "_is_stateful", False):
        raise ConfigError(f"This model has layers that are not attention ({', '.join(sorted(other))}); take another.")
    length = getattr(config, "max_position_embeddings", None)
    return None if length is None else int(length)


def _end_ids(model: Any, tokenizer: Any) -> list[int]:
    generation = getattr(model, "generation_config", None)
    configured = getattr(generation, "eos_token_id", None)
    listed = configured if isinstance(configured, list) else [configured]
    ids = [int(each) for each in (*listed, tokenizer.eos_token_id) if each is not None]
    if not ids:
        raise ConfigError("This model names no token that ends an answer (eos_token_id); take another.")
    return list(dict.fromkeys(ids))


@contextmanager
def _memory_explained(max_batch_tokens: int) -> Iterator[None]:
    import torch

    try:
        yield
    except torch.OutOfMemoryError as error:
        raise LLMError(
            f"The GPU ran out of memory with max_batch_tokens={max_batch_tokens}. Make the model with half of that."
        ) from error
