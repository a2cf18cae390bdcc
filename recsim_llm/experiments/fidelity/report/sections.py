"""The sections of a certificate: measures of a simulator beside the same measures of the baselines, judged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from recsim_llm.agents.statistical.fitting import fit_thresholds
from recsim_llm.certificate import Metric
from recsim_llm.experiments.fidelity.certificate_gates import judged
from recsim_llm.experiments.fidelity.held_out_rows import NEGATIVES, RATIOS, Cases, RatingRows
from recsim_llm.experiments.fidelity.measures.baselines import Baselines
from recsim_llm.experiments.fidelity.measures.choice_measures import (
    best_threshold,
    choice_measures,
    deciles,
    share_ceiling,
    share_measure,
    share_per_user,
    shares,
    slot_curve,
    slot_measure,
)
from recsim_llm.experiments.fidelity.measures.incremental import increment
from recsim_llm.experiments.fidelity.measures.measures import Measure
from recsim_llm.experiments.fidelity.measures.rating_measures import (
    Predictions,
    histograms,
    human_ceilings,
    point_predictions,
    rating_measures,
    reliability,
    sample_measures,
    user_means,
)
from recsim_llm.types import Floats, Ints

PERFECT = {
    "rps": 0.0, "rps_skill": 1.0, "log_loss": 0.0, "brier": 0.0, "ece": 0.0, "auc_like": 1.0, "rmse_mean": 0.0,
    "mae_mean": 0.0, "pairwise_order": 1.0, "sampled_rmse": 0.0,
}  # fmt: skip
"""Ceilings where the human level is unknown (no data set here was rated twice): the best possible value."""
_FOLDS = 5
_FLOOR, _BAR = "constant", "bias model"
_SAMPLED = ("sampled_rmse", "rating_sd_ratio", "between_user_variance_ratio", "log_loss", "rps", "rps_skill", "brier")


@dataclass
class Findings:
    """Collects the metrics, baselines and curves of one certificate; sections add to it.

    Attributes:
        resamples: (T, U) bootstrap weights of the people.
        metrics, baselines, curves: As in `Certificate`.
    """

    resamples: Floats
    metrics: dict[str, Metric] = field(default_factory=dict)
    baselines: dict[str, dict[str, float | None]] = field(default_factory=dict)
    curves: dict[str, dict[str, list[Any]]] = field(default_factory=dict)

    def add(
        self,
        name: str,
        measure: Measure,
        floor: float | None = None,
        bar: float | None = None,
        ceiling: float | None = None,
    ) -> None:
        """Judge a measure against its references."""
        low, high = measure.interval(self.resamples)
        value, low_, high_ = (_number(x) for x in (measure.value, low, high))
        references = _number(floor), _number(bar), _number(ceiling)
        why = "" if value is None or low_ is not None else "fewer than two people add to it: there is no interval"
        self.metrics[name] = judged(name, Metric(value, low_, high_, *references, why=why))

    def given(self, name: str, value: float, low: float, high: float, floor: float | None = None) -> None:
        """Judge a number that comes with its own interval."""
        self.metrics[name] = judged(name, Metric(_number(value), _number(low), _number(high), floor))

    def missing(self, name: str, why: str) -> None:
        """Record that a metric could not be measured, and why."""
        self.metrics[name] = judged(name, Metric(None, why=why))

    def baseline(self, baseline: str, metric: str, value: float) -> None:
        """Record a baseline's value of a metric."""
        self.baselines.setdefault(baseline, {})[metric] = _number(value)

    def reference(self, baseline: str, metric: str) -> float | None:
        """A baseline's recorded value; None if it was not measured."""
        return self.baselines.get(baseline, {}).get(metric)


@dataclass(frozen=True)
class RatingContext:
    """The data that predicted ratings are compared with.

    Attributes:
        rows: Held-out ratings of the people who are measured; users as 0..U-1.
        ids: (U,) their ids.
        tuning: Held-out ratings of other people, to fit the conversion of baselines' stars into distributions; None:
            the conversion is cross-fitted over the people who are measured.
        histogram: (R,) distribution of the training ratings.
        rating_levels: (R,) stars.
        baselines: Fitted to the training log.
    """

    rows: RatingRows
    ids: Ints
    tuning: RatingRows | None
    histogram: Floats
    rating_levels: Floats
    baselines: Baselines


