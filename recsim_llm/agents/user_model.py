"""The user model seam: all the environment knows about users."""

from __future__ import annotations

from typing import Protocol

from recsim_llm.types import Floats, Ints, Keys, Reaction, Responses


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
