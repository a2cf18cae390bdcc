"""Protocol of a society's people: a user model whose agents persist between visits, plan, talk and listen."""

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
    """A message.

    Attributes:
        author: User id; -1 for someone outside the population.
        text: The words.
        item: An item that the words name, EMPTY where they name none.
        stars: Stars that the author gave it according to the words, 0 where they name none.
    """

    author: int
    text: str
    item: int = EMPTY
    stars: float = 0.0


@runtime_checkable
class Inhabitants(ReturningUsers, Protocol):
    """A population that lives through simulated time. A handle is a user id here: everybody lives once.

    `reset` begins a life; `visit` begins a visit, with the earlier ones remembered.
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
        """Show these words with an item on all further pages; "" removes them. No effect on users who do not read."""
        ...

    def change(self, persona: Persona) -> None:
        """Replace the description of the person `persona.user`."""
        ...

    def hear(self, agents: Ints, messages: Sequence[Message], hours: Floats) -> None:
        """Deliver message i to agent i; an agent may occur several times, and hears in this order."""
        ...