def add_ratings(
    findings: Findings, simulated: Predictions, context: RatingContext, given: Predictions | None = None
) -> None:
    """Add the measures of predicted ratings, with all baselines on the same rows.

    Args:
        findings: Findings to add to.
        simulated: Distributions.
        context: The data to compare with.
        given: For single predicted ratings, of which `simulated` are the linked distributions: the ratings as given.
            The population's measures are of these, and calibration is not measured: a link fitted to true ratings has
            their histogram and spread, and is calibrated, whatever was predicted, a constant included.
    """
    for name, predictions in baseline_predictions(context).items():
        for metric, measure in rating_measures(predictions, context.histogram).items():
            findings.baseline(name, metric, measure.value)
    ceilings = PERFECT | human_ceilings(simulated)
    measures = rating_measures(simulated, context.histogram)
    if given is not None:
        measures |= sample_measures(given)
        del measures["ece"], measures["sampled_rmse"]
        findings.missing("ece", "single predicted ratings; the link to distributions is calibrated by itself")
        findings.missing("sampled_rmse", "nothing is drawn from single predicted ratings")
    for name, measure in measures.items():
        # A constant's rounded ratings have no spread: the fair trivial model of a sample is the histogram.
        floor = "histogram sampler" if name in _SAMPLED else _FLOOR
        references = findings.reference(floor, name), findings.reference(_BAR, name)
        findings.add(name, measure, *references, ceilings.get(name))
    if given is None:
        findings.curves["reliability"] = reliability(simulated)
    findings.curves |= {
        "rating_histogram": histograms(given or simulated),
        "user_means": user_means(given or simulated),
    }


def baseline_predictions(context: RatingContext) -> dict[str, Predictions]:
    """Each baseline as a distribution: an ordered logit over its stars, fitted on the people used for tuning."""
    rows, levels, tuning = context.rows, context.rating_levels, context.tuning
    users, count = context.ids[rows.users], len(context.ids)
    out = {}
    for name, score in context.baselines.stars.items():
        stars = score(users, rows.items)
        if name == _FLOOR:
            out[name] = point_predictions(rows.users, rows.items, rows.levels, stars, levels, count)
            continue
        if tuning is None:
            pmf = cross_linked(rows.users, stars, rows.levels, levels)
        else:
            pmf = _ordered(stars, *fit_thresholds(score(tuning.users, tuning.items), levels[tuning.levels], levels))
        out[name] = Predictions(rows.users, rows.items, rows.levels, pmf, stars, levels, count)
    pmf = np.tile(context.histogram, (len(rows), 1))
    mean = pmf @ levels
    out["histogram sampler"] = Predictions(rows.users, rows.items, rows.levels, pmf, mean, levels, count)
    return out


def cross_linked(users: Ints, stars: Floats, true_levels: Ints, rating_levels: Floats) -> Floats:
    """(M, R) distributions: an ordered logit over predicted stars; no person's rows take part in fitting their own.

    Args:
        users: (M,) 0..U-1; user u is in fold u mod 5.
        stars: (M,) predictions.
        true_levels: (M,) index of the true level.
        rating_levels: (R,) stars.
    """
    pmf = np.zeros((len(users), len(rating_levels)))
    fold = users % _FOLDS
    for one in np.unique(fold):
        mine, rest = fold == one, fold != one
        if not rest.any():  # one fold only: nobody is left to fit on
            rest = mine
        pmf[mine] = _ordered(stars[mine], *fit_thresholds(stars[rest], rating_levels[true_levels[rest]], rating_levels))
    return pmf


def _ordered(stars: Floats, thresholds: Floats, scale: float) -> Floats:
    with np.errstate(over="ignore"):  # whoever knows the answers gets a spread of nearly 0
        cumulative = 1.0 / (1.0 + np.exp(-(thresholds - stars[:, None]) / scale))
    padded = np.pad(cumulative, ((0, 0), (1, 1)), constant_values=((0, 0), (0.0, 1.0)))
    return np.diff(padded, axis=1)


@dataclass(frozen=True)
class ChoiceContext:
    """The data that choices are compared with.

    Attributes:
        cases: Questions to the people who are measured; users as 0..U-1.
        ids: (U,) their ids.
        tuning: Questions to other people, to set thresholds; users as ids.
        baselines: Fitted to the training log.
        popularity: (N,) training ratings of each item.
        genres: (N, G) share of each genre in an item; G = 0 where items have none.
        genre_names: (G,).
    """

    cases: Cases
    ids: Ints
    tuning: Cases
    baselines: Baselines
    popularity: Floats
    genres: Floats
    genre_names: Sequence[str]


def add_choices(findings: Findings, chance: Floats, slots: Ints, tuning: Floats, context: ChoiceContext) -> None:
    """Add the discrimination tests, shares and the slot curve.

    Args:
        findings: Findings to add to.
        chance: (M,) the simulator's probability of watching, one per row of `context.cases`.
        slots: (M,) slot of the item on its page.
        tuning: Probability of watching for the rows of `context.tuning`.
        context: The data to compare with.
    """
    cases, ids = context.cases, context.ids
    scored = {"model": (chance, tuning), "slot only": (-slots.astype(np.float64), np.zeros(len(tuning)))}
    for name, score in context.baselines.choices.items():
        scored[name] = score(ids[cases.users], cases.items), score(context.tuning.users, context.tuning.items)
    for kind in NEGATIVES:
        _add_discrimination(findings, kind, scored, context)
    _add_shares(findings, chance, scored["ease"][0], context)
    findings.add(
        "slot_curve_gap", slot_measure(cases.users, chance, cases.label, slots, len(ids)), floor=1.0, ceiling=0.0
    )
    findings.curves["slots"] = slot_curve(chance, cases.label, slots)


