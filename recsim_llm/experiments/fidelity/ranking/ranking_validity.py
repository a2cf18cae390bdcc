"""Measures whether a simulator orders recommenders as reality does, given randomly shown items or a known truth.

The same recommenders, fitted to a training log, are ordered by several values. *Truth*: with items shown at random,
each person's mean real stars of the k items that a recommender ranks first; random exposure makes them unbiased. In an
invented world, the exact expected stars of the items watched on a recommender's page. *Simulator*: the same quantity
for the same items, as expected by users fitted to the same training log. *Item means*: the same quantity, if everybody
found an item as good as people do on average: the floor of a simulator. *Offline*: nDCG on the held-out part of the
log, the usual practice today. Results: docs/ranking_validity.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from recsim_llm.agents.statistical.fitting import fit_statistical
from recsim_llm.agents.statistical.statistical_users import StatisticalUsers
from recsim_llm.agents.user_model import UserModel
from recsim_llm.data import Dataset, split_ratings
from recsim_llm.data.worlds.synthetic import SyntheticWorld
from recsim_llm.errors import ConfigError
from recsim_llm.experiments.fidelity.measures.measures import RESAMPLES, draw_resamples
from recsim_llm.experiments.fidelity.ranking.ranking_measures import (
    RankingEstimate,
    clear_pairs,
    estimate,
    half_tau,
    mean_of,
    pairs_right,
    regret,
    regret_share,
    tau_b,
)
from recsim_llm.experiments.fidelity.ranking.ranking_recommenders import CONTROL, FACTORS, Recommender, fit_recommenders
from recsim_llm.experiments.fidelity.ranking.ranking_ways import (
    WAYS,
    check_fits,
    load_known,
    offline_tables,
    shown_tables,
    task_of_random,
    task_of_world,
)
from recsim_llm.types import Bools, Floats

TOP = 4
"""k: a quarter of the 16 coats that each person was shown."""
MARGIN = 0.05
"""In stars: a smaller difference between recommenders does not matter in practice."""


@dataclass(frozen=True, slots=True)
class ValidityRow:
    """One recommender: means over people. `family` as in `ranking_recommenders`; the others as in `WAYS`."""

    name: str
    family: str
    truth: RankingEstimate
    simulator: RankingEstimate
    item_means: RankingEstimate
    offline: RankingEstimate
    offline_liked: RankingEstimate


@dataclass(frozen=True, slots=True)
class Agreement:
    """How well one way of ordering agrees with the truth.

    Attributes:
        tau: Kendall's tau-b, -1..1.
        regret: True value of the truly best recommender minus that of the one picked.
        regret_share: Regret as a share of the distance from the truly best to the truly worst.
        pairs_right: Share of clear pairs in the true order.
        tau_other_kinds: tau without factor models, the kind of model that statistical users themselves are.
        tau_serious: tau without random and deliberately bad recommenders, which are easy to tell apart.
    """

    tau: RankingEstimate
    regret: RankingEstimate
    regret_share: RankingEstimate
    pairs_right: RankingEstimate
    tau_other_kinds: RankingEstimate
    tau_serious: RankingEstimate


@dataclass(frozen=True, slots=True)
class RankingValidity:
    """Result of a ranking-validity measurement; every interval is over people, resampled for all orders together.

    Attributes:
        dataset: Its name.
        people: U.
        k: Items that a recommender shows.
        utility: The quantity whose mean is the value of truth and simulator.
        rows: The recommenders, the truly best first.
        simulator: Agreement of the simulator's order.
        item_means: Agreement of a simulator without persons: it orders by the mean stars of each item, in an invented
            world times the share of the people who have rated it.
        offline: Agreement of nDCG@k, where all held-out items are relevant.
        offline_liked: Agreement of nDCG@k, where held-out items with 4 of 5 stars or more are relevant.
        gain: tau of the simulator minus tau of `offline`.
        gain_liked: tau of the simulator minus tau of `offline_liked`.
        gain_persons: tau of the simulator minus tau of `item_means`: the value of knowing persons.
        half_truth: Mean tau between the true orders of two halves of the people: near the attainable maximum.
        clear: Number of clear pairs: true values more than `MARGIN` apart, the 95 % interval on one side of 0.
    """

    dataset: str
    people: int
    k: int
    utility: str
    rows: tuple[ValidityRow, ...]
    simulator: Agreement
    item_means: Agreement
    offline: Agreement
    offline_liked: Agreement
    gain: RankingEstimate
    gain_liked: RankingEstimate
    gain_persons: RankingEstimate
    half_truth: float
    clear: int

    @property
    def passes(self) -> bool:
        """The gate: the lower end of the simulator's tau lies above the tau of plain offline nDCG."""
        return self.simulator.tau.low > self.offline.tau.value

    @property
    def proven(self) -> bool:
        """Whether the whole interval of the gain over plain nDCG lies above 0, which is more than the gate asks."""
        return self.gain.low > 0.0

    def as_json(self) -> dict[str, Any]:
        """Return JSON values; an estimate is [value, low, high], null if undefined."""
        plain = _plain({**asdict(self), "passes": self.passes, "proven": self.proven})
        assert isinstance(plain, dict)
        return plain


