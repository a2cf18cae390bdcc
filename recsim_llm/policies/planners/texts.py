"""Texts of planners: prompt files, and the wording of a user's history and session."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from string import Template
from typing import Protocol

from recsim_llm.data.dataset import Catalogue
from recsim_llm.errors import ConfigError
from recsim_llm.types import EMPTY, Bools, Ints

KIND = "planner"
MAX_THOUGHT = 200
"""Most characters of a thought; the rest is cut."""

Rated = tuple[int, float]
"""An item and its stars; 0 if it was shown and not watched."""


class ExitRule(Protocol):
    """The parts of an exit rule that prompts can state; the quit rule of the long-term setting has them."""

    @property
    def window(self) -> int:
        """Number of last shown items with which a new one is compared."""
        ...

    @property
    def nearest(self) -> float:
        """0: no item is too similar to another."""
        ...

    @property
    def repeats(self) -> int | None:
        """How often a genre may occur in the window; None: any number."""
        ...

    @property
    def low_reward(self) -> float:
        """Stars below which the best rating of a page makes a person leave; 0: no such rule."""
        ...

    @property
    def share(self) -> float:
        """Share of a page's items that must be too similar, (0, 1]."""
        ...

    @property
    def hazard(self) -> bool:
        """Whether people also leave of their own accord."""
        ...


@dataclass(frozen=True, slots=True)
class Case:
    """One user at one page.

    Attributes:
        user: User id.
        page: Pages already seen in this session.
        past: Items known from before this session, oldest first.
        turns: Items shown in this session, one tuple per page, oldest first; the first may be incomplete.
        allowed: (N,) True for items that the user does not know.
        ranked: The retriever's items, best first.
    """

    user: int
    page: int
    past: tuple[Rated, ...]
    turns: tuple[tuple[Rated, ...], ...]
    allowed: Bools
    ranked: Ints

    @property
    def latest(self) -> tuple[Rated, ...]:
        """All known items, oldest first."""
        return (*self.past, *(rated for turn in self.turns for rated in turn))


@cache
def prompt_file(kind: str, name: str) -> Template:
    """The text of `prompts/<kind>/<name>.md` as a template, without the final newline."""
    folder = resources.files("recsim_llm.policies.planners") / "prompts" / kind
    return Template((folder / f"{name}.md").read_text("utf-8").rstrip("\n"))


@cache
def phrases(kind: str) -> dict[str, Template]:
    """The one-line phrases of `prompts/<kind>/phrases.md`, written `name: phrase`."""
    lines = [line.partition(": ") for line in prompt_file(kind, "phrases").template.splitlines()]
    return {name: Template(text) for name, _, text in lines}


def say(kind: str, name: str, **words: object) -> str:
    """A prompt file with its words filled in."""
    return prompt_file(kind, name).substitute(words)


def phrase(kind: str, name: str, **words: object) -> str:
    """A phrase with its words filled in, and a newline."""
    return phrases(kind)[name].substitute(words) + "\n"


def exit_sentence(rule: ExitRule, page_size: int, top: float) -> str:
    """Return the sentence that states the exit rule, with its numbers.

    Args:
        rule: The rule.
        page_size: Items per turn; of a page, a share must be too similar.
        top: Most stars that can be given.
    """
    say = phrases(KIND)
    alike = [say["exit alike"].substitute(window=rule.window)] if rule.nearest > 0 else []
    if rule.repeats is not None:
        alike.append(say["exit genres"].substitute(repeats=rule.repeats, window=rule.window))
    name = "exit one" if page_size == 1 else "exit many"
    cases = [say[name].substitute(what=" or ".join(alike), share=f"{100 * rule.share:g}")] if alike else []
    if rule.low_reward > 0:
        cases.append(say["exit low"].substitute(stars=f"{rule.low_reward:g}", top=f"{top:g}"))
    cases += [say["exit own"].template] if rule.hazard else []
    return say["exit"].substitute(cases=", or when ".join(cases)) if cases else say["exit never"].template


