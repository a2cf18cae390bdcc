"""The engine that runs inside a Ray actor, and the serialisation of prompts and answers as columns.

Columns are pickled here, not by Ray: a system text, a context or a set of choices that prompts of a chunk share is one
object and is sent once, and numbers are sent as arrays.
"""

from __future__ import annotations

import asyncio
import os
import pickle
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Any, NamedTuple

import numpy as np

from recsim_llm import errors
from recsim_llm.errors import RecsimError
from recsim_llm.language.protocol import LLM
from recsim_llm.types import Completion, Prompt


class AnsweredChunk(NamedTuple):
    """An engine's answer to one chunk.

    Attributes:
        life: Identifies the actor's process; another number after a restart.
        error: Class and message of an error of this library, or None.
        columns: From `pack_answers`; b"" after an error.
        spent: Counters of `Usage`, for this chunk alone.
    """

    life: int
    error: tuple[str, str] | None
    columns: bytes
    spent: dict[str, float]


class Engine:
    """One replica, a Ray actor with async methods; the first of them that needs the model loads it.

    Args:
        spec: A spec of `make_llm`.
        replicas: Number of replicas, reported to processes that join.
    """

    def __init__(self, spec: str, replicas: int) -> None:
        self._spec, self._replicas = spec, replicas
        self._llm: LLM | None = None
        # One thread: a model answers one call at a time. The event loop stays free for Ray.
        self._thread = ThreadPoolExecutor(1)

    async def about(self) -> tuple[tuple[str, str] | None, str, int]:
        """Load the model if it is not loaded; return an error or None, the model's name, and the number of replicas."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._about)

    async def answer(self, columns: bytes) -> AnsweredChunk:
        """Answer a chunk from `pack_prompts`."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._answer, columns)

    async def process(self) -> int:
        """Id of the actor's process."""
        return os.getpid()

    def _about(self) -> tuple[tuple[str, str] | None, str, int]:
        try:
            return None, self._model().name, self._replicas
        except RecsimError as error:
            return (type(error).__name__, str(error)), "", self._replicas

    def _answer(self, columns: bytes) -> AnsweredChunk:
        try:
            llm = self._model()
            before = asdict(llm.usage)
            answers = llm.generate(unpack_prompts(columns))
        except RecsimError as error:
            return AnsweredChunk(os.getpid(), (type(error).__name__, str(error)), b"", {})
        spent = {name: value - before[name] for name, value in asdict(llm.usage).items()}
        return AnsweredChunk(os.getpid(), None, pack_answers(answers), spent)

    def _model(self) -> LLM:
        if self._llm is None:
            from recsim_llm.language import make_llm

            self._llm = make_llm(self._spec)
        return self._llm


def error_of(kind: str, message: str) -> RecsimError:
    """Create an error of this library by class name, without its constructor, which may take other arguments."""
    cls: type[RecsimError] = getattr(errors, kind, errors.LLMError)
    return cls.__new__(cls, message)


def pack_prompts(prompts: Sequence[Prompt]) -> bytes:
    """Serialise prompts as columns."""
    return pickle.dumps(list(zip(*prompts, strict=True)), protocol=5)


def unpack_prompts(columns: bytes) -> list[Prompt]:
    """Inverse of `pack_prompts`."""
    return list(map(Prompt._make, zip(*pickle.loads(columns), strict=True)))  # noqa: S301 - our own bytes


def pack_answers(answers: Sequence[Completion]) -> bytes:
    """Serialise completions as columns; log-probabilities as one array."""
    texts, logprobs, read, wrote, refused, bounds = zip(*answers, strict=True)
    lengths = np.array([len(row) for row in logprobs], dtype=np.int32)
    flat = np.array([value for row in logprobs for value in row], dtype=np.float64)
    tokens = np.array([read, wrote], dtype=np.int64)
    rare = [column if any(column) else None for column in (refused, bounds)]
    return pickle.dumps((texts, flat, lengths, tokens, *rare), protocol=5)


def unpack_answers(columns: bytes) -> list[Completion]:
    """Inverse of `pack_answers`, bit for bit."""
    texts, flat, lengths, tokens, refused, bounds = pickle.loads(columns)  # noqa: S301 - our own bytes
    values, ends = flat.tolist(), np.cumsum(lengths).tolist()
    starts: list[Any] = [0, *ends[:-1]]
    logprobs = [tuple(values[start:end]) for start, end in zip(starts, ends, strict=True)]
    rare = refused or [""] * len(texts), bounds or [()] * len(texts)
    return list(map(Completion, texts, logprobs, *tokens.tolist(), *rare))
