"""The seam of an agent kind: what distinguishes Agent4Rec, RecAgent and AgentCF. `agent_users` does the rest.

A kind is one file and a folder of prompts. Its turns are generators: they yield prompts, are sent completions and
return a result (`language.converse`); they do no I/O. A kind owns the memory of its whole population.
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
    """One session (or life, in a society) of one person: the few numbers that are not in the memory.

    Attributes:
        handle: Where its memory is; chosen by the environment.
        user: User id.
        key: Session key, for randomness of its own (`recsim_llm.seeding`).
        page: Pages seen in this visit.
        hour: Simulated hours since the run began.
        satisfaction: Running satisfaction of this visit, [0, 1].
        topic, stars: The item watched last that it liked best, and what it gave it: what it talks about. EMPTY and 0
            before anything was watched.
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
    """A design of an agent, for one catalogue and population.

    Attributes:
        name: Registered name.
        num_users: U; user ids are 0..U-1.
        num_items: N; item ids are 0..N-1, EMPTY marks an empty slot.
        rating_levels: (R,) stars, ascending, positive.
        leaving: The declared hazard of leaving.
        counts: What models answered, counted.
        slogans: Words shown with an item on every page, by item: adverts. Filled from outside.
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
        """The memories of all agents, of whatever design."""
        ...

    def begin(self, me: Agent) -> Turn[None]:
        """Whatever has to be asked before a person is met for the first time (a taste in words); often nothing."""
        ...

    def query(self, me: Agent, page: Sequence[int]) -> str:
        """What to recall before looking at this page of K items; "" for nothing."""
        ...

    def react(self, me: Agent, page: Sequence[int], recalled: Sequence[Event]) -> Turn[PageAnswer]:
        """Look at a page of K items (EMPTY in empty slots). Changes nothing."""
        ...

    def observe(self, me: Agent, page: Sequence[int], stars: Sequence[float]) -> Turn[list[Event]]:
        """What of a page enters the memory; `stars` has K entries, 0 where not watched.

        Called once a page. The memory may be rehearsed here, the kind itself does not change.
        """
        ...

    def reflect(self, me: Agent) -> Turn[list[Event]]:
        """After events have entered the memory: consolidate, and return what further enters it (often nothing).

        Texts that the kind keeps itself are returned too, with `kept` False, so that runs show them.
        """
        ...

    def context(self, me: Agent, recalled: Sequence[Event]) -> str:
        """Who the person is and what it remembers: the context of prompts outside pages (chat, interview, plans)."""
        ...

    def change(self, persona: Persona) -> None:
        """This person (`persona.user`) is from now on as described; forget texts that were rendered of them."""
        ...
