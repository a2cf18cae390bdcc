"""The user model seam: all that environments and experiments know about users. People describe themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from recsim_llm.types import Floats, Ints, Keys, Reaction, Responses

if TYPE_CHECKING:
    from recsim_llm.agents.long_term.long_term_users import LongTermUsers
    from recsim_llm.agents.statistical.statistical_users import StatisticalParameters

ORIGINS = {"watch level": "the model's own", "examination (slots)": "the model's own", "leaving": "not fitted"}
"""Where the numbers of people come from who are not fitted to anything."""


@dataclass(frozen=True)
class Description:
    """What a population says of itself. Wrappers pass on what their inner people say, and change what they change.

    A user model of your own may return `Description()`.

    Attributes:
        asks_llm: Whether the language model is asked at all.
        counts: What became of a model's answers, of memories, texts and thoughts, as a run's summary has it: JSON.
        origins: Where levels of watching, slot effect and leaving come from, as a certificate says it.
        belief: How far the language model is believed, in a sentence; "" where nobody has to be told.
        backbone: The statistical people whose answers a language model corrects; None: there are none.
        tastes: Of people who answer by these parameters and by nothing else; None for others.
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

    A handle is a small integer (the index of a sub-environment); state that belongs to a session is kept under it.
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
        """These users begin a session under these handles; a handle used before is forgotten.

        Args:
            sessions: (B,) handles.
            users: (B,) user ids.
            keys: (B,) session keys for any randomness of the model's own (`recsim_llm.seeding`).
        """
        ...

    def react(self, sessions: Ints, pages: Ints) -> Reaction:
        """Say what these sessions' users would do with (B, K) pages; changes no state."""
        ...

    def observe(self, sessions: Ints, pages: Ints, responses: Responses) -> Floats:
        """Let users remember what really happened; return (B,) probabilities of leaving now."""
        ...

    def describe(self) -> Description:
        """What these people are made of, and what has been counted of them so far; changes no state."""
        return Description()  # for classes that have this one as their base


@runtime_checkable
class ReturningUsers(UserModel, Protocol):
    """People who come back: a session may have further visits."""

    def visit(self, agents: Ints, hours: Floats) -> None:
        """These (B,) handles begin a visit at these (B,) hours: fatigue is gone, memory stays."""
        ...
