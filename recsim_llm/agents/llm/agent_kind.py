"""Protocol of an agent kind: what distinguishes Agent4Rec, RecAgent and AgentCF. `agent_users` does the rest.

A kind is one file and a folder of prompts. Its turns are generators without I/O: they yield prompts, are sent
completions and return a result (`language.converse`). A kind owns the memory of its whole population.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeAlias, TypeVar

from recsim_llm.agents.llm.memory.memory_protocol import Event, Memory
from recsim_llm.agents.statistical.leaving import LeaveParameters
from recsim_llm.language.label_reads import AnswerCounts
from recsim_llm.types import EMPTY, Completion, Floats, Persona, Prompt

T = TypeVar("T")
Turn: TypeAlias = Generator[Sequence[Prompt], Sequence[Completion], T]


@dataclass(slots=True)
class Agent:
    """State of one session (or life, in a society) of one person, apart from the memory.

    Attributes:
        handle: Handle of its memory; chosen by the environment.
        user: User id.
        key: Session key, for randomness of its own (`recsim_llm.seeding`).
        page: Pages seen in this visit.
        hour: Simulated hours since the run began.
        satisfaction: Running satisfaction of this visit, [0, 1].
        topic, stars: The item it talks about, and its rating: the best-rated item of the last page on which it watched
            anything. EMPTY and 0 before that.
    """

    handle: int
    user: int
    key: int
    page: int = 0
    hour: float = 0.0
    satisfaction: float = 0.5
    topic: int = EMPTY
    stars: float = 0.0


class PageAnswer(NamedTuple):
    """One agent's row of a Reaction.

    Attributes:
        watch: Probability of watching each of K items, 0 in empty slots.
        rating: R rating probabilities for each.
        thought: A text for people to read, "" for none.
    """

    watch: list[float]
    rating: list[list[float]]
    thought: str = ""


class AgentKind(Protocol):
    """An agent design, for one catalogue and population.

    Attributes:
        name: Registered name.
        num_users: U; user ids are 0..U-1.
        num_items: N; item ids are 0..N-1, EMPTY marks an empty slot.
        rating_levels: (R,) stars, ascending, positive.
        leaving: The declared hazard of leaving.
        counts: Counters of the model's answers.
        slogans: Adverts: words shown with an item on every page, by item. Filled by the caller.
    """

    name: str
    num_users: int
    num_items: int
    rating_levels: Floats
    leaving: LeaveParameters
    counts: AnswerCounts
    slogans: dict[int, str]

    @property
    def memory(self) -> Memory:
        """The memories of all agents."""
        ...

    def begin(self, me: Agent) -> Turn[None]:
        """Ask what is needed before a person's first session (a taste in words, say); often nothing."""
        ...

    def query(self, me: Agent, page: Sequence[int]) -> str:
        """The recall query for this page of K items; "" recalls nothing."""
        ...

    def react(self, me: Agent, page: Sequence[int], recalled: Sequence[Event]) -> Turn[PageAnswer]:
        """Answer a page of K items (EMPTY in empty slots), given the recalled events; changes no state."""
        ...

    def observe(self, me: Agent, page: Sequence[int], stars: Sequence[float]) -> Turn[list[Event]]:
        """The events of a page that enter the memory; `stars` has K entries, 0 where not watched.

        Called once per page. The memory may be rehearsed here, but the kind itself does not change.
        """
        ...

    def reflect(self, me: Agent) -> Turn[list[Event]]:
        """Consolidate after events have entered the memory, and return further events for it (often none).

        Texts that the kind stores itself are returned too, with `kept` False, so that runs record them.
        """
        ...

    def context(self, me: Agent, recalled: Sequence[Event]) -> str:
        """The context of prompts outside pages (chat, interview, plans): who the person is and what they remember."""
        ...

    def change(self, persona: Persona) -> None:
        """Replace the description of the person `persona.user`, and drop cached texts about them."""
        ...
