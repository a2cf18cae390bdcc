"""The ranking task: for each of some users, one true item among ten candidates."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from recsim_llm.data.dataset import Dataset, Ratings
from recsim_llm.data.splits import split_ratings
from recsim_llm.errors import ConfigError
from recsim_llm.seeding import Stream, uniforms

CANDIDATES = 10
_POOL = 1  # distinguishes these draws from others of the stream DATA


@dataclass(frozen=True)
class RankingTask:
    """Training data and candidates to rank.

    Attributes:
        dataset: Catalogue and people; its ratings are the training log.
        users: (U,) user ids.
        histories: Per position in `users`, the known items of the user, oldest first; may exceed the training log.
        truths: Per position, the true item.
        candidates: Per position, `CANDIDATES` items, the truth last.
    """

    dataset: Dataset
    users: tuple[int, ...]
    histories: tuple[tuple[int, ...], ...]
    truths: tuple[int, ...]
    candidates: tuple[tuple[int, ...], ...]

    @property
    def log(self) -> Ratings:
        """The training log."""
        return self.dataset.ratings

    def first(self, count: int) -> RankingTask:
        """The task for the first `count` users; all of them for 0 or more than there are."""
        count = min(count, len(self.users)) if count else len(self.users)
        return replace(
            self,
            users=self.users[:count],
            histories=self.histories[:count],
            truths=self.truths[:count],
            candidates=self.candidates[:count],
        )


def draw_task(dataset: Dataset, seed: int = 0, test_share: float = 0.2) -> RankingTask:
    """Draw a ranking task from ratings: each user's first liked held-out item, among nine they never rated.

    An item is liked if its rating is at least the user's mean in the training part; users without one are left out.
    The nine are drawn uniformly by (seed, user, item).

    Args:
        dataset: The data set; each user's latest ratings are held out, see `split_ratings`.
        seed: Seed of the candidates.
        test_share: Share of each user's ratings that is held out.

    Raises:
        ConfigError: No user has a liked item among the held-out ratings, or a user has rated nearly all items.
    """
    split = split_ratings(dataset.ratings, "temporal", test_share)
    known, later, everything = (log.by_user() for log in (split.train, split.test, dataset.ratings))
    rows: list[tuple[int, tuple[int, ...], int, tuple[int, ...]]] = []
    for user in range(dataset.ratings.num_users):
        stars = split.train.values[known[user]]
        liked = later[user][split.test.values[later[user]] >= stars.mean() - 1e-6] if len(stars) else later[user][:0]
        if not len(liked):
            continue
        truth = int(split.test.items[liked[0]])
        others = np.setdiff1d(np.arange(len(dataset.catalogue)), dataset.ratings.items[everything[user]])
        if len(others) < CANDIDATES - 1:
            raise ConfigError(
                f"{dataset.name}: user {dataset.people[user].raw_id} has rated all but {len(others)} items."
            )
        luck = uniforms(seed, Stream.DATA, user, others, _POOL)
        drawn = others[np.argsort(luck, kind="stable")[: CANDIDATES - 1]].tolist()
        rows.append((user, tuple(split.train.items[known[user]].tolist()), truth, (*drawn, truth)))
    if not rows:
        raise ConfigError(f"{dataset.name}: nobody has liked any of their later ratings, so there is nothing to find.")
    return RankingTask(replace(dataset, ratings=split.train), *map(tuple, zip(*rows, strict=True)))
