"""Thoughts: what people think of a page, asked after their choice; one gated sentence per page, for readers.

A thought is asked for once the choices are drawn, and is stored only in the record of the run: neither a memory nor a
later prompt contains it, so a run with thoughts has the same choices, rewards and hashes as one without.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from recsim_llm.agents.llm.prompts_text import phrases, prompt_text, template
from recsim_llm.agents.llm.text_gate import mentions_of, refusal
from recsim_llm.data.dataset import Catalogue
from recsim_llm.data.shown import NOTE
from recsim_llm.types import EMPTY, Completion, Prompt

KIND = "thoughts"
PAGE = "page"
"""Kind of a thought that was asked for; those that an agent wrote of its own accord have the kind of the memory."""
UNANSWERED = "the model cannot answer"
_TOKENS, _TEMPERATURE = 48, 0.7  # sampled: greedy small models repeat one sentence on every page
_MOST_SENTENCES = 4
_ENDS = re.compile(r"(?<!\bDr\.)(?<!\bMr\.)(?<!\bMs\.)(?<!\bSt\.)(?<!\bMrs\.)(?<!\bvs\.)(?<=[.!?])\s+")


@dataclass(slots=True)
class ThoughtCounts:
    """Counters of the pages whose thought was asked for; asked = stored + refused.

    Attributes:
        asked: Pages.
        stored: Pages with a usable sentence.
        distinct: Different sentences among them: 1 where a model repeats the same sentence on every page.
        reasked: Pages asked once again.
        refused: Pages without a usable sentence.
        why: Refused pages by the reason (`agents.llm.text_gate`) that their last answer was refused.
    """

    asked: int = 0
    stored: int = 0
    distinct: int = 0
    reasked: int = 0
    refused: int = 0
    why: dict[str, int] = field(default_factory=dict)


class Thinker:
    """Asks what people think of pages.

    Args:
        catalogue: Titles and genres.
        top: Best rating, in stars.

    Attributes:
        counts: Counters of the pages.
    """

    def __init__(self, catalogue: Catalogue, top: float) -> None:
        self._catalogue, self._top = catalogue, f"{top:g}"
        self._system = f"{prompt_text(KIND, 'system')} {NOTE}"
        self.counts = ThoughtCounts()
        self._said: set[int] = set()  # hashes of sentences: a run may have a million

    def turn(
        self, context: str, page: Sequence[int], stars: Sequence[float], seed: int
    ) -> Generator[Sequence[Prompt], Sequence[Completion], str]:
        """One sentence about a page, "" where neither of two answers has one that passes the gate.

        Args:
            context: Who the person is and what it remembered when it saw the page.
            page: K item ids, EMPTY in empty slots; nothing is asked about an empty page.
            stars: K, 0 where not watched.
            seed: Of the sampled text.
        """
        items = [self._catalogue[item] for item in page if item != EMPTY]
        if not items:
            return ""
        self.counts.asked += 1
        mentions = mentions_of(items)
        prompt = Prompt(
            self._system, context, self._question(page, stars), max_tokens=_TOKENS, temperature=_TEMPERATURE, seed=seed
        )
        (completion,) = yield [prompt]
        text, reason = _read(completion, prompt, mentions)
        if reason and not completion.refused:
            self.counts.reasked += 1
            reminder = prompt_text(KIND, "remind")
            prompt = prompt._replace(question=f"{prompt.question}\n{reminder}", seed=seed + 1)
            (completion,) = yield [prompt]
            text, reason = _read(completion, prompt, mentions)
        if reason:
            self.counts.refused += 1
            self.counts.why[reason] = self.counts.why.get(reason, 0) + 1
            return ""
        self._said.add(hash(text))
        self.counts.stored, self.counts.distinct = self.counts.stored + 1, len(self._said)
        return text

    def _question(self, page: Sequence[int], stars: Sequence[float]) -> str:
        rows = [self._line(item, given) for item, given in zip(page, stars, strict=True) if item != EMPTY]
        return template(KIND, "page").substitute(items="\n".join(rows))

    def _line(self, item: int, stars: float) -> str:
        shown, say = self._catalogue.shown, phrases(KIND)
        genres = shown.genres(item)
        name = say["item"].substitute(label=shown.label[item], genres=genres) if genres else shown.label[item]
        return say["watched" if stars else "skipped"].substitute(item=name, stars=f"{stars:g}", top=self._top)


def told(context: str, thoughts: Sequence[str]) -> str:
    """An interview context extended by what the person thought of pages; unchanged where there are no thoughts."""
    return f"{context}\n{phrases(KIND)['told'].substitute(thoughts=' '.join(thoughts))}" if thoughts else context


def _read(completion: Completion, prompt: Prompt, mentions: Sequence[str]) -> tuple[str, str]:
    """The first sentence of an answer's first line that passes the gate and "", or "" and why the first does not."""
    if completion.refused:
        return "", UNANSWERED
    asked = f"{prompt.system}\n{prompt.context}\n{prompt.question}"
    line = next((line.strip() for line in completion.text.splitlines() if line.strip()), "")
    sentences = _ENDS.split(line.strip("\"'“”").strip())[:_MOST_SENTENCES]
    reasons = [refusal(sentence, asked, mentions) for sentence in sentences]
    usable = [sentence for sentence, reason in zip(sentences, reasons, strict=True) if not reason]
    return (usable[0], "") if usable else ("", reasons[0])


def thought_counts(thinker: Thinker | None) -> dict[str, Any]:
    """Counters of thoughts for a run's summary; {} where none are asked for."""
    return {} if thinker is None else {f"thoughts_{name}": value for name, value in asdict(thinker.counts).items()}
