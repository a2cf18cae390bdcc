"""What agents of any kind do besides looking at pages: plan, search, chat, post. Generators; they do no I/O.

Costs: a plan is one label read; a query, a chat (the whole dialogue) and a post are one text each. What is heard costs
no call: it enters the memory as it was said.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence

import numpy as np

from recsim_llm.agents.agent_kind import Agent
from recsim_llm.agents.inhabitants import Action, Message
from recsim_llm.agents.prompts_text import phrases, prompt_text, template
from recsim_llm.agents.reading import AnswerCounts, ask
from recsim_llm.agents.text_reading import ask_text
from recsim_llm.data.dataset import Catalogue
from recsim_llm.data.shown import MESSAGE, NOTE, quoted
from recsim_llm.seeding import Stream, uniforms
from recsim_llm.types import EMPTY, Completion, Persona, Prompt

KIND = "social"
NUM_ACTIONS = len(Action)
HEARD_IMPORTANCE = 0.5
"""Declared: RecAgent asks a model for the importance of each message received; we do not pay for that."""
LETTERS = tuple("ABCDE")
_QUERY_TOKENS, _CHAT_TOKENS, _POST_TOKENS = 16, 120, 60
_TEMPERATURE = 0.7
_MAX_TURNS, _MAX_BYTES = 6, 400

Texts = Generator[Sequence[Prompt], Sequence[Completion], str]


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

    def change(self, persona: Persona) -> None:
        """This person is from now on as described."""
        self._personas[persona.user] = persona

    def persona(self, user: int) -> Persona:
        """A person as described now."""
        return self._personas[user]

    def fallback_query(self, user: int) -> str:
        """What a person searches who names nothing: the genre they like best, else the first of the catalogue."""
        likes = self._personas[user].likes
        return likes[0] if likes else next(iter(self._catalogue.genres), "")

    def name(self, user: int) -> str:
        """How people are called: by id, so that no two share a name (RecAgent's thousand users share a hundred)."""
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
    found = yield from _text(stem, one_line, texts, counts)
    return found or texts.fallback_query(user)


def chat(
    me: Agent, other: Agent, context: str, texts: SocialTexts, counts: AnswerCounts
) -> Generator[Sequence[Prompt], Sequence[Completion], list[Message]]:
    """A dialogue: one text, read line by line. Where it cannot be read, what was said is the plain fact of `seen`."""
    stem = Prompt(texts.system, context, texts.chat(me, other), max_tokens=_CHAT_TOKENS, temperature=_TEMPERATURE)
    found = yield from _text(stem, one_paragraph, texts, counts)
    if not found:
        return [Message(me.user, texts.seen(me), me.topic, me.stars)]
    names = {texts.name(who.user): who for who in (me, other)}
    return _dialogue(found, names, me)


def post(
    me: Agent, context: str, texts: SocialTexts, counts: AnswerCounts
) -> Generator[Sequence[Prompt], Sequence[Completion], Message]:
    """A post about what was watched; where nothing usable comes, the plain fact of `seen`."""
    stem = Prompt(texts.system, context, texts.post(me), max_tokens=_POST_TOKENS, temperature=_TEMPERATURE)
    found = yield from _text(stem, one_paragraph, texts, counts)
    return Message(me.user, found or texts.seen(me), me.topic, me.stars)


def one_line(text: str) -> str | None:
    """The first line that says something, without quotes."""
    lines = [line.strip().strip("\"'").strip() for line in text.splitlines()]
    return next((line[:_MAX_BYTES] for line in lines if line), None)


def one_paragraph(text: str) -> str | None:
    """The text, cleaned of empty lines; None where there is nothing."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return "\n".join(lines) or None


def _text(
    prompt: Prompt, parse: Callable[[str], str | None], texts: SocialTexts, counts: AnswerCounts
) -> Generator[Sequence[Prompt], Sequence[Completion], str | None]:
    answers = yield from ask_text([prompt], parse, texts.remind, counts)
    return answers[0]


def _dialogue(text: str, names: dict[str, Agent], me: Agent) -> list[Message]:
    """Lines `person 3: words` in turn; a line without a name goes to the one who spoke last."""
    messages: list[Message] = []
    speaker = me
    for line in text.splitlines():
        name, colon, words = line.partition(":")
        if colon and name.strip().lower() in names:
            speaker, line = names[name.strip().lower()], words.strip()
        if messages and messages[-1].author == speaker.user:
            messages[-1] = messages[-1]._replace(text=f"{messages[-1].text} {line}"[:_MAX_BYTES])
        elif line and len(messages) < _MAX_TURNS:
            messages.append(Message(speaker.user, line[:_MAX_BYTES], speaker.topic, speaker.stars))
    return messages
