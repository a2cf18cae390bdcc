"""Does a simulator order recommenders as reality does? Needs ratings of items shown at random, or a known truth.

The same recommenders are put in three orders. *Truth*: on data with randomly shown items, the mean real rating of the k
items that a recommender puts first among those a person was shown; shown at random, these ratings are unbiased. In an
invented world, the exact expected stars of what is watched of its page of k. *Simulator*: the same quantity, answered
by users fitted to the training log alone. *Offline*: nDCG on a held-out fifth of the log, as is done today.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from recsim_llm.agents.answers import collect_answers
from recsim_llm.agents.fitting import fit_statistical
from recsim_llm.agents.persona import traits
from recsim_llm.agents.statistical import StatisticalUsers
from recsim_llm.agents.user_model import UserModel
from recsim_llm.data import Dataset, Ratings, load_dataset, split_ratings
from recsim_llm.data.synthetic import named_world
from recsim_llm.errors import ConfigError
from recsim_llm.experiments.fidelity.baselines import fit_baselines
from recsim_llm.experiments.fidelity.measures import RESAMPLES, draw_resamples
from recsim_llm.seeding import Stream, uniforms
from recsim_llm.types import Bools, Floats, Ints

TOP = 4
OFFLINE_TOP = 10
RATING_MODELS = ("svd of ratings", "genres of ratings")
"""Recommenders of the same kind as statistical users; orders are given without them too."""


@dataclass(frozen=True, slots=True)
class Row:
    """One recommender: mean over people, with 95 % intervals, in the three ways."""

    name: str
    truth: tuple[float, float, float]
    simulator: tuple[float, float, float]
    offline: tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Order:
    """How well one order of recommenders agrees with the truth's.

    Attributes:
        tau: Kendall's tau with its interval.
        regret: What the truth's best is worth more than this order's best, in the truth's units, with its interval.
        regret_share: The regret as a share of the distance from the truth's worst to its best.
    """

    tau: tuple[float, float, float]
    regret: tuple[float, float, float]
    regret_share: float


@dataclass(frozen=True, slots=True)
class RankingValidity:
    """What was found.

    Attributes:
        dataset: Its name.
        users: People.
        top: k.
        unit: Of truth and simulator.
        rows: The recommenders, the truth's best first.
        simulator, offline: The two orders.
        difference: tau of the simulator less tau of offline nDCG, with its interval.
        without_own_kind: tau of the simulator and of nDCG without recommenders of the simulator's own kind.
    """

    dataset: str
    users: int
    top: int
    unit: str
    rows: tuple[Row, ...]
    simulator: Order
    offline: Order
    difference: tuple[float, float, float]
    without_own_kind: tuple[float, float]

    def as_json(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self)


def measure_ranking(
    dataset: str | Dataset,
    users: UserModel | None = None,
    top: int = TOP,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> RankingValidity:
    """Compare the orders.

    Args:
        dataset: "synthetic" and the like, or a data set with ratings of randomly shown items.
        users: The simulator; default: statistical users fitted to the log. It must not know the random ratings.
        top: k.
        seed: Of the random recommender, the offline split and the bootstrap.
        resamples: Bootstrap samples over people.

    Raises:
        ConfigError: The data set has neither.
    """
    data = load_dataset(dataset) if isinstance(dataset, str) else dataset
    world = named_world(data.name)
    if world is None and data.random_ratings is None:
        raise ConfigError(f"'{data.name}' has no ratings of randomly shown items, and nobody knows its truth.")
    log = data.ratings
    model = users or StatisticalUsers(fit_statistical(log, traits(log, data.catalogue).activity, data.rating_levels))
    scores = recommenders(log, data, seed)
    if world is not None:
        truth, simulated = _in_world(data, scores, model, top, world.truth.watch_probabilities(), _expected(world))
        unit = f"expected stars of what is watched of a page of {top}"
    else:
        assert data.random_ratings is not None
        truth, simulated = _on_random(data.random_ratings, scores, model, top)
        unit = f"mean stars of the best {top} of the items a person was shown at random"
    return compare(data.name, list(scores), truth, simulated, _offline(data, seed), unit, top, seed, resamples)


def recommenders(log: Ratings, data: Dataset, seed: int = 0) -> dict[str, Floats]:
    """(U, N) scores of each recommender, fitted to a log."""
    U, N = log.num_users, log.num_items
    fitted = fit_baselines(log, data.catalogue)
    everybody, everything = np.repeat(np.arange(U), N), np.tile(np.arange(N), U)
    wanted = {"svd of ratings": fitted.stars["svd"]} | {
        name: fitted.choices[name] for name in ("popularity", "item mean", "item-knn", "svd", "ease")
    }
    if "genre profile" in fitted.stars:
        wanted |= {"genre profile": fitted.choices["genre profile"], "genres of ratings": fitted.stars["genre profile"]}
    scores = {name: score(everybody, everything).reshape(U, N) for name, score in wanted.items()}
    scores["random"] = uniforms(seed, Stream.POLICY, np.arange(U)[:, None], np.arange(N))
    scores["least popular"], scores["worst rated"] = -scores["popularity"], -scores["item mean"]
    return scores


def compare(
    dataset: str,
    names: Sequence[str],
    truth: Floats,
    simulated: Floats,
    offline: Floats,
    unit: str = "",
    top: int = TOP,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> RankingValidity:
    """Compare orders of S recommenders from (U, S) values of people in each of the three ways; NaN: no value."""
    weights = draw_resamples(len(truth), seed, resamples)
    means = {kind: _means(values, weights) for kind, values in (("t", truth), ("s", simulated), ("o", offline))}
    best_first = np.argsort(-means["t"][0][0], kind="stable")
    rows = tuple(
        Row(names[i], *(_band(means[kind][0][0, i], means[kind][1][:, i]) for kind in "tso"))
        for i in best_first.tolist()
    )
    taus = {kind: [_tau(means["t"][part], means[kind][part]) for part in (0, 1)] for kind in "so"}
    difference = _band(float((taus["s"][0] - taus["o"][0])[0]), taus["s"][1] - taus["o"][1])
    others = np.array([name not in RATING_MODELS for name in names])
    alone = tuple(float(_tau(means["t"][0][:, others], means[kind][0][:, others])[0]) for kind in "so")
    orders = [_order(means["t"], means[kind], taus[kind]) for kind in "so"]
    return RankingValidity(dataset, len(truth), top, unit, rows, orders[0], orders[1], difference, (alone[0], alone[1]))


def ranking_table(found: RankingValidity) -> str:
    """The findings, for a terminal."""
    head = f"{'recommender':<18} {'truth':>22} {'simulator':>22} {'offline nDCG':>22}"
    lines = [f"{found.dataset}, {found.users} people. Truth and simulator: {found.unit}.", "", head]
    lines += [
        f"{row.name:<18} {_text(row.truth):>22} {_text(row.simulator):>22} {_text(row.offline):>22}"
        for row in found.rows
    ]
    lines += ["", f"{'':<18} {'simulator':>22} {'offline nDCG':>22}"]
    lines.append(f"{'Kendall tau':<18} {_text(found.simulator.tau):>22} {_text(found.offline.tau):>22}")
    lines.append(f"{'top-1 regret':<18} {_text(found.simulator.regret):>22} {_text(found.offline.regret):>22}")
    shares = (found.simulator.regret_share, found.offline.regret_share)
    lines.append(f"{'  of the spread':<18} {shares[0]:>22.1%} {shares[1]:>22.1%}")
    lines.append(f"{'tau, other kinds':<18} {found.without_own_kind[0]:>22.3f} {found.without_own_kind[1]:>22.3f}")
    better = "pass" if found.simulator.tau[1] > found.offline.tau[0] else "FAIL"
    lines.append(f"\nSimulator's tau less nDCG's: {_text(found.difference)}.")
    lines.append(f"Gate, lower end of the simulator's tau above nDCG's tau: {better}.")
    return "\n".join(lines)


def _in_world(
    data: Dataset, scores: Mapping[str, Floats], model: UserModel, top: int, watch: Floats, stars: Floats
) -> tuple[Floats, Floats]:
    """(U, S) true and simulated utility of everybody's page, from all items that they have not rated."""
    known = data.ratings.matrix().toarray() > 0
    pages = [np.argsort(-np.where(known, -np.inf, score), axis=1, kind="stable")[:, :top] for score in scores.values()]
    truth = [np.take_along_axis(watch * stars, page, axis=1).sum(axis=1) for page in pages]
    asked = _ask(model, pages)
    simulated = [np.take_along_axis(asked[0] * asked[1], page, axis=1).sum(axis=1) for page in pages]
    return np.stack(truth, axis=1), np.stack(simulated, axis=1)


