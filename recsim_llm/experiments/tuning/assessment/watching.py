"""Whether a tuned model tells what people took up from what they did not, beside scores of the same log."""

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
"""Items that a person took up and is asked about at most, with as many that they did not: each costs an answer."""
_TINY = 1e-6
BASELINES = ("popularity", "genre profile", "ease")


@dataclass(frozen=True, slots=True)
class WatchFinding:
    """How well items that people rated are told from equally popular ones that they did not.

    Attributes:
        rows, people: How many are asked about.
        auc: Of "tuned" and of each baseline: (value, low, high), the mean of the area under the ROC curve within each
            person, with its 95 % interval over people. A baseline that the data set does not allow is left out.
        over_all: What the tuned model adds to all scores of the log together; None with fewer than 100 rows.
    """

    rows: int
    people: int
    auc: dict[str, tuple[float, float, float]]
    over_all: Gain | None


def draw_watches(data: Dataset, group: Group) -> Watches:
    """Up to `POSITIVES` items a person of those that the group asks about, and as many that the person never rated.

    These are drawn in proportion to all ratings of an item, among the items that the group asks anybody about: where
    removed items are asked about, being a removed item gives nothing away.
    """
    people = np.unique(group.asked.users)
    rows = rating_rows(group.asked, people, data.rating_levels, POSITIVES)
    pool = data.ratings.take(np.isin(data.ratings.items, group.asked.items))
    cases = draw_cases(rows, data.ratings, pool)
    asked = cases.of("popmatched", 1)
    return Watches(cases.users[asked], cases.items[asked], cases.label[asked] > 0)


def watch_finding(data: Dataset, group: Group, answers: TunedAnswers) -> WatchFinding:
    """Measure answers about watching; everything beside them is fitted on what the group is told."""
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