def measure_ranking(
    dataset: str | Path | Dataset | SyntheticWorld = "synthetic",
    user_model: UserModel | None = None,
    k: int = TOP,
    seed: int = 0,
    resamples: int = RESAMPLES,
    progress: Callable[[int], object] = lambda _: None,
) -> RankingValidity:
    """Measure how well a simulator orders recommenders.

    A fifth of the log is held out as elsewhere (temporal if there are times, else random); recommenders and
    simulator are fitted to the rest, and only offline nDCG reads the held-out part.

    Args:
        dataset: An invented world, or a data set with ratings of randomly shown items; or the name or folder of one.
        user_model: The simulator, fitted to `load_source(dataset)`'s training log or less; default: statistical users.
            It is asked about each pair of person and item once, on pages of mixed items.
        k: Items that a recommender shows.
        seed: Seed of the split, the random recommender and the bootstrap.
        resamples: Bootstrap samples over people.
        progress: Called with the number of pairs that the simulator has answered since the previous call.

    Raises:
        DataError: The truth of this data set is unknown.
        ConfigError: `k` is not within 1..N, or the simulator is of other people or items.
        MissingExtraError: The package of a recommender is not installed.
    """
    data, world = load_known(dataset)
    if not 1 <= k <= len(data.catalogue):
        raise ConfigError(f"k must be within 1..{len(data.catalogue)} (the catalogue), not {k}.")
    split = split_ratings(data.ratings, "temporal" if data.ratings.times.any() else "random", seed=seed)
    task = task_of_world(world, k) if world else task_of_random(data, k)
    users = user_model or StatisticalUsers(
        fit_statistical(split.train, np.full(len(data.people), 2), data.rating_levels)
    )
    check_fits(users, data)
    recommenders = fit_recommenders(split.train, data.catalogue, data.rating_levels, seed)
    scores = [one.scores for one in recommenders]
    tables = {**shown_tables(task, scores, users, split.train, k, progress), **offline_tables(split, data, scores, k)}
    return compare(recommenders, tables, data.name, k, task.utility, seed, resamples)


