"""Protocol of user models: all that environments and experiments know about users, who describe themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from recsim_llm.types import Floats, Ints, Keys, Reaction, Responses

if TYPE_CHECKING:
    from recsim_llm.agents.long_term.long_term_users import LongTermUsers
    from recsim_llm.agents.statistical.statistical_users import StatisticalParameters

ORIGINS = {"watch level": "the model's own", "examination (slots)": "the model's own", "leaving": "not fitted"}
"""Default origins, for user models that are not fitted to anything."""


@dataclass(frozen=True)
class Description:
    """A population's description of itself. Wrappers pass on that of their inner people, with their own changes.

    A user model of your own may return `Description()`.

    Attributes:
        asks_llm: Whether the language model is asked at all.
        counts: Counters of a model's answers, of memories, texts and thoughts, for a run's summary: JSON.
        origins: Where levels of watching, slot effect and leaving come from, as a certificate states it.
        belief: Where the language model's answers are used, in a sentence; "" where that needs no mention.
        backbone: The statistical people whose answers a language model corrects; None: there are none.
        tastes: Parameters of people who answer by these and by nothing else; None for others.
        long_term: The people in BiLLP's setting, with rule, distances and habits; None elsewhere.
    """

    asks_llm: bool = True
    counts: Mapping[str, Any] = field(default_factory=dict)
    origins: Mapping[str, str] = field(default_factory=lambda: ORIGINS)
    belief: str = ""
    backbone: UserModel | None = None
    tastes: StatisticalParameters | None = None
    long_term: LongTermUsers | None = None


class UserModel(Protocol):
    """A population. Several sessions run side by side; each has a handle, chosen by the environment.

    A handle is a small integer (the index of a sub-environment); the state of a session is stored under it.
    Two sessions of one user may run at once.

    Attributes:
        num_users: U; user ids are 0..U-1.
        num_items: N; item ids are 0..N-1, and EMPTY (-1) marks an empty slot.
        rating_levels: (R,) stars of each rating level, ascending, positive.
    """

    num_users: int
    num_items: int
    rating_levels: Floats

    def reset(self, sessions: Ints, users: Ints, keys: Keys) -> None:
        """Begin a session of each of these users under these handles; a handle used before loses its old state.

        Args:
            sessions: (B,) handles.
            users: (B,) user ids.
            keys: (B,) session keys for any randomness of the model's own (`recsim_llm.seeding`).
        """
        ...

    def react(self, sessions: Ints, pages: Ints) -> Reaction:
        """Return what these sessions' users would do with (B, K) pages; changes no state."""
        ...

    def observe(self, sessions: Ints, pages: Ints, responses: Responses) -> Floats:
        """Record what really happened; return (B,) probabilities of leaving now."""
        ...

    def describe(self) -> Description:
        """Return the description of these people, with their counters so far; changes no state."""
        return Description()  # default for classes that inherit from this one


@runtime_checkable
class ReturningUsers(UserModel, Protocol):
    """People who come back: a session may have further visits."""

    def visit(self, agents: Ints, hours: Floats) -> None:
        """Begin a visit of these (B,) handles at these (B,) hours: fatigue is reset, memory stays."""
        ...
