"""Scores of a tuned model's answers next to collaborative filtering and content, and its gains over both."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.special import logit

from recsim_llm.agents.fitted_sources import training_counts
from recsim_llm.agents.hybrid import calibration
from recsim_llm.agents.hybrid.cell_gates import GateOptions, cells_of
from recsim_llm.agents.hybrid.hybrid_users import fit_rating
from recsim_llm.agents.personas.persona import traits
from recsim_llm.agents.statistical.fitting import fit_statistical
from recsim_llm.agents.statistical.ordinal import shifted
from recsim_llm.agents.statistical.statistical_users import StatisticalParameters, rating_distribution
from recsim_llm.agents.statistical.statistical_users import scores as taste
from recsim_llm.data import Dataset, Ratings
from recsim_llm.experiments.fidelity.measures.baselines import fit_baselines
from recsim_llm.experiments.fidelity.measures.incremental import FOLDS, increment
from recsim_llm.experiments.fidelity.measures.measures import mean_of_rows
from recsim_llm.experiments.tuning.assessment.content import fit_content
from recsim_llm.experiments.tuning.assessment.gain import FEWEST, Gain, gain_of
from recsim_llm.experiments.tuning.assessment.groups import Group
from recsim_llm.experiments.tuning.assessment.measure import TunedAnswers, scores
from recsim_llm.seeding import Stream, uniforms
from recsim_llm.types import Floats

_TINY = 1e-6
_GENRES = "genre profile"


@dataclass(frozen=True, slots=True)
class Finding:
    """Findings on the ratings of a group.

    Attributes:
        group: Name of the group.
        ratings, people: Numbers of ratings and people asked about.
        scores: Scores (`measure.scores`) of "tuned", "cf", "content" and "hybrid".
        hybrid: Gain of the hybrid (`hybrid_users`) over collaborative filtering in log-loss of the rating, each fifth
            of the people predicted by weights learned on the others; p is NaN.
        over_cf, over_both: Gain of the tuned model over collaborative filtering, and over that plus content; None with
            fewer than 100 ratings.
    """

    group: str
    ratings: int
    people: int
    scores: dict[str, dict[str, float]]
    hybrid: Gain
    over_cf: Gain | None
    over_both: Gain | None


def finding(data: Dataset, group: Group, answers: TunedAnswers) -> Finding:
    """Measure a tuned model's answers about a group; the other models are fitted on the ratings told for the group."""
    pmfs = _distributions(data, group, answers)
    stars = np.array(data.rating_levels)
    liking = stars >= 0.8 * stars[-1]
    features = {name: _features(pmf, stars, liking) for name, pmf in pmfs.items()}
    filtering, genres = _baselines(data, group, answers)
    known = np.hstack([features["cf"], filtering])
    both = np.hstack([known, features["content"], genres])
    label = liking[answers.levels].astype(np.float64)
    people, users = np.unique(answers.users, return_inverse=True)
    enough = len(users) >= FEWEST
    gains = [
        gain_of(found.gain, len(people), found.p)
        for found in (increment(users, each, features["tuned"], label, len(people)) for each in (known, both) if enough)
    ]
    given = np.arange(len(users)), answers.levels
    # (M,) log-loss of collaborative filtering minus that of the hybrid, for the rating that was given.
    saved = np.log(np.maximum(pmfs["hybrid"][given], 1e-12)) - np.log(np.maximum(pmfs["cf"][given], 1e-12))
    return Finding(
        group.name,
        len(users),
        len(people),
        {name: scores(replace(answers, pmf=pmf), data.rating_levels) for name, pmf in pmfs.items()},
        gain_of(mean_of_rows(users, saved, len(people)), len(people)),
        *(gains or (None, None)),
    )


def _distributions(data: Dataset, group: Group, answers: TunedAnswers) -> dict[str, Floats]:
    """(M, R) prediction of each model; all but the tuned one use the thresholds of the statistical users."""
    told, users, items = group.told, answers.users, answers.items
    fitted = fit_statistical(told, traits(told, data.catalogue).activity, data.rating_levels)
    cf = _pmf(fitted, taste(fitted, users, items[:, None])[:, 0])
    content = _pmf(fitted, fit_content(told, data.catalogue).stars(users, items))
    return {"tuned": answers.pmf, "cf": cf, "content": content, "hybrid": _hybrid(fitted, told, answers, cf)}


def _baselines(data: Dataset, group: Group, answers: TunedAnswers) -> tuple[Floats, Floats]:
    """Stars by the certificate's baselines: (M, A) those without content, plus popularity; (M, B) the others."""
    told, users, items = group.told, answers.users, answers.items
    found = {name: score(users, items) for name, score in fit_baselines(told, data.catalogue).stars.items()}
    rated = np.log1p(np.bincount(told.items, minlength=told.num_items))[items]
    filtering = [stars for name, stars in found.items() if name not in ("constant", _GENRES)]
    genres = [stars for name, stars in found.items() if name == _GENRES]
    return np.stack([*filtering, rated], axis=1), np.array(genres).reshape(len(genres), len(users)).T


def _hybrid(fitted: StatisticalParameters, told: Ratings, answers: TunedAnswers, backbone: Floats) -> Floats:
    """(M, R) distributions of the hybrid; nobody is predicted by weights learned from them."""
    items, people = training_counts(told)
    options = GateOptions()
    asked = calibration.Answers(
        answers.users,
        answers.items,
        np.full(len(answers), 0.5),
        answers.pmf,
        np.ones(len(answers), dtype=np.bool_),
        answers.levels,
    )
    features = calibration.answer_features(asked.watch, asked.rating)
    cells = cells_of(items[answers.items], people[answers.users], options)
    # (M,): folds are drawn per person, not per row.
    folds = (uniforms(0, Stream.TUNING, 12, answers.users) * FOLDS).astype(np.int64)
    found = backbone.copy()
    for fold in np.unique(folds):
        out = folds == fold
        residual = fit_rating(fitted, asked.take(~out), items, people, options)
        added = residual(features[out], cells[out], items[answers.items[out]])
        found[out] = shifted(backbone[out], added)
    return found


def _pmf(fitted: StatisticalParameters, stars: Floats) -> Floats:
    return rating_distribution(fitted, stars[:, None])[:, 0]


def _features(pmf: Floats, stars: Floats, liking: Any) -> Floats:
    chance = np.clip(pmf[:, liking].sum(axis=1), _TINY, 1 - _TINY)
    return np.stack([logit(chance), pmf @ stars], axis=1)