def _add_discrimination(
    findings: Findings, kind: str, scored: Mapping[str, tuple[Floats, Floats]], context: ChoiceContext
) -> None:
    prefix = "discrimination" if kind == "uniform" else f"discrimination_{kind}"
    cases = context.cases
    curve: dict[str, list[float | None]] = {name: [] for name in ("model", "popularity", "ease", "genre profile")}
    for ratio in RATIOS:
        rows = cases.of(kind, ratio)
        tuned = context.tuning.of(kind, 1)
        for name, (scores, tuning) in sorted(scored.items(), key=lambda entry: entry[0] == "model"):
            threshold = best_threshold(tuning[tuned], context.tuning.label[tuned])
            found = choice_measures(cases.users[rows], scores[rows], cases.label[rows], len(context.ids), threshold)
            for measure, value in found.items():
                metric = f"{prefix}_1_{ratio}_{measure}"
                if name != "model":
                    findings.baseline(name, metric, value.value)
                    continue
                references = findings.reference("popularity", metric), findings.reference("ease", metric)
                findings.add(metric, value, *references, 1.0)
            if name in curve:
                curve[name].append(_number(found["auc"].value))
    findings.curves[prefix] = {"ratio": [f"1:{ratio}" for ratio in RATIOS], **curve}
    if kind == "popmatched":
        # The headline of the hardest test: the same number under its own name and gate.
        test, headline = "discrimination_popmatched_1_1_auc", "discrimination_popmatched_auc"
        findings.metrics[headline] = judged(headline, findings.metrics[test])
        for values in findings.baselines.values():
            if test in values:
                values[headline] = values[test]


def _add_shares(findings: Findings, chance: Floats, ease: Floats, context: ChoiceContext) -> None:
    """Add popularity and genres of the items taken up, at equal exposure of simulator and people (1:1 uniform test)."""
    cases, count = context.cases, len(context.ids)
    rows = cases.of("uniform", 1)
    users, items, label = cases.users[rows], cases.items[rows], cases.label[rows]
    everything, best = np.ones(len(rows)), _best_half(users, ease[rows])
    tenths = deciles(context.popularity)[items]
    groups = {"popularity": tenths}
    if context.genres.shape[1]:
        groups["genre"] = context.genres[items]
    for name, columns in groups.items():
        floor, bar = (share_measure(users, w, label, columns, count).value for w in (everything, best))
        measure = share_measure(users, chance[rows], label, columns, count)
        findings.add(f"{name}_jsd_bits", measure, floor, bar, share_ceiling(users, label, columns, count))
        findings.curves[f"{name}_shares"] = {
            "simulated": shares(chance[rows], columns),
            "real": shares(label, columns),
            "shown": shares(everything, columns),
        }
    findings.curves["popularity_shares"]["decile"] = list(range(1, tenths.shape[1] + 1))
    if "genre" not in groups:
        for name in ("genre_jsd_bits", "genre_user_jsd_bits"):
            findings.missing(name, "items have no genres")
        return
    findings.curves["genre_shares"]["genre"] = list(context.genre_names)
    floor, bar = (share_per_user(users, w, label, groups["genre"], count).value for w in (everything, best))
    measure = share_per_user(users, chance[rows], label, groups["genre"], count)
    findings.add("genre_user_jsd_bits", measure, floor, bar, 0.0)


def _best_half(users: Ints, scores: Floats) -> Floats:
    """1 for the better half of each person's rows."""
    order = np.lexsort((-scores, users))
    first = np.searchsorted(users[order], users[order])
    size = np.bincount(users)[users[order]]
    best = np.zeros(len(users))
    best[order] = np.arange(len(users)) - first < size / 2
    return best


def add_increment(
    findings: Findings, name: str, users: Ints, known: Floats, simulated: Floats, label: Floats, count: int
) -> None:
    """Add the simulator's gain over collaborative filtering; `name` is "incremental" or "incremental_watch"."""
    found = increment(users, known, simulated, label, count)
    if np.isnan(found.p):
        for part in ("log_loss", "p"):
            findings.missing(f"{name}_{part}", "too few people: nobody is left to fit on")
        return
    findings.add(f"{name}_log_loss", found.gain, 0.0)
    findings.metrics[f"{name}_p"] = judged(f"{name}_p", Metric(found.p, floor=1.0, ceiling=0.0))


def _number(value: float | None) -> float | None:
    return None if value is None or not np.isfinite(value) else float(value)
