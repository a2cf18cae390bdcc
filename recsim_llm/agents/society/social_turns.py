"""Actions of agents of any kind other than looking at pages: plan, search, chat, post. Generators without I/O.

Costs: a plan is one label read; a query, a chat (the whole dialogue) and a post are one text each. Hearing costs no
call: messages enter the memory verbatim.

Chats and posts pass a gate (`text_gate`): a refused text is asked for once more and then replaced by a template,
counted. A message is tagged with an item and stars only where its words state them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from recsim_llm.agents.llm.agent_kind import Agent
from recsim_llm.agents.llm.pages.page_titles import mentioned
from recsim_llm.agents.llm.prompts_text import phrases, prompt_text, template
from recsim_llm.agents.llm.text_gate import EMPTY_TEXT, NAMES_NOTHING, mentions_of, refusal
from recsim_llm.agents.society.inhabitants import Action, Message
from recsim_llm.data.dataset import Catalogue
from recsim_llm.data.shown import MESSAGE, NOTE, quoted
from recsim_llm.language.label_reads import AnswerCounts, ask
from recsim_llm.language.text_reads import ask_text
from recsim_llm.seeding import Stream, uniforms
from recsim_llm.types import EMPTY, Completion, Persona, Prompt

KIND = "social"
NUM_ACTIONS = len(Action)
HEARD_IMPORTANCE = 0.5
"""Declared: RecAgent asks a model for the importance of each message received; this package saves that call."""
LETTERS = tuple("ABCDE")
_QUERY_TOKENS, _CHAT_TOKENS, _POST_TOKENS = 16, 120, 60
_TEMPERATURE = 0.7
_MAX_TURNS, _MAX_BYTES = 6, 400
_REASKS = 1  # of a refused chat or post
_NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
# "4 stars", "four stars", "4/5", "4 of 5", "4.5 out of 5": how many, and of how many where that is said.
_STARS = re.compile(
    rf"(?<![\w.])(\d+(?:\.5)?|{'|'.join(_NUMBERS)})(?:(?:\s*/\s*|\s+(?:out\s+)?of\s+)(\d+|{'|'.join(_NUMBERS)})|[\s-]stars?)\b",
    re.IGNORECASE,
)

T = TypeVar("T")
Texts = Generator[Sequence[Prompt], Sequence[Completion], str]


@dataclass(slots=True)
class TextCounts:
    """Counters of the chats and posts that a model was asked for.

    Attributes:
        asked: Chats and posts.
        templates: Of these, replaced by a template.
        distinct: Different messages among the usable ones: few where a model repeats itself.
        refused: Unusable texts, by the reason of the gate; each repeated attempt counts.
        lines_dropped: Lines left out of chats that were otherwise usable.
    """

    asked: int = 0
    templates: int = 0
    distinct: int = 0
    refused: dict[str, int] = field(default_factory=dict)
    lines_dropped: int = 0

    def refuse(self, reason: str) -> None:
        """Count a text that cannot be used."""
        self.refused[reason] = self.refused.get(reason, 0) + 1


class SocialTexts:
    """Prompts of social life for one catalogue and population.

    Args:
        catalogue: Titles.
        personas: `personas[u].user == u`.
        top: Best rating, in stars.
    """

    def __init__(self, catalogue: Catalogue, personas: Sequence[Persona], top: float) -> None:
        self._catalogue, self._personas, self._top = catalogue, list(personas), top
        self.system, self.remind = f"{prompt_text(KIND, 'system')} {NOTE}", prompt_text(KIND, "remind")
        self.query = prompt_text(KIND, "query")
        self._usable: set[int] = set()  # hashes of what a model said and the gate let pass

    def change(self, persona: Persona) -> None:
        """Replace the description of this person."""
        self._personas[persona.user] = persona

    def persona(self, user: int) -> Persona:
        """A person as described now."""
        return self._personas[user]

    def fallback_query(self, user: int) -> str:
        """The query of a person who names nothing: the genre they like best, else the first of the catalogue."""
        likes = self._personas[user].likes
        return likes[0] if likes else next(iter(self._catalogue.genres), "")

    def name(self, user: int) -> str:
        """A person's name in texts: by id, so that no two share a name (RecAgent's thousand users share a hundred)."""
        name = "someone" if user < 0 else f"person {user}"
        return name

    def topic(self, me: Agent) -> str:
        """What a person has on their mind: the item they talk about, or nothing in particular."""
        return (
            phrases(KIND)["topic"].substitute(item=self._catalogue.shown.label[me.topic]) if me.topic != EMPTY else ""
        )

    def seen(self, me: Agent) -> str:
        """A sentence on the item a person talks about; "" where they have watched nothing."""
        if me.topic == EMPTY:
            return phrases(KIND)["nothing"].template
        return phrases(KIND)["seen"].substitute(
            item=self._catalogue.shown.label[me.topic], stars=f"{me.stars:g}", top=f"{self._top:g}"
        )

    def plain(self, me: Agent) -> Message:
        """What a person says by template."""
        if me.topic == EMPTY:
            return Message(me.user, phrases(KIND)["plain nothing"].template)
        label = self._catalogue.shown.label[me.topic]
        text = phrases(KIND)["plain"].substitute(item=label, stars=f"{me.stars:g}", top=f"{self._top:g}")
        return Message(me.user, text, me.topic, me.stars)

    def different(self, messages: Iterable[str]) -> int:
        """How many different messages of a model there were, these included."""
        self._usable.update(map(hash, messages))  # not the texts: a run may have a million
        return len(self._usable)

    def mentions(self, *people: Agent) -> tuple[str, ...]:
        """What these people have to talk about: titles and genres of what they watched; () where that is nothing."""
        return mentions_of(self._catalogue[who.topic] for who in people if who.topic != EMPTY)

    def said(self, me: Agent, words: str, other: Agent | None = None) -> Message:
        """A message with its tag: an item only where the words name its title, stars only where they say how many.

        Args:
            me: Who speaks.
            words: What they say.
            other: The listener, whose item may be named as well; only the speaker's own item gets the speaker's stars.
        """
        topics = dict.fromkeys(who.topic for who in (me, other) if who is not None and who.topic != EMPTY)
        named = [topic for topic in topics if self._names(words, topic)]
        if not named:
            return Message(me.user, words)
        if named[0] != me.topic:
            return Message(me.user, words, named[0])
        # Without the title: "Toy Story 2 stars Tom Hanks" gives no stars.
        rest = re.sub(re.escape(self._catalogue[me.topic].title), " ", words, flags=re.IGNORECASE)
        return Message(me.user, words, me.topic, stars_said(rest, self._top))

    def _names(self, words: str, item: int) -> bool:
        # Both: the one finds titles under any of their forms, the other knows that "it" is not "It".
        title = self._catalogue[item].title
        return bool(mentioned(words, [title])) and refusal(words, "", (title,)) != NAMES_NOTHING

    def chat(self, me: Agent, other: Agent) -> str:
        """The prompt for a dialogue."""
        mine, theirs = self.name(me.user), self.name(other.user)
        likes = self._catalogue.shown.listed(self._personas[other.user].likes) or phrases(KIND)["anything"].template
        return template(KIND, "chat").substitute(
            me=mine, other=theirs, likes=likes, seen=self.seen(me), their_seen=self.seen(other)
        )

    def plan(self, order: Sequence[int]) -> str:
        """The question what to do, with the actions listed in this order."""
        options = [
            f"{letter}: {phrases(KIND)[f'option {action}'].template}"
            for letter, action in zip(LETTERS, order, strict=True)
        ]
        return template(KIND, "plan").substitute(options="\n".join(options))

    def post(self, me: Agent) -> str:
        """The prompt for a post."""
        return template(KIND, "post").substitute(seen=self.seen(me))

    def heard(self, user: int, message: Message) -> str:
        """How a message enters a memory."""
        kind = "said" if message.author == user else "heard"
        return phrases(KIND)[kind].substitute(name=self.name(message.author), text=quoted(message.text, MESSAGE))


def plan(
    me: Agent, context: str, texts: SocialTexts, counts: AnswerCounts
) -> Generator[Sequence[Prompt], Sequence[Completion], list[float]]:
    """Probabilities of each `Action`, in their order: one label read.

    The actions are listed in an order drawn for the person and the minute, because models prefer some letters: with
    "nothing" always first, a small model never came.
    """
    minute = int(me.hour * 60)
    order = np.argsort(uniforms(np.uint64(me.key), Stream.LISTING, minute, np.arange(NUM_ACTIONS)), kind="stable")
    prompt = Prompt(texts.system, context, texts.plan(order.tolist()), LETTERS)
    answers = yield from ask([prompt], texts.remind, counts)
    by_letter = dict(zip(order.tolist(), answers[0], strict=True))
    return [by_letter[action] for action in range(NUM_ACTIONS)]


def search_query(user: int, context: str, texts: SocialTexts, counts: AnswerCounts) -> Texts:
    """What the person types into the search box."""
    stem = Prompt(texts.system, context, texts.query, max_tokens=_QUERY_TOKENS, temperature=_TEMPERATURE)
    (found,) = yield from ask_text([stem], one_line, texts.remind, counts)
    return found or texts.fallback_query(user)


def chat(
    me: Agent, other: Agent, context: str, texts: SocialTexts, counts: AnswerCounts, said: TextCounts
) -> Generator[Sequence[Prompt], Sequence[Completion], list[Message]]:
    """A dialogue: one text, read line by line. Where it is unusable, each says by template what they watched."""
    stem = Prompt(texts.system, context, texts.chat(me, other), max_tokens=_CHAT_TOKENS, temperature=_TEMPERATURE)
    told, names = _told(stem, texts), texts.mentions(me, other)
    speakers = {texts.name(who.user): who for who in (me, other)}

    def read(text: str) -> tuple[str, list[tuple[Agent, str]]]:
        return _usable_lines(_dialogue(text, speakers, me), told, names, said)

    lines = yield from _gated(stem, read, texts, counts, said)
    if not lines:
        return [texts.plain(me), texts.plain(other)]
    said.distinct = texts.different(words for _, words in lines)
    return [texts.said(who, words, other if who is me else me) for who, words in lines]


def post(
    me: Agent, context: str, texts: SocialTexts, counts: AnswerCounts, said: TextCounts
) -> Generator[Sequence[Prompt], Sequence[Completion], Message]:
    """A post about what was watched; where no usable text comes, the plain fact by template."""
    stem = Prompt(texts.system, context, texts.post(me), max_tokens=_POST_TOKENS, temperature=_TEMPERATURE)
    told, names = _told(stem, texts), texts.mentions(me)

    def read(text: str) -> tuple[str, str]:
        found = (one_paragraph(text) or "")[:_MAX_BYTES]
        return refusal(found, told, names), found

    found = yield from _gated(stem, read, texts, counts, said)
    if not found:
        return texts.plain(me)
    said.distinct = texts.different([found])
    return texts.said(me, found)


def stars_said(words: str, top: float) -> float:
    """How many stars a text gives, out of `top`; 0 where it says nothing, two different things, or another scale.

    >>> stars_said("Heat was great, 4 out of 5", 5.0), stars_said("four stars!", 5.0), stars_said("I liked it", 5.0)
    (4.0, 4.0, 0.0)
    """
    pairs = [(_number(one), _number(scale or str(int(top)))) for one, scale in _STARS.findall(words)]
    found = {stars for stars, scale in pairs if scale == top and 0 < stars <= top}
    return found.pop() if len(found) == 1 == len(set(pairs)) else 0.0


def one_line(text: str) -> str | None:
    """The first line that says something, without quotes."""
    lines = [line.strip().strip("\"'").strip() for line in text.splitlines()]
    return next((line[:_MAX_BYTES] for line in lines if line), None)


def one_paragraph(text: str) -> str | None:
    """The text, cleaned of empty lines; None where there is nothing."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return "\n".join(lines) or None