def _on_random(random: Ratings, scores: Mapping[str, Floats], model: UserModel, top: int) -> tuple[Floats, Floats]:
    """(U, S) mean true and simulated stars of the best of what each person was shown at random."""
    shown = random.matrix().toarray()
    short = (shown > 0).sum(axis=1) < top
    pages = [
        np.argsort(-np.where(shown > 0, score, -np.inf), axis=1, kind="stable")[:, :top] for score in scores.values()
    ]
    expected = _ask(model, pages)[1]
    values = []
    for source in (shown, expected):
        means = np.stack([np.take_along_axis(source, page, axis=1).mean(axis=1) for page in pages], axis=1)
        values.append(np.where(short[:, None], np.nan, means))
    return values[0], values[1]


def _ask(model: UserModel, pages: Sequence[Ints]) -> tuple[Floats, Floats]:
    """(U, N) probability of watching and expected stars, 0 where not on any page."""
    wanted: Bools = np.zeros((model.num_users, model.num_items), dtype=np.bool_)
    for page in pages:
        np.put_along_axis(wanted, page, True, axis=1)
    users, items = np.nonzero(wanted)
    answers = collect_answers(model, users, items)
    watch, stars = np.zeros(wanted.shape), np.zeros(wanted.shape)
    watch[users, items], stars[users, items] = answers.watch, answers.rating @ model.rating_levels
    return watch, stars