def compare(
    recommenders: Sequence[Recommender],
    tables: Mapping[str, Floats],
    dataset: str = "",
    k: int = TOP,
    utility: str = "",
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> RankingValidity:
    """Compare given orders.

    Args:
        recommenders: S recommenders; their scores are not read.
        tables: (U, S) value of each recommender to each person, for each of `WAYS`; NaN if unknown.
        dataset: Stored in the result, as `k` and `utility` are.
        k: See `RankingValidity`.
        utility: See `RankingValidity`.
        seed: Seed of the bootstrap.
        resamples: Bootstrap samples over people.
    """
    truth = tables["truth"]
    weights = draw_resamples(len(truth), seed, resamples)
    clear = clear_pairs(truth, weights, MARGIN)
    means = {way: [estimate([tables[way][:, [s]]], mean_of, weights) for s in range(truth.shape[1])] for way in WAYS}
    best_first = np.argsort([-one.value for one in means["truth"]], kind="stable")
    return RankingValidity(
        dataset=dataset,
        people=len(truth),
        k=k,
        utility=utility,
        rows=tuple(
            ValidityRow(recommenders[s].name, recommenders[s].family, *(means[way][s] for way in WAYS))
            for s in best_first.tolist()
        ),
        **{way: _agreement(recommenders, truth, tables[way], clear, weights) for way in WAYS[1:]},
        gain=_gain(tables, "offline", weights),
        gain_liked=_gain(tables, "offline_liked", weights),
        gain_persons=_gain(tables, "item_means", weights),
        half_truth=half_tau(truth, seed),
        clear=int(clear.sum()),
    )


def ranking_table(found: RankingValidity) -> str:
    """Format the findings for a terminal of 105 columns."""
    lines = [f"{found.dataset}, {found.people} people, top {found.k}. Truth and simulator: {found.utility}.", ""]
    lines.append(f"{'recommender':<20}{''.join(f'{_HEADS[way]:>17}' for way in WAYS)}")
    lines += [f"{row.name:<20}{''.join(f'{_text(getattr(row, way)):>17}' for way in WAYS)}" for row in found.rows]
    lines += ["", f"{'agreement with truth':<25}{''.join(f'{_HEADS[way]:>20}' for way in WAYS[1:])}"]
    for name, label in _LABELS.items():
        values = [getattr(getattr(found, way), name) for way in WAYS[1:]]
        lines.append(f"{label:<25}{''.join(f'{_text(one):>20}' for one in values)}")
    gains = "".join(f"{_text(one):>20}" for one in (found.gain_persons, found.gain, found.gain_liked))
    lines.append(f"{'gain of the simulator':<45}{gains}")
    lines += ["", f"Clear pairs: {found.clear}. Half of the people against the others: tau {found.half_truth:.2f}."]
    lines.append(f"Gate, lower end of the simulator's tau above nDCG's tau: {'pass' if found.passes else 'FAIL'}.")
    lines += [] if found.proven else ["That the simulator's order is better than nDCG's is not proven."]
    lines += [] if found.gain_persons.low > 0.0 else ["That it is better than that of item means is not proven."]
    return "\n".join(lines)


_HEADS = {
    "truth": "truth",
    "simulator": "simulator",
    "item_means": "item means",
    "offline": "nDCG",
    "offline_liked": "nDCG of liked",
}
_LABELS = {
    "tau": "Kendall tau",
    "tau_other_kinds": "  without factor models",
    "tau_serious": "  without bad ones",
    "pairs_right": "clear pairs right",
    "regret": "regret of the pick",
    "regret_share": "  share of best to worst",
}


def _agreement(
    recommenders: Sequence[Recommender], truth: Floats, judged: Floats, clear: Bools, weights: Floats
) -> Agreement:
    families = np.array([one.family for one in recommenders])

    def tau(kept: Bools) -> RankingEstimate:
        return _in_range(estimate([truth[:, kept], judged[:, kept]], tau_b, weights), 1.0)

    return Agreement(
        tau(families == families),
        estimate([truth, judged], regret, weights),
        _in_range(estimate([truth, judged], regret_share, weights), 1.0),
        _in_range(estimate([truth, judged], lambda t, j: pairs_right(t, j, clear), weights), 1.0),
        tau(families != FACTORS),
        tau(families != CONTROL),
    )


def _gain(tables: Mapping[str, Floats], other: str, weights: Floats) -> RankingEstimate:
    """Tau of the simulator minus tau of another way, over the same people."""

    def difference(truth: Floats, simulator: Floats, judged: Floats) -> Floats:
        return tau_b(truth, simulator) - tau_b(truth, judged)

    return _in_range(estimate([tables["truth"], tables["simulator"], tables[other]], difference, weights), 2.0)


def _in_range(found: RankingEstimate, most: float) -> RankingEstimate:
    """Clip the ends of a shifted interval to the range of the number."""
    return RankingEstimate(found.value, max(found.low, -most), min(found.high, most))


def _text(one: RankingEstimate) -> str:
    return f"{one.value:.2f} [{one.low:.2f},{one.high:.2f}]"


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value