def _number(word: str) -> float:
    return float(_NUMBERS.index(word.lower())) if word.lower() in _NUMBERS else float(word)


def _told(stem: Prompt, texts: SocialTexts) -> str:
    return "\n".join((stem.system, stem.context, stem.question, texts.remind))


def _gated(
    prompt: Prompt, read: Callable[[str], tuple[str, T]], texts: SocialTexts, counts: AnswerCounts, said: TextCounts
) -> Generator[Sequence[Prompt], Sequence[Completion], T | None]:
    """The parsed answer that `read` accepts; None, counted, where it accepts none."""

    def parse(text: str) -> T | None:
        reason, found = read(text)
        if reason:
            said.refuse(reason)
            return None
        return found

    said.asked += 1
    (found,) = yield from ask_text([prompt], parse, texts.remind, counts, _REASKS)
    said.templates += found is None
    return found


def _usable_lines(
    lines: Sequence[tuple[Agent, str]], told: str, names: Sequence[str], said: TextCounts
) -> tuple[str, list[tuple[Agent, str]]]:
    """Why a dialogue cannot be used, "" where it can, and its usable lines: one of them must name what was watched."""
    reasons = [refusal(words, told, names) for _, words in lines]
    if "" not in reasons:
        return next(iter(reasons), EMPTY_TEXT), []
    # An answer need not name it again. The gate looks for names last, so such a line is sound otherwise.
    good = [line for line, reason in zip(lines, reasons, strict=True) if reason in ("", NAMES_NOTHING)]
    said.lines_dropped += len(lines) - len(good)
    return "", good


def _dialogue(text: str, names: dict[str, Agent], me: Agent) -> list[tuple[Agent, str]]:
    """Lines `person 3: words` in turn; a line without a name goes to the one who spoke last."""
    lines: list[tuple[Agent, str]] = []
    speaker = me
    for line in text.splitlines():
        name, colon, words = line.partition(":")
        if colon and name.strip().lower() in names:
            speaker, line = names[name.strip().lower()], words
        line = line.strip()
        if lines and lines[-1][0] is speaker:
            lines[-1] = (speaker, f"{lines[-1][1]} {line}".strip()[:_MAX_BYTES])
        elif line and len(lines) < _MAX_TURNS:
            lines.append((speaker, line[:_MAX_BYTES]))
    return lines
