"""Data sets of logged sessions: observations, actions and rewards. Does not import torch.

An episode of T steps has T + 1 observations, the last one after its last step, as in Minari.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from recsim_llm.data.dataset import Ratings
from recsim_llm.errors import DataError
from recsim_llm.types import EMPTY, Bools, Floats32, Ints
from recsim_llm.untrusted import read_arrays

_FORMAT = 1


@dataclass(frozen=True, slots=True)
class OfflineLog:
    """E episodes, concatenated: M steps in total and M + E observations.

    Attributes:
        lengths: (E,) steps of each episode, at least 1.
        users: (E,) user ids.
        rows: (M + E, 1 + 2 H) observations (`states.pack`), one more than steps per episode.
        actions: (M,) items shown.
        rewards: (M,) rewards.
        terminated, truncated: (M,) how an episode ended; False on all steps but its last.
        behaviour: Name of the behaviour policy.
        num_items: N.
        checksum: Checksum of the data set; "" if unknown.
    """

    lengths: Ints
    users: Ints
    rows: Floats32
    actions: Ints
    rewards: Floats32
    terminated: Bools
    truncated: Bools
    behaviour: str
    num_items: int
    checksum: str = ""

    arrays: ClassVar[tuple[str, ...]] = (
        "lengths", "users", "rows", "actions", "rewards", "terminated", "truncated",
    )  # fmt: skip

    def __post_init__(self) -> None:
        problem = _problem(self)
        if problem:
            raise DataError(f"Offline data: {problem}.")

    def __len__(self) -> int:
        return len(self.actions)

    @property
    def before(self) -> Ints:
        """(M,) index of the observation before each step; the one after the step is the next index."""
        return np.arange(len(self.actions)) + np.repeat(np.arange(len(self.lengths)), self.lengths)

    def save(self, path: Path) -> None:
        """Write the data set to one `.npz` file without pickles."""
        arrays = {field.name: np.asarray(getattr(self, field.name)) for field in fields(self)}
        with path.open("wb") as file:
            np.savez_compressed(file, format=np.array(_FORMAT), **arrays)  # type: ignore[arg-type]

    @classmethod
    def load(cls, path: Path, num_items: int | None = None, checksum: str = "") -> OfflineLog:
        """Read what `save` wrote.

        Args:
            path: The file.
            num_items: Required N of the catalogue; None: any.
            checksum: Required checksum of the data set; "" here or in the file matches any.

        Raises:
            DataError: The file is missing, damaged, has no or invalid actions, or belongs to another catalogue.
        """
        data = _read(path)
        values: dict[str, Any] = {name: data[name] for name in cls.arrays if name in data}
        missing = [name for name in cls.arrays if name not in values]
        if missing:
            raise DataError(f"{path} has no {', '.join(missing)}; an offline data set needs them.")
        try:
            log = cls(**values, behaviour=str(data["behaviour"]), num_items=int(data["num_items"]),
                      checksum=str(data["checksum"]))  # fmt: skip
        except (DataError, KeyError, TypeError, ValueError) as error:
            raise DataError(f"{path}: {error}") from error
        _check_catalogue(path, log, num_items, checksum)
        return log


def log_episodes(log: Ratings, length: int) -> OfflineLog:
    """Convert ratings to episodes: states are the earlier ratings, actions the next rated items, rewards their stars.

    The end of a user's log is terminal. A state counts all earlier items as shown in the session.

    Args:
        log: Training ratings.
        length: H.
    """
    people = [rows for rows in log.by_user() if len(rows)]
    lengths = np.array([len(rows) for rows in people], dtype=np.int64)
    order = np.concatenate([*people, np.zeros(0, dtype=np.int64)])
    ends = np.zeros(len(order), dtype=np.bool_)
    ends[np.cumsum(lengths) - 1] = True
    states = [_histories(log.items[rows], log.values[rows], length) for rows in people]
    return OfflineLog(
        lengths, log.users[order[ends]], np.concatenate([*states, np.zeros((0, 1 + 2 * length), dtype=np.float32)]),
        log.items[order], log.values[order].astype(np.float32), ends, np.zeros_like(ends), "log", log.num_items,
    )  # fmt: skip


def _histories(items: Ints, stars: Floats32, length: int) -> Floats32:
    """(T + 1, 1 + 2 H) rows of the history before each of T items, and after the last."""
    places = np.arange(len(items) + 1)[:, None] + np.arange(-length, 0)
    real = places >= 0
    held = np.where(real, items[np.maximum(places, 0)], EMPTY)
    given = np.where(real, stars[np.maximum(places, 0)], 0.0)
    return np.concatenate([np.arange(len(items) + 1)[:, None], held, given], axis=1, dtype=np.float32)


def _problem(log: OfflineLog) -> str:
    steps, episodes = len(log.actions), len(log.lengths)
    if not len(log.rewards) == len(log.terminated) == len(log.truncated) == steps == int(log.lengths.sum()):
        return (
            f"{steps} actions, but {int(log.lengths.sum())} steps and {len(log.rewards)} rewards; actions are missing"
        )
    if len(log.rows) != steps + episodes or len(log.users) != episodes:
        return (
            f"{len(log.rows)} observations of {steps} steps in {episodes} episodes; there must be one more an episode"
        )
    if not np.issubdtype(log.actions.dtype, np.integer):
        return f"actions are {log.actions.dtype}, not whole numbers"
    wrong = (log.actions < 0) | (log.actions >= log.num_items)
    if wrong.any():
        return f"action {log.actions[wrong][0]} is no item of the catalogue, whose ids are 0..{log.num_items - 1}"
    return "" if np.isfinite(log.rewards).all() else "a reward is not a finite number"


def _check_catalogue(path: Path, log: OfflineLog, num_items: int | None, checksum: str) -> None:
    if num_items is not None and log.num_items != num_items:
        raise DataError(f"{path} is about a catalogue of {log.num_items} items; this one has {num_items} items.")
    if checksum and log.checksum and log.checksum != checksum:
        raise DataError(f"{path} was logged on another data set (or version of it) than this one. Log it again.")


def _read(path: Path) -> Mapping[str, NDArray[Any]]:
    if not path.is_file():
        raise DataError(f"{path}: there is no such offline data set. Make one with recsim-llm collect.")
    try:
        data = read_arrays(path)
    except (OSError, DataError) as error:
        raise DataError(f"{path} is not an offline data set, or damaged ({error}).") from error
    if str(data.get("format", "none")) != str(_FORMAT):
        raise DataError(f"{path} is not an offline data set of this version.")
    return data
