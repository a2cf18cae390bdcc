"""Measures whether a tuned model tells items that people took up from others, next to scores from the same log."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import logit

from recsim_llm.data import Dataset
from recsim_llm.experiments.fidelity.held_out_rows import draw_cases, rating_rows
from recsim_llm.experiments.fidelity.measures.baselines import fit_baselines
from recsim_llm.experiments.fidelity.measures.incremental import increment
from recsim_llm.experiments.fidelity.measures.measures import draw_resamples, mean_of_users, within_user_auc
from recsim_llm.experiments.tuning.assessment.gain import FEWEST, Gain, gain_of
from recsim_llm.experiments.tuning.assessment.groups import Group
from recsim_llm.experiments.tuning.assessment.measure import TunedAnswers
from recsim_llm.experiments.tuning.lessons import Watches

POSITIVES = 5
"""Most taken-up items asked about per person, plus as many others: each costs an answer."""
_TINY = 1e-6
BASELINES = ("popularity", "genre profile", "ease")


@dataclass(frozen=True, slots=True)
class WatchFinding:
    """How well items that people rated are told from equally popular ones that they did not.

    Attributes:
        rows, people: Numbers of rows and people asked about.
        auc: For "tuned" and each baseline: (value, low, high), the mean area under the ROC curve within each person,
            with its 95 % interval over people. A baseline that the data set does not allow is left out.
        over_all: What the tuned model adds to all scores of the log together; None with fewer than 100 rows.
    """

    rows: int
    people: int
    auc: dict[str, tuple[float, float, float]]
    over_all: Gain | None


def draw_watches(data: Dataset, group: Group) -> Watches:
    """Draw up to `POSITIVES` of the group's items per person, and as many items that the person never rated.

    The latter are drawn in proportion to all ratings of an item, among the items that the group asks anybody about: if
    removed items are asked about, being a removed item gives nothing away.
    """
    people = np.unique(group.asked.users)
    rows = rating_rows(group.asked, people, data.rating_levels, POSITIVES)
    pool = data.ratings.take(np.isin(data.ratings.items, group.asked.items))
    cases = draw_cases(rows, data.ratings, pool)
    asked = cases.of("popmatched", 1)
    return Watches(cases.users[asked], cases.items[asked], cases.label[asked] > 0)


def watch_finding(data: Dataset, group: Group, answers: TunedAnswers) -> WatchFinding:
    """Measure answers about watching; baselines are fitted on the ratings told for the group."""
    people, users = np.unique(answers.users, return_inverse=True)
    label = (answers.levels == 0).astype(np.float64)
    chance = np.clip(answers.pmf[:, 0], _TINY, 1 - _TINY)
    fitted = fit_baselines(group.told, data.catalogue).choices
    scores = {name: score(answers.users, answers.items) for name, score in fitted.items()}
    scores["popularity"] = np.log1p(scores["popularity"])
    resamples, auc = draw_resamples(len(people)), {}
    for name, score in {"tuned": chance, **{n: scores[n] for n in BASELINES if n in scores}}.items():
        found = mean_of_users(within_user_auc(users, score, label, len(people)))
        auc[name] = (found.value, *found.interval(resamples))
    over_all = None
    if len(users) >= FEWEST:
        known = np.stack(list(scores.values()), axis=1)
        found_gain = increment(users, known, logit(chance)[:, None], label, len(people))
        over_all = gain_of(found_gain.gain, len(people), found_gain.p)
    return WatchFinding(len(users), len(people), auc, over_all)
