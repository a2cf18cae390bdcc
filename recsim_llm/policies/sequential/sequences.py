"""Sequences of liked items per user: from the log, and continued by histories."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsim_llm.data.dataset import Ratings
from recsim_llm.seeding import Stream, mix
from recsim_llm.types import EMPTY, Ints, Observation

Arrays = Mapping[str, NDArray[Any]]


def logged_sequences(log: Ratings) -> dict[str, Ints]:
    """Return the items that each user rated, oldest first.

    Ties in time are broken by a hash of user and item, so that neither row order nor id order leaks information.

    Returns:
        `sequence_items`: (M,) items, user after user; `sequence_ends`: (U + 1,) user u has items ends[u]..ends[u + 1].
    """
    luck = mix(int(Stream.DATA), log.users, log.items)
    order = np.lexsort((luck, log.times, log.users))
    ends = np.concatenate([[0], np.cumsum(np.bincount(log.users, minlength=log.num_users))])
    return {"sequence_items": log.items[order], "sequence_ends": ends.astype(np.int64)}


def split_sequences(sequences: Arrays) -> list[Ints]:
    """Split the result of `logged_sequences` into U arrays of items."""
    return np.split(sequences["sequence_items"], sequences["sequence_ends"][1:-1])


def recent_items(observation: Observation, sequences: Arrays, length: int, min_rating: float = 0.0) -> Ints:
    """Return the latest items that each user liked: those of the history, preceded by those of the log.

    A history may begin with logged ratings, so a logged item is used only if the history does not hold it.

    Args:
        observation: Of B users.
        sequences: Result of `logged_sequences`.
        length: L, at least 1.
        min_rating: Stars from which a watched item of the history counts.

    Returns:
        (B, L) items, newest at the end, EMPTY in front.
    """
    stars, real = observation["history_ratings"], observation["history_mask"] > 0
    liked = real & (stars > 0) & (stars >= min_rating)
    out = np.full((len(stars), length), EMPTY, dtype=np.int64)
    for row, items in enumerate(_joined(observation, liked, sequences, length)):
        out[row, length - len(items) :] = items
    return out


def windows(sequences: list[Ints], length: int) -> Ints:
    """Cut sequences into pieces of at most `length` items, from the newest backwards.

    Adjacent pieces share one item, so that every item except a user's first is the target exactly once.

    Returns:
        (W, length) items, newest at the end, EMPTY in front; sequences of fewer than two items give none.
    """
    pieces = [
        sequence[max(0, end - length) : end] for sequence in sequences for end in range(len(sequence), 1, -(length - 1))
    ]
    out = np.full((len(pieces), length), EMPTY, dtype=np.int64)
    for row, piece in enumerate(pieces):
        out[row, length - len(piece) :] = piece
    return out


def _joined(observation: Observation, liked: NDArray[np.bool_], sequences: Arrays, length: int) -> Iterator[list[int]]:
    logged, ends = sequences["sequence_items"], sequences["sequence_ends"]
    users = observation["user"][:, 0].tolist()
    for user, items, chosen in zip(users, observation["history_items"], liked, strict=True):
        own = items[chosen][-length:].tolist()
        before: list[int] = []
        if len(own) < length and 0 <= user < len(ends) - 1:
            held = set(items[chosen].tolist())
            before = [item for item in logged[ends[user] : ends[user + 1]].tolist() if item not in held]
        yield [*before, *own][-length:]
