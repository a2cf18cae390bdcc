"""Values by which recommenders are ordered: the truth if it is known, a simulator's expectation, and nDCG.

Comparing the orders is done elsewhere (`ranking_measures`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from recsim_llm.agents.statistical.fitting import FitOptions, fit_biases
from recsim_llm.agents.user_model import UserModel
from recsim_llm.data import Dataset, Ratings, Split, load_dataset
from recsim_llm.data.worlds.synthetic import SyntheticWorld, named_world
from recsim_llm.errors import ConfigError, DataError
from recsim_llm.experiments.fidelity.fidelity_asking import ask_pairs
from recsim_llm.experiments.fidelity.ranking.ranking_measures import mean_shown, ndcg, shown_weights
from recsim_llm.experiments.fidelity.ranking.ranking_recommenders import LIKED
from recsim_llm.types import Bools, Floats

WAYS = ("truth", "simulator", "item_means", "offline", "offline_liked")


@dataclass(frozen=True)
class RankingProblem:
    """The task on which recommenders are judged.

    Attributes:
        candidates: (U, N) whether the item may be shown to the person.
        values: (U, N) true value of the item for the person.
        utility: What the value measures, in words.
        counts_watching: Whether the value is watching times stars, or stars alone.
    """

    candidates: Bools
    values: Floats
    utility: str
    counts_watching: bool


def load_known(dataset: str | Path | Dataset | SyntheticWorld) -> tuple[Dataset, SyntheticWorld | None]:
    """Return the data set, and the world behind it if it is invented.

    Raises:
        DataError: Neither a world nor ratings of randomly shown items.
    """
    if isinstance(dataset, SyntheticWorld):
        return dataset.dataset, dataset
    data = dataset if isinstance(dataset, Dataset) else load_dataset(dataset)
    world = named_world(data.name)
    if world is not None and world.dataset.checksum == data.checksum:
        return data, world
    if data.random_ratings is None or not len(data.random_ratings):
        raise DataError(
            f"The truth of '{data.name}' is not known: it has no ratings of items shown at random. Use a synthetic "
            "world (its name, or what make_world returned), the Coat folder, or a folder with random_ratings.csv."
        )
    return data, None


def task_of_world(world: SyntheticWorld, k: int) -> RankingProblem:
    """Candidates: all items that a person has not rated. Values: exact watch probability times expected stars."""
    truth, log = world.truth, world.dataset.ratings
    values = truth.watch_probabilities() * truth.expected_ratings(truth.scores())
    return RankingProblem(_unrated(log), values, f"expected stars of what is watched, an item of a page of {k}", True)


def task_of_random(data: Dataset, k: int) -> RankingProblem:
    """Candidates: the items shown to a person at random and not chosen before. Values: their real stars."""
    random = data.random_ratings
    assert random is not None
    stars = random.matrix().toarray().astype(np.float64)
    # In Coat, ratings of what a person had chosen before stand in both files.
    candidates = (stars > 0) & _unrated(data.ratings)
    return RankingProblem(
        candidates, stars, f"mean stars of the first {k} of what each person was shown at random", False
    )


def _unrated(log: Ratings) -> Bools:
    unrated: Bools = np.ones((log.num_users, log.num_items), dtype=np.bool_)
    unrated[log.users, log.items] = False
    return unrated


def check_fits(users: UserModel, data: Dataset) -> None:
    """Refuse a simulator of other people or items.

    Raises:
        ConfigError: The simulator has other people or items.
    """
    have, want = (users.num_users, users.num_items), (len(data.people), len(data.catalogue))
    if have != want:
        raise ConfigError(
            f"The simulator has {have[0]} users and {have[1]} items, data set '{data.name}' {want[0]} and {want[1]}. "
            "Fit it to this data set."
        )


def shown_tables(
    task: RankingProblem,
    scores: Sequence[Floats],
    users: UserModel,
    train: Ratings,
    k: int,
    progress: Callable[[int], object] = lambda _: None,
) -> dict[str, Floats]:
    """(U, S) mean value of the k candidates that each recommender puts first: in truth, simulated, by item means.

    Args:
        task: Candidates and their true values.
        scores: (U, N) scores of each recommender.
        users: The simulator.
        train: The training log, for item means.
        k: Number of items shown.
        progress: See `ask_pairs`.
    """
    shown = [shown_weights(one, task.candidates, np.ones(k)) for one in scores]
    expected = {
        "truth": task.values,
        "simulator": _ask(task, np.any([weights > 0 for weights in shown], axis=0), users, progress),
        "item_means": _item_means(task, train),
    }
    return {way: np.stack([mean_shown(w, values) for w in shown], axis=1) for way, values in expected.items()}


def _ask(task: RankingProblem, wanted: Bools, users: UserModel, progress: Callable[[int], object]) -> Floats:
    """(U, N) value that the simulator expects for each wanted pair, 0 elsewhere; expectations, not draws."""
    pairs = np.nonzero(wanted)
    answers = ask_pairs(users, [(pairs[0], pairs[1])], progress)
    rows = answers.rows(pairs[0], pairs[1])
    stars = answers.rating[rows] @ users.rating_levels
    expected: Floats = np.zeros(wanted.shape)
    expected[pairs] = answers.watch[rows] * stars if task.counts_watching else stars
    return expected


def _item_means(task: RankingProblem, train: Ratings) -> Floats:
    """(U, N) value that a simulator without persons expects."""
    mean, _, item_bias = fit_biases(train, FitOptions())
    share = np.bincount(train.items, minlength=train.num_items) / train.num_users
    expected = (mean + item_bias) * (share if task.counts_watching else 1.0)
    return np.repeat(expected[None, :], train.num_users, axis=0)


def offline_tables(split: Split, data: Dataset, scores: Sequence[Floats], k: int) -> dict[str, Floats]:
    """(U, S) nDCG@k on the held-out part of the log, among the items that are not in the training log.

    Args:
        split: The split log.
        data: The data set; its highest rating level is used.
        scores: (U, N) scores of each recommender.
        k: Length of the list.
    """
    held, discounts = split.test.matrix().toarray(), 1.0 / np.log2(np.arange(2, k + 2))
    shown = [shown_weights(one, _unrated(split.train), discounts) for one in scores]
    relevant = {"offline": held > 0, "offline_liked": held >= LIKED * data.rating_levels[-1]}
    return {
        way: np.stack([ndcg(weights, gains.astype(np.float64), discounts) for weights in shown], axis=1)
        for way, gains in relevant.items()
    }
