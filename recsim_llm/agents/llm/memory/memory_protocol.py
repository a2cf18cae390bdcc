"""Protocol of memories: stores events and recalls those that matter now, for a whole population at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from recsim_llm.types import Floats, Ints, Keys


class Event(NamedTuple):
    """One thing an agent remembers.

    Attributes:
        text: A sentence or two, written by the agent's model or from a template.
        importance: Importance, [0, 1].
        kind: "fact", "feeling", "insight" or "heard".
        written: Whether a language model wrote it about the page just seen, so that it is shown as a thought. Not
            stored by memories.
        kept: Whether the memory stores it. What a kind stores itself (a self-description, a conclusion in place of its
            sources) is only passed on to be recorded.
    """

    text: str
    importance: float = 0.0
    kind: str = "fact"
    written: bool = False
    kept: bool = True


class Memory(Protocol):
    """The memories of all agents, each under a handle (a small integer, as in `agents.user_model.UserModel`).

    An agent's memory depends on what that agent was given and on nothing else: neither on the batch nor on the order
    of agents in it.
    """

    def forget(self, agents: Ints, keys: Keys | None = None) -> None:
        """Clear the memories of these (B,) agents; unknown handles are created.

        Args:
            agents: (B,) handles.
            keys: (B,) session keys for designs with random draws; None counts as zeros.
        """
        ...

    def add(self, agents: Ints, events: Sequence[Event], hours: Floats) -> None:
        """Store events.

        Args:
            agents: (M,) handles; one that occurs several times gets its events in this order.
            events: M events.
            hours: (M,) when, in simulated hours since the run began.
        """
        ...

    def recall(self, agents: Ints, queries: Sequence[str], hours: Floats, k: int = 5) -> list[list[Event]]:
        """The at most k events of each agent that matter most for its query, in the order they happened.

        Changes no state: repeated calls return the same events.

        Args:
            agents: (B,) handles.
            queries: B texts.
            hours: (B,) now, in simulated hours.
            k: How many.
        """
        ...

    def describe(self) -> dict[str, Any]:
        """Counters over all agents, as JSON values for a run's summary; {} where there are none."""
        ...