class PlannerTexts:
    """The wording of prompts about users.

    Args:
        catalogue: The items.
        top: Most stars that can be given.
        exit_rule: Sentence about when users leave (`exit_sentence`); "" for none.
    """

    def __init__(self, catalogue: Catalogue, top: float, exit_rule: str = "") -> None:
        self._shown, self._top = catalogue.shown, f"{top:g}"
        self._labels, self._exit_rule = catalogue.shown.label, exit_rule
        self.system = self.told(say(KIND, "system"))

    def told(self, system: str) -> str:
        """Return a system prompt with the exit sentence, and a note on quotes if titles are quoted."""
        return self._shown.system(f"{system} {self._exit_rule}" if self._exit_rule else system)

    def genres(self, names: Sequence[str]) -> str:
        """Return genres as one text."""
        return self._shown.listed(names)

    def label(self, item: int) -> str:
        """Title with the year, as prompts show it (`data.shown`)."""
        return self._labels[item]

    def line(self, rated: Rated) -> str:
        """Return a line about an item that was shown or rated."""
        item, stars = rated
        name = "rated" if stars else "skipped"
        return phrase(KIND, name, item=self._labels[item], stars=f"{stars:g}", top=self._top)

    def person(self, past: Sequence[Rated]) -> str:
        """Return the text about earlier ratings."""
        lines = "".join(self.line(rated) for rated in past) or phrase(KIND, "nothing")
        return say(KIND, "person", history=lines.rstrip("\n"))

    def lessons(self, lessons: Sequence[str]) -> str:
        """Return the lessons from earlier sessions; "" if there are none."""
        lines = "".join(phrase(KIND, "lesson", lesson=lesson) for lesson in lessons)
        return "\n" + say(KIND, "lessons", lessons=lines.rstrip("\n")) if lines else ""

    def scratchpad(self, case: Case, thoughts: Mapping[int, str], window: int) -> str:
        """Return the text of the turns of this session; "" before the first.

        Beyond `window` turns, the oldest are dropped half a window at a time, so that the text mostly grows at its end
        and a prefix cache stays valid.
        """
        first = case.page - len(case.turns)
        blocks = [self.turn(first + i, turn, thoughts.get(first + i, "")) for i, turn in enumerate(case.turns)]
        text = "".join(blocks[max(0, _dropped(case.page, window) - first) :])
        return "\n" + say(KIND, "session", turns=text.rstrip("\n")) if text else ""

    def turn(self, number: int, shown: Sequence[Rated], thought: str) -> str:
        """Return the text of one turn: its thought, and the items shown."""
        words = phrase(KIND, "turn", turn=number + 1) + self.thought(thought)
        return words + "".join(self.line(rated) for rated in shown)

    def thought(self, thought: str) -> str:
        """Return a line with the thought; "" if there is none."""
        return phrase(KIND, "thought", thought=thought) if thought else ""

    def sentence(self, seen: Sequence[Rated]) -> str:
        """Return titles in one line, the text by which memories look up situations."""
        return "; ".join(self._labels[item] for item, _ in seen)


def real(items: Sequence[int], stars: Sequence[float]) -> tuple[Rated, ...]:
    """Return items with their stars, without empty slots."""
    return tuple((item, rating) for item, rating in zip(items, stars, strict=True) if item != EMPTY)


def one_line(text: str, most: int) -> str:
    r"""Return a text as one line of at most `most` characters, cut between words.

    >>> one_line("a  short\ntext of words", 13)
    'a short text'
    """
    words = " ".join(text.split())
    return words if len(words) <= most else words[:most].rsplit(" ", 1)[0]


def _dropped(turns: int, window: int) -> int:
    """Return the number of dropped turns: 0 up to the window, then in steps of half a window."""
    half = max(1, window // 2)
    return 0 if turns <= window else -(-(turns - window) // half) * half


def check_titles(catalogue: Catalogue, policy: str) -> None:
    """Check that the items have titles.

    Raises:
        ConfigError: The items have no titles.
    """
    if not catalogue.has_titles:
        raise ConfigError(
            f"The policy '{policy}' writes and reads titles, and this data set has none (its items are called by their "
            "ids). Add a title column, or take a policy that needs none: popularity, ease, ..."
        )
