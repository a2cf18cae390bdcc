"""The seam of a society: a user model whose agents live on between visits, plan, talk and listen."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import NamedTuple, Protocol, runtime_checkable

from recsim_llm.agents.user_model import ReturningUsers
from recsim_llm.types import EMPTY, Floats, Ints, Persona


class Action(IntEnum):
    """What an agent does when it wakes."""

    NOTHING = 0
    BROWSE = 1
    SEARCH = 2
    CHAT = 3
    POST = 4


class Message(NamedTuple):
    """Something said.

    Attributes:
        author: User id; -1 for someone outside the population.
        text: The words.
        item: An item that the words name, EMPTY where they name none.
        stars: How many stars the words say the author gave it, 0 where they do not say.
    """

    author: int
    text: str
    item: int = EMPTY
    stars: float = 0.0


@runtime_checkable
class Inhabitants(ReturningUsers, Protocol):
    """A population that lives through simulated time. A handle is a user id here: everybody lives once.

    `reset` is birth; `visit` begins a visit of somebody who remembers the ones before.
    """

    def intend(self, agents: Ints, hours: Floats) -> Floats:
        """(B, 5) probabilities of each `Action`, rows sum to 1; the society samples. Changes nothing."""
        ...

    def search_query(self, agents: Ints, hours: Floats) -> list[str]:
        """What each agent types into the search box."""
        ...

    def chat(self, agents: Ints, partners: Ints, hours: Floats) -> list[list[Message]]:
        """What is said in each of B dialogues between `agents[i]` and `partners[i]`; at most one model call each."""
        ...

    def post(self, agents: Ints, hours: Floats) -> list[Message]:
        """What each agent posts; at most one model call each."""
        ...

    def advertise(self, item: int, slogan: str) -> None:
        """From now on, pages show these words with an item; "" ends it. Users who do not read take no notice."""
        ...

    def change(self, persona: Persona) -> None:
        """This person (`persona.user`) is from now on as described."""
        ...

    def hear(self, agents: Ints, messages: Sequence[Message], hours: Floats) -> None:
        """Deliver message i to agent i; an agent may occur several times, and hears in this order."""
        ...
