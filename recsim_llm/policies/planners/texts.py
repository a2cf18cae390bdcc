"""The texts of planners: prompt files, and what a person's history and session look like in words. Knows no model."""

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
"""Characters of a thought that are kept."""

Rated = tuple[int, float]
"""An item and its stars, 0 where it was shown and not taken."""


class ExitRule(Protocol):
    """What can be told of a rule by which people leave; a quit rule of the long-term setting is one."""

    @property
    def window(self) -> int:
        """How many of the last shown items a new one is compared with."""
        ...

    @property
    def nearest(self) -> float:
        """0: no item is too much like another."""
        ...

    @property
    def repeats(self) -> int | None:
        """Times that a genre may occur in the window; None: any number."""
        ...

    @property
    def low_reward(self) -> float:
        """Stars below which the best rating of a page makes a person leave; 0: no such rule."""
        ...

    @property
    def share(self) -> float:
        """Share of a page's items that must be too alike, (0, 1]."""
        ...

    @property
    def hazard(self) -> bool:
        """Whether people leave of their own accord too."""
        ...


@dataclass(frozen=True, slots=True)
class Case:
    """One person at one page.

    Attributes:
        user: User id.
        page: Pages already seen in this session.
        past: What is known from before this session, oldest first.
        turns: What was shown in this session, a tuple a page, oldest first; the first may be cut off by the history.
        allowed: (N,) which items the person does not know.
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
        """Everything known, oldest first."""
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
    """What a planner is told of the rule by which people leave, with the numbers of the rule.

    Args:
        rule: The rule.
        page_size: Items a turn: of a page, a share must be too alike.
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
    """What planners say of people.

    Args:
        catalogue: The items.
        top: Most stars that can be given.
        exit_rule: What is said of when people leave (`exit_sentence`); "" for nothing.
    """

    def __init__(self, catalogue: Catalogue, top: float, exit_rule: str = "") -> None:
        self._shown, self._top = catalogue.shown, f"{top:g}"
        self._labels, self._exit_rule = catalogue.shown.label, exit_rule
        self.system = self.told(say(KIND, "system"))

    def told(self, system: str) -> str:
        """A system prompt: with what is said of when people leave, and of quotes where titles stand in them."""
        return self._shown.system(f"{system} {self._exit_rule}" if self._exit_rule else system)

    def genres(self, names: Sequence[str]) -> str:
        """Genres in one text."""
        return self._shown.listed(names)

    def label(self, item: int) -> str:
        """Title with the year, as prompts show it (`data.shown`)."""
        return self._labels[item]

    def line(self, rated: Rated) -> str:
        """A line about an item that was shown or rated."""
        item, stars = rated
        name = "rated" if stars else "skipped"
        return phrase(KIND, name, item=self._labels[item], stars=f"{stars:g}", top=self._top)

    def person(self, past: Sequence[Rated]) -> str:
        """What the person has rated before."""
        lines = "".join(self.line(rated) for rated in past) or phrase(KIND, "nothing")
        return say(KIND, "person", history=lines.rstrip("\n"))

    def lessons(self, lessons: Sequence[str]) -> str:
        """Lessons from earlier sessions, "" where there are none."""
        lines = "".join(phrase(KIND, "lesson", lesson=lesson) for lesson in lessons)
        return "\n" + say(KIND, "lessons", lessons=lines.rstrip("\n")) if lines else ""

    def scratchpad(self, case: Case, thoughts: Mapping[int, str], window: int) -> str:
        """The turns of this session, "" before the first.

        Of more than `window` turns, the oldest are dropped half a window at a time: so the text mostly grows at its
        end, and a prefix cache keeps it.
        """
        first = case.page - len(case.turns)
        blocks = [self.turn(first + i, turn, thoughts.get(first + i, "")) for i, turn in enumerate(case.turns)]
        text = "".join(blocks[max(0, _dropped(case.page, window) - first) :])
        return "\n" + say(KIND, "session", turns=text.rstrip("\n")) if text else ""

    def turn(self, number: int, shown: Sequence[Rated], thought: str) -> str:
        """One turn: its thought, and what was shown."""
        words = phrase(KIND, "turn", turn=number + 1) + self.thought(thought)
        return words + "".join(self.line(rated) for rated in shown)

    def thought(self, thought: str) -> str:
        """A line with a thought, "" where there is none."""
        return phrase(KIND, "thought", thought=thought) if thought else ""

    def sentence(self, seen: Sequence[Rated]) -> str:
        """Titles in one line: what memories find situations by."""
        return "; ".join(self._labels[item] for item, _ in seen)


def real(items: Sequence[int], stars: Sequence[float]) -> tuple[Rated, ...]:
    """Items with their stars; empty slots are left out."""
    return tuple((item, rating) for item, rating in zip(items, stars, strict=True) if item != EMPTY)


def one_line(text: str, most: int) -> str:
    r"""A text in one line of at most so many characters, cut between words.

    >>> one_line("a  short\ntext of words", 13)
    'a short text'
    """
    words = " ".join(text.split())
    return words if len(words) <= most else words[:most].rsplit(" ", 1)[0]


def _dropped(turns: int, window: int) -> int:
    """How many turns are dropped: none up to the window, then by half a window at a time."""
    half = max(1, window // 2)
    return 0 if turns <= window else -(-(turns - window) // half) * half


def check_titles(catalogue: Catalogue, policy: str) -> None:
    """Check that there is something to talk about.

    Raises:
        ConfigError: The items have no titles.
    """
    if not catalogue.has_titles:
        raise ConfigError(
            f"The policy '{policy}' writes and reads titles, and this data set has none (its items are called by their "
            "ids). Add a title column, or take a policy that needs none: popularity, ease, ..."
        )