def _offline(data: Dataset, seed: int) -> Floats:
    """(U, S) nDCG@10 of recommenders refitted without a random fifth of the log, whose items are the relevant ones."""
    split = split_ratings(data.ratings, "random", 0.2, seed)
    known, held = split.train.matrix().toarray() > 0, split.test.matrix().toarray() > 0
    discounts = 1.0 / np.log2(np.arange(2, OFFLINE_TOP + 2))
    ideal = discounts.cumsum()[np.clip(held.sum(axis=1), 1, OFFLINE_TOP) - 1]
    columns = []
    for score in recommenders(split.train, data, seed).values():
        best = np.argsort(-np.where(known, -np.inf, score), axis=1, kind="stable")[:, :OFFLINE_TOP]
        gain = (np.take_along_axis(held, best, axis=1) * discounts).sum(axis=1) / ideal
        columns.append(np.where(held.any(axis=1), gain, np.nan))
    return np.stack(columns, axis=1)


def _expected(world: Any) -> Floats:
    stars: Floats = world.truth.expected_ratings(world.truth.scores())
    return stars


def _means(values: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """(1, S) means over people, and (T, S) those of bootstrap samples."""
    known = ~np.isnan(values)
    sums, counts = np.where(known, values, 0.0), known.astype(np.float64)
    return (sums.sum(axis=0) / counts.sum(axis=0))[None], (weights @ sums) / (weights @ counts)


def _tau(truth: Floats, other: Floats) -> Floats:
    """(T,) Kendall's tau-b between rows of (T, S) values."""
    i, j = np.triu_indices(truth.shape[1], 1)
    a, b = (np.sign(values[:, i] - values[:, j]) for values in (truth, other))
    tau: Floats = (a * b).sum(axis=1) / np.sqrt(np.maximum(np.abs(a).sum(axis=1) * np.abs(b).sum(axis=1), 1.0))
    return tau


def _order(truth: tuple[Floats, Floats], other: tuple[Floats, Floats], taus: Sequence[Floats]) -> Order:
    regrets = []
    for true, said in zip(truth, other, strict=True):
        picked = np.take_along_axis(true, said.argmax(axis=1)[:, None], axis=1)[:, 0]
        regrets.append(true.max(axis=1) - picked)
    spread = float(truth[0].max() - truth[0].min())
    regret = _band(float(regrets[0][0]), regrets[1])
    return Order(_band(float(taus[0][0]), taus[1]), regret, regret[0] / spread if spread else 0.0)


def _band(value: float, resampled: Floats) -> tuple[float, float, float]:
    low, high = np.quantile(resampled, [0.025, 0.975])
    return float(value), float(low), float(high)


def _text(band: tuple[float, float, float]) -> str:
    return f"{band[0]:.3f} [{band[1]:.3f}, {band[2]:.3f}]"
