"""Comparison of rankers on ten candidates: NDCG with standard errors, and checks for leaks in the data.

NDCG with tied scores is the mean over all orders of the ties: a ranker that knows nothing gets exactly chance.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from recsim_llm.data.formats.ranking_task import CANDIDATES, RankingTask
from recsim_llm.errors import MissingExtraError
from recsim_llm.policies import make_policy
from recsim_llm.policies.ranking import RankingPolicy
from recsim_llm.policies.sparse_rows import history_rows, logged_rows, ones
from recsim_llm.types import EMPTY, Floats, Observation

CUTS = (1, 5, 10)
POLICIES = ("bm25", "bpr", "sasrec")


@dataclass(frozen=True, slots=True)
class RankingRow:
    """The result of one ranker.

    Attributes:
        name: Name of the ranker.
        users: How many users it ranked for.
        ndcg: Mean NDCG at each of `CUTS`; empty where it could not run.
        errors: Standard errors of the means over users: standard deviation / sqrt(users).
        left_out: Why it could not run; "" where it did.
    """

    name: str
    users: int
    ndcg: tuple[float, ...] = ()
    errors: tuple[float, ...] = ()
    left_out: str = ""


def row_of(name: str, scores: Floats) -> RankingRow:
    """A row from (U, C) scores, the truth in the last column."""
    gains = [ndcg(scores, cut) for cut in CUTS]
    size = len(scores)
    errors = tuple(float(gain.std(ddof=1) / np.sqrt(size)) if size > 1 else float("nan") for gain in gains)
    return RankingRow(name, size, tuple(float(gain.mean()) for gain in gains), errors)


def ndcg(scores: Floats, cut: int) -> Floats:
    """(U,) NDCG@cut of (U, C) scores whose last column is the truth; ties are averaged over their orders.

    >>> ndcg(np.array([[3.0, 2.0, 1.0], [1.0, 1.0, 1.0]]), 1).round(3).tolist()
    [0.0, 0.333]
    """
    truth = scores[:, -1:]
    above, equal = (scores > truth).sum(axis=1), (scores == truth).sum(axis=1)
    places = np.arange(scores.shape[1])
    sums = np.concatenate([[0.0], np.cumsum(np.where(places < cut, 1.0 / np.log2(places + 2.0), 0.0))])
    result: Floats = (sums[above + equal] - sums[above]) / equal
    return result


def rivals(task: RankingTask, seed: int = 0) -> Iterator[RankingRow]:
    """Rankers that ask no language model, the cheapest first.

    Inverse popularity is among them because it must not win: if it does, the true items are those that nobody took in
    training, and any ranker that recognises an untrained item finds them.
    """
    counts = np.bincount(task.log.items, minlength=task.log.num_items).astype(np.float64)
    popular = counts[np.array(task.candidates)]
    yield row_of("random (exact)", np.zeros((len(task.users), CANDIDATES)))
    yield row_of("popularity", popular)
    yield row_of("inverse popularity", -popular)
    for name in POLICIES:
        try:
            yield row_of(name, policy_scores(task, name, seed))
        except MissingExtraError as missing:
            yield RankingRow(name, len(task.users), left_out=str(missing))


def policy_scores(task: RankingTask, name: str, seed: int) -> Floats:
    """(U, C) scores of the candidates by a policy of the package, fitted on the training log."""
    policy = make_policy(name, task.log, task.dataset.catalogue, CANDIDATES, seed)
    assert isinstance(policy, RankingPolicy)
    observation = _observation(task)
    had = history_rows(observation, observation["history_mask"] > 0, task.log.num_items)
    taste = ones(logged_rows(policy.liked, observation["user"][:, 0]) + had)
    scores = np.asarray(policy.scores(observation, taste), dtype=np.float64)
    return np.take_along_axis(scores, np.array(task.candidates), axis=1)


def _observation(task: RankingTask) -> Observation:
    """What a platform knows about each user: the history, with every item in it liked."""
    width = max(len(history) for history in task.histories)
    items = np.full((len(task.users), width), EMPTY, dtype=np.int64)
    for row, history in enumerate(task.histories):
        items[row, width - len(history) :] = history
    real = items != EMPTY
    return {
        "user": np.array(task.users, dtype=np.int64)[:, None],
        "page": np.zeros((len(items), 1), dtype=np.int64),
        "history_items": items,
        "history_ratings": np.where(real, task.dataset.rating_levels[-1], 0.0).astype(np.float32),
        "history_mask": real.astype(np.int8),
    }


def scores_of_orders(task: RankingTask, orders: Sequence[Sequence[int]]) -> Floats:
    """(U, C) scores from each user's candidates, best first."""
    rows = [[-list(order).index(item) for item in row] for order, row in zip(orders, task.candidates, strict=True)]
    return np.array(rows, dtype=np.float64)


def unseen_shares(task: RankingTask) -> tuple[float, float]:
    """Share of the truths, and of the other candidates, that never occur in the training log."""
    unseen = np.bincount(task.log.items, minlength=task.log.num_items)[np.array(task.candidates)] == 0
    return float(unseen[:, -1].mean()), float(unseen[:, :-1].mean())


def ranking_table(rows: Sequence[RankingRow]) -> str:
    """Format the rows as a text table."""
    head = "NDCG, mean ± standard error over users"
    width = 2 + max(len(name) for name in (head, *(row.name for row in rows)))
    lines = [f"{head:<{width}}" + "".join(f"{f'@{cut}':<16}" for cut in CUTS) + "users"]
    for row in rows:
        if row.left_out:
            lines.append(f"{row.name:<{width}}left out: {row.left_out}")
            continue
        cells = [f"{mean:.3f} ± {error:.3f}" for mean, error in zip(row.ndcg, row.errors, strict=True)]
        lines.append(f"{row.name:<{width}}" + "".join(f"{cell:<16}" for cell in cells) + str(row.users))
    return "\n".join(lines)


def warning_of(task: RankingTask, rows: Sequence[RankingRow]) -> str:
    """A sentence on what the data leak; "" if nothing."""
    by_name = {row.name: row for row in rows}
    truths, others = unseen_shares(task)
    said = f"{truths:.0%} of the true items and {others:.0%} of the others never occur in training."
    inverse, best = by_name["inverse popularity"], max(row.ndcg[-1] for row in rows if row.ndcg)
    if inverse.ndcg[-1] < best and truths <= 2 * others:
        return said
    return (
        f"{said} Inverse popularity reaches {inverse.ndcg[-1]:.3f} at 10 without knowing anybody: whatever notices "
        "that an item was never trained on finds the truth here. Compare nothing without that row."
    )
