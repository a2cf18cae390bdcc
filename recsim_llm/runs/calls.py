"""Recorded LLM calls: a model wrapper that records, and a model that only replays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from recsim_llm.errors import RecordingError
from recsim_llm.prompt_key import KEY_BYTES, prompt_keys
from recsim_llm.runs.steps import text_array
from recsim_llm.types import EMPTY, Completion, Prompt, Usage, storable

SCHEMA = pa.schema(
    [
        pa.field(name, kind, nullable=False)
        for name, kind in (
            ("key", pa.binary(KEY_BYTES)),
            ("system", pa.dictionary(pa.int32(), pa.string())),
            ("context", pa.dictionary(pa.int32(), pa.string())),
            ("question", pa.string()),
            ("choices", pa.list_(pa.field("element", pa.string(), nullable=False))),
            ("schema", pa.dictionary(pa.int32(), pa.string())),
            ("max_tokens", pa.int64()),
            ("temperature", pa.float64()),
            ("seed", pa.int64()),
            ("slots", pa.int64()),
            ("adapter", pa.dictionary(pa.int32(), pa.string())),
            ("text", pa.string()),
            ("logprobs", pa.list_(pa.field("element", pa.float64(), nullable=False))),
            ("prompt_tokens", pa.int64()),
            ("output_tokens", pa.int64()),
            ("refused", pa.string()),
            ("bounds", pa.list_(pa.field("element", pa.int64(), nullable=False))),
            ("round", pa.int64()),
        )
    ]
)
ANSWER_COLUMNS = ("key", *Completion._fields)


class _LLM(Protocol):
    # Repeats language.protocol.LLM, because neither package may import the other.
    @property
    def name(self) -> str: ...
    @property
    def usage(self) -> Usage: ...
    def generate(self, prompts: Sequence[Prompt]) -> list[Completion]: ...


@dataclass(frozen=True, slots=True)
class CallBatch:
    """A batch of prompts and their completions.

    Attributes:
        keys: One key per call (`recsim_llm.prompt_key`).
        prompts: The prompts.
        completions: The completions.
    """

    keys: tuple[bytes, ...]
    prompts: tuple[Prompt, ...]
    completions: tuple[Completion, ...]

    def __len__(self) -> int:
        return len(self.keys)

    def to_table(self, round_: int) -> pa.Table:
        """Return an Arrow table of the schema `SCHEMA`.

        Args:
            round_: Number of the part the calls belong to.

        Raises:
            RecordingError: A number does not fit into 64 bits.
        """
        columns = zip(*self.prompts, strict=True) if self.prompts else ((),) * len(Prompt._fields)
        system, context, question, choices, schema, max_tokens, temperature, seed, slots, adapter, _ = columns
        answers = zip(*self.completions, strict=True) if self.completions else ((),) * len(Completion._fields)
        text, logprobs, prompt_tokens, output_tokens, refused, bounds = answers
        try:
            arrays = [
                pa.array(self.keys, pa.binary(KEY_BYTES)),
                _dictionary(system),
                _dictionary(context),
                text_array(question),
                _lists(choices, text_array),
                _dictionary(schema),
                pa.array(max_tokens, pa.int64()),
                pa.array(temperature, pa.float64()),
                pa.array(seed, pa.int64()),
                pa.array(slots, pa.int64()),
                _dictionary(adapter),
                text_array(text),
                _lists(logprobs, lambda values: pa.array(values, pa.float64())),
                pa.array(prompt_tokens, pa.int64()),
                pa.array(output_tokens, pa.int64()),
                text_array(refused),
                _lists(bounds, lambda values: pa.array(values, pa.int64())),
                pa.array(np.full(len(self), round_, dtype=np.int64)),
            ]
        except OverflowError as error:
            raise RecordingError(
                f"max_tokens, seed, slots, bounds and token counts must fit into 64 bits ({error})."
            ) from error
        return pa.table(arrays, schema=SCHEMA)

    @classmethod
    def from_table(cls, table: pa.Table) -> CallBatch:
        """Read a table that `to_table` returned."""
        prompts = zip(*(table[name].to_pylist() for name in Prompt._fields if name != "about"), strict=True)
        answers = completions(table)
        return cls(
            tuple(answers),
            tuple(Prompt._make((*row[:3], tuple(row[3]), *row[4:], EMPTY)) for row in prompts),
            tuple(answers.values()),
        )


def completions(table: pa.Table) -> dict[bytes, Completion]:
    """Return the completions of a table of calls, by key; it needs `ANSWER_COLUMNS` only."""
    key, text, logprobs, read, wrote, refused, bounds = (table[name].to_pylist() for name in ANSWER_COLUMNS)
    answers = map(Completion, text, map(tuple, logprobs), read, wrote, refused, map(tuple, bounds))
    return dict(zip(key, answers, strict=True))


class RecordingLLM:
    """Answers from the record if possible, calls the model otherwise, and collects new calls for the store.

    A prompt is asked at most once per run, so that a replay, which has one answer per prompt, gives the same run even
    if the model would answer differently the second time. All answers stay in memory, about 350 bytes each.

    Args:
        llm: The model.
        recorded: Answers of the run so far, by key (`Run.recorded_completions`).
    """

    def __init__(self, llm: _LLM, recorded: Mapping[bytes, Completion]) -> None:
        self._llm = llm
        self._known = dict(recorded)
        self._new: list[tuple[bytes, Prompt, Completion]] = []
        self._asked: dict[tuple[int, bytes], None] = {}  # an ordered set

    @property
    def name(self) -> str:
        """The name of the wrapped model, because recording changes no answer."""
        return self._llm.name

    @property
    def usage(self) -> Usage:
        """Counters of the wrapped model; answers from the record count as `cache_hits`."""
        return self._llm.usage

    def generate(self, prompts: Sequence[Prompt]) -> list[Completion]:
        """Answer all prompts; each distinct prompt is asked at most once.

        Raises:
            RecordingError: The model returned a wrong number of answers.
            LLMError: The model failed; nothing of this call is recorded.
        """
        keys = prompt_keys(self.name, prompts)
        distinct = dict(zip(keys, prompts, strict=True))
        missing = {key: prompt for key, prompt in distinct.items() if key not in self._known}
        self._asked.update({(p.about, key): None for p, key in zip(prompts, keys, strict=True) if p.about != EMPTY})
        usage = self.usage
        usage.cache_hits += len(distinct) - len(missing)
        usage.duplicates += len(keys) - len(distinct)
        if missing:
            self._ask(missing)
        return [self._known[key] for key in keys]

    def drain(self) -> CallBatch:
        """Return and clear the calls made since the last time, in order."""
        new, self._new = self._new, []
        keys, prompts, answers = zip(*new, strict=True) if new else ((), (), ())
        return CallBatch(keys, prompts, answers)

    def asked(self) -> list[tuple[int, bytes]]:
        """Return and clear the (user, key) pairs asked since the last time, from the record or not."""
        asked, self._asked = list(self._asked), {}
        return asked

    def _ask(self, missing: Mapping[bytes, Prompt]) -> None:
        answers = self._llm.generate(list(missing.values()))
        if len(answers) != len(missing):
            raise RecordingError(f"'{self.name}' was asked {len(missing)} prompts and gave {len(answers)} answers.")
        for (key, prompt), answer in zip(missing.items(), answers, strict=True):
            # Cleaned before use, so that agents read exactly what a replay will read.
            self._known[key] = kept = _storable(answer)
            self._new.append((key, prompt, kept))


class ReplayLLM:
    """Answers from a record only.

    Args:
        name: Name of the model that was recorded (`Manifest.llm`); part of every key.
        recorded: Its answers, by key (`Run.recorded_completions`).
    """

    def __init__(self, name: str, recorded: Mapping[bytes, Completion]) -> None:
        self.name = name
        self._recorded = recorded
        self.usage = Usage()

    def generate(self, prompts: Sequence[Prompt]) -> list[Completion]:
        """Answer every prompt.

        Raises:
            RecordingError: A prompt was never recorded; the message shows the first one.
        """
        keys = prompt_keys(self.name, prompts)
        try:
            found = [self._recorded[key] for key in keys]
        except KeyError as missing:
            prompt = prompts[keys.index(missing.args[0])]
            raise RecordingError(
                f"The run holds no answer of '{self.name}' to the prompt {_shown(prompt.question)} "
                f"(context {_shown(prompt.context)}). The recording is incomplete, or prompts have changed since."
            ) from None
        distinct = len(set(keys))
        self.usage.cache_hits += distinct
        self.usage.duplicates += len(keys) - distinct
        return found


def _storable(answer: Completion) -> Completion:
    if answer.text.isascii() and answer.refused.isascii():
        return answer
    return answer._replace(text=storable(answer.text), refused=storable(answer.refused))


def _shown(text: str, length: int = 120) -> str:
    return repr(text if len(text) <= length else text[:length] + "…")


def _dictionary(texts: Sequence[str]) -> pa.DictionaryArray:
    numbers: dict[str, int] = {}
    indices = [numbers.setdefault(text, len(numbers)) for text in texts]
    return pa.DictionaryArray.from_arrays(pa.array(indices, pa.int32()), text_array(numbers))


def _lists(rows: Sequence[Sequence[Any]], to_array: Any) -> pa.ListArray:
    offsets = pa.array([0, *accumulate(map(len, rows))], pa.int32())
    values = to_array([value for row in rows for value in row])
    kind = pa.list_(pa.field("element", values.type, nullable=False))
    return pa.ListArray.from_arrays(offsets, values, type=kind)
