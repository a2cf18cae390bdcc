"""Encoding of lessons as tokens: a row holds persons, each followed by their questions, which do not see each other.

Positions restart at the end of the context for every question, and a question attends only to its context and itself.
So the model sees exactly what it sees when an agent asks the question alone (`TransformersLLM`), while the context is
read once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from recsim_llm.errors import ConfigError
from recsim_llm.experiments.tuning.blocks import Block, blocks_of
from recsim_llm.experiments.tuning.lessons import Lesson
from recsim_llm.language.backends.transformers.chat_layout import ChatLayout
from recsim_llm.types import Prompt

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True)
class TokenRow:
    """A lesson in tokens.

    Attributes:
        ids, branches, positions: T tokens; branch 0 is the shared context, 1.. are the questions.
        places: L indices in the row after which a token is predicted.
        tokens: L tuples of candidate token ids.
        targets: L tuples of their probabilities.
    """

    ids: list[int]
    branches: list[int]
    positions: list[int]
    places: list[int]
    tokens: list[tuple[int, ...]]
    targets: list[tuple[float, ...]]


class Encoder:
    """Encodes lessons for one tokenizer, as agents' prompts are encoded.

    Args:
        tokenizer: A Hugging Face tokenizer.
        choices: Every set of choices that lessons use.
        context_length: Most tokens that the model reads; None if unknown.

    Raises:
        ConfigError: The tokenizer does not tell the labels apart by their first token.
    """

    def __init__(self, tokenizer: Any, choices: Iterable[tuple[str, ...]], context_length: int | None = None) -> None:
        self._layout, self._length = ChatLayout(tokenizer), context_length
        for labels in choices:
            first = {ids[0] for ids in self._layout.labels(labels, True)}
            if len(first) < len(labels):
                raise ConfigError(
                    f"This model's tokenizer begins several of the labels {', '.join(labels)} with the same token, so "
                    "they cannot be taught by one token each. Take another model."
                )

    def lesson(self, lesson: Lesson) -> TokenRow:
        """Encode a lesson as tokens.

        Raises:
            ConfigError: A question does not fit into the model's context.
        """
        stem = Prompt(lesson.system, lesson.context, "")
        ids = [*self._layout.system(stem), *self._layout.context(stem)]
        row = TokenRow(ids, [0] * len(ids), list(range(len(ids))), [], [], [])
        stem_size = len(ids)
        self._told(lesson, stem, row)
        for branch, asked in enumerate(lesson.asked, start=1):
            question = self._layout.question(Prompt(lesson.system, lesson.context, asked.question, asked.choices))
            reason = self._layout.too_long(stem_size + len(question), self._length)
            if reason:
                raise ConfigError(reason)
            row.ids.extend(question)
            row.branches.extend([branch] * len(question))
            # Every question starts at the end of the context, as if it were the only one.
            row.positions.extend(range(stem_size, stem_size + len(question)))
            row.places.append(len(row.ids) - 1)
            row.tokens.append(tuple(label[0] for label in self._layout.labels(asked.choices, bool(lesson.system))))
            row.targets.append(asked.target)
        return row

    def _told(self, lesson: Lesson, stem: Prompt, row: TokenRow) -> None:
        """Add the stars in the context whose token is an answer's token to what is predicted."""
        if not lesson.told:
            return
        levels = tuple(str(i + 1) for i in range(len(lesson.told[0].target)))
        tokens = tuple(label[0] for label in self._layout.labels(levels, bool(lesson.system)))
        starts, behind = self._layout.context_starts(stem), len(self._layout.system(stem))
        for told in lesson.told:
            place = behind + starts.get(told.place, -behind)
            if row.ids[place] in tokens:
                # The logits at index place - 1 predict the token at place.
                row.places.append(place - 1)
                row.tokens.append(tokens)
                row.targets.append(told.target)

    def text(self, prompt: Prompt, answer: str, end: int) -> TokenRow:
        """Encode a prompt with a written answer, every token of which is predicted."""
        ids, said = self._layout.prompt(prompt), [*self._layout.answer(answer), end]
        whole = [*ids, *said[:-1]]
        places = list(range(len(ids) - 1, len(whole)))
        return TokenRow(
            whole, [0] * len(whole), list(range(len(whole))), places, [(t,) for t in said], [(1.0,)] * len(said)
        )


@dataclass(frozen=True, slots=True)
class Batch:
    """Concatenated rows, as tensors.

    Attributes:
        ids, positions: (1, T) tokens and their positions.
        blocks: Which tokens attend to which others.
        places: (L,) indices after which a token is predicted.
        tokens: (L, C) ids of the candidate tokens, padded with 0.
        targets: (L, C) their target probabilities, padded with 0.
        choices: (L, C) which entries are not padding.
    """

    ids: torch.Tensor
    positions: torch.Tensor
    blocks: tuple[Block, ...]
    places: torch.Tensor
    tokens: torch.Tensor
    targets: torch.Tensor
    choices: torch.Tensor

    def __len__(self) -> int:
        return len(self.places)


def batch_of(rows: Sequence[TokenRow], device: Any, dtype: Any) -> Batch:
    """Concatenate rows; they do not attend to each other."""
    import torch

    starts = [sum(len(row.ids) for row in rows[:n]) for n in range(len(rows))]
    places = [start + place for start, row in zip(starts, rows, strict=True) for place in row.places]
    width = max((len(tokens) for row in rows for tokens in row.tokens), default=1)

    def padded(values: Iterator[tuple[Any, ...]], dtype: Any) -> torch.Tensor:
        return torch.tensor([(*v, *(0,) * (width - len(v))) for v in values], dtype=dtype, device=device)

    return Batch(
        torch.tensor([[i for row in rows for i in row.ids]], device=device),
        torch.tensor([[p for row in rows for p in row.positions]], device=device),
        blocks_of([row.branches for row in rows], device, dtype),
        torch.tensor(places, dtype=torch.long, device=device),
        padded((tokens for row in rows for tokens in row.tokens), torch.long),
        padded((target for row in rows for target in row.targets), torch.float32),
        padded(((1,) * len(tokens) for row in rows for tokens in row.tokens), torch.bool),
    )


def packed(rows: Iterable[TokenRow], most: int) -> Iterator[list[TokenRow]]:
    """Group rows, in order, into packs of at most `most` tokens, but at least one row."""
    pack: list[TokenRow] = []
    for row in rows:
        if pack and sum(len(each.ids) for each in pack) + len(row.ids) > most:
            yield pack
            pack = []
        pack.append(row)
    if pack:
        yield pack
