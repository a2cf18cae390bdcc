"""The memory seam: events go in, the ones that matter now come out, for a whole population at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from recsim_llm.types import Floats, Ints, Keys


class Event(NamedTuple):
    """One thing an agent remembers.

    Attributes:
        text: A sentence or two, in the agent's own words or in ours.
        importance: How much it matters, [0, 1].
        kind: "fact", "feeling", "insight" or "heard".
        written: Whether a language model wrote it about the page just seen: it is shown as a thought. No memory keeps
            this.
        kept: Whether the memory is to keep it. What a kind keeps itself (a self-description, a conclusion in place
            of its sources) is only told to whoever records.
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
        """Let these (B,) agents begin with an empty memory; handles not met before are made.

        Args:
            agents: (B,) handles.
            keys: (B,) session keys for designs that draw; None counts as zeros.
        """
        ...

    def add(self, agents: Ints, events: Sequence[Event], hours: Floats) -> None:
        """Remember.

        Args:
            agents: (M,) handles; one that occurs several times gets its events in this order.
            events: M events.
            hours: (M,) when, in simulated hours since the run began.
        """
        ...

    def recall(self, agents: Ints, queries: Sequence[str], hours: Floats, k: int = 5) -> list[list[Event]]:
        """The at most k events of each agent that matter most for its query, in the order they happened.

        Changes nothing: asked twice, it says the same.

        Args:
            agents: (B,) handles.
            queries: B texts.
            hours: (B,) now, in simulated hours.
            k: How many.
        """
        ...

    def describe(self) -> dict[str, Any]:
        """What became of memories, counted over all agents: JSON values for a run's summary; {} for nothing to say."""
        ...
