"""`python -m benchmarks.dorl_exits [DATASET ...]`: how well a learned similarity predicts exits of the task.

AUC of the distance that `dorl?exit=learned` learns for "too much alike" by the rule of the environment, beside genres
alone and random numbers, over 300,000 random pairs of items.
"""

from __future__ import annotations

import sys

import numpy as np
from numpy.typing import NDArray
from scipy.stats import mannwhitneyu

from recsim_llm.agents.long_term.long_term_population import make_long_term
from recsim_llm.agents.long_term.long_term_users import LongTermUsers
from recsim_llm.data.likeness import Likeness, unit
from recsim_llm.policies.rl.item_vectors import item_start
from recsim_llm.types import Bools

_PAIRS = 300_000


def line(dataset: str) -> str:
    """One data set."""
    population = make_long_term(dataset)
    assert isinstance(population.users, LongTermUsers)
    real, catalogue = population.users.likeness, population.dataset.catalogue
    rng, items = np.random.default_rng(0), len(catalogue)
    first = rng.integers(0, items, _PAIRS)
    pairs = first, (first + 1 + rng.integers(0, items - 1, _PAIRS)) % items
    learned = Likeness.nearest(item_start(population.log, catalogue, 32, 0, pretrained=True).likeness, 0.1)
    near, gaps = _gaps(real, pairs) < real.threshold, _gaps(learned, pairs)
    genres = unit(catalogue.genre_matrix.astype(np.float64))
    scores = {
        "learned": -gaps,
        "genres alone": (genres[pairs[0]] * genres[pairs[1]]).sum(axis=1),
        "random": rng.random(_PAIRS),
    }
    aucs = ", ".join(f"{name} {_auc(score, near):.3f}" for name, score in scores.items())
    return f"{dataset}: AUC {aucs}; of pairs that are too alike, learned says so of {_share(gaps, learned, near):.0%}"


def _gaps(likeness: Likeness, pairs: tuple[NDArray[np.int64], NDArray[np.int64]]) -> NDArray[np.float64]:
    return np.asarray(np.linalg.norm(likeness.vectors[pairs[0]] - likeness.vectors[pairs[1]], axis=1))


def _auc(score: NDArray[np.float64], truth: Bools) -> float:
    above = mannwhitneyu(score[truth], score[~truth]).statistic
    return float(above / (truth.sum() * (~truth).sum()))


def _share(gaps: NDArray[np.float64], likeness: Likeness, near: Bools) -> float:
    return float((gaps < likeness.threshold)[near].mean())


if __name__ == "__main__":
    for name in sys.argv[1:] or ["ml-100k", "synthetic", "synthetic:0:2000"]:
        print(line(name), flush=True)
