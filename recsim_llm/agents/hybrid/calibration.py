"""Calibration of a language model's raw label probabilities, fitted on people whom no certificate measures.

The mean and spread of a model's answers are artefacts of model and prompt; only their order is informative. Each answer
is therefore reduced to three features, which an ordered logit (ratings) and a logistic model (watching) map to
probabilities. Weights are non-negative: answers that run against people's tastes are ignored, never inverted.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import scipy.optimize
from scipy.special import expit

from recsim_llm.agents.hybrid.learned_file import damaged, read_learned, write_learned
from recsim_llm.agents.society.inhabitants import Inhabitants
from recsim_llm.agents.society.social_life import SocialLife
from recsim_llm.agents.statistical.fitting import FitOptions
from recsim_llm.agents.statistical.ordinal import OrdinalFit, fit_ordinal, ordinal_pmf
from recsim_llm.agents.user_model import Description, UserModel
from recsim_llm.errors import DataError
from recsim_llm.types import EMPTY, Bools, Floats, Ints, Keys, Reaction, Responses

FEATURES = ("taste", "stars", "watch")
"""Names of the columns of `answer_features`."""

_KIND = "calibration"
_TINY = 0.005  # bound on probabilities: 0.999 and 0.9999 mean the same from a language model, but their log-odds differ
_FARTHEST = 4.0  # standard deviations


@dataclass(frozen=True)
class Answers:
    """A user model's answers about M pairs, and the outcomes in the log.

    Attributes:
        users, items: (M,) ids.
        watch: (M,) raw probability of watching.
        rating: (M, R) raw distribution of the rating.
        rated: (M,) True where the person rated the item, in ratings that nothing else was fitted on; False for items
            drawn uniformly from those the person never rated. For a log with impressions: True where watched, False
            where shown and not watched.
        level: (M,) index of the rating level, -1 where not rated.
    """

    users: Ints
    items: Ints
    watch: Floats
    rating: Floats
    rated: Bools
    level: Ints

    def __len__(self) -> int:
        return len(self.users)

    def take(self, rows: Ints | Bools) -> Answers:
        """The given rows (indices or mask)."""
        return Answers(
            self.users[rows], self.items[rows], self.watch[rows], self.rating[rows], self.rated[rows], self.level[rows]
        )


def answer_features(watch: Floats, rating: Floats) -> Floats:
    """(..., 3) features of raw answers, in the order of `FEATURES`.

    "taste" is the log-odds of a rating above a threshold, averaged over the R-1 thresholds: for an ordered logit, it is
    linear in the score whatever the thresholds. "stars" is the mean level scaled to 0..1: bounded, so robust against
    certainty. "watch" is the log-odds of watching. Probabilities are clipped to [0.005, 0.995] before log-odds are
    taken.

    Args:
        watch: (...) raw.
        rating: (..., R) raw.
    """
    above = 1.0 - np.cumsum(rating, axis=-1)[..., :-1]
    taste = _log_odds(above).mean(axis=-1)
    return np.stack([taste, above.mean(axis=-1), _log_odds(watch)], axis=-1)


def _log_odds(chance: Floats) -> Floats:
    safe = np.clip(chance, _TINY, 1.0 - _TINY)
    odds: Floats = np.log(safe) - np.log1p(-safe)
    return odds


@dataclass(frozen=True)
class Standard:
    """Standardises features to mean 0 and standard deviation 1, clipped at 4 standard deviations.

    Attributes:
        centre, spread: (D,); a spread of 0 is replaced by 1, so that a constant feature contributes nothing.
    """

    centre: Floats
    spread: Floats

    @classmethod
    def of(cls, features: Floats) -> Standard:
        """Estimate mean and spread from (M, D) features."""
        spread = features.std(axis=0)
        return cls(features.mean(axis=0), np.where(spread > 1e-9, spread, 1.0))

    def __call__(self, features: Floats) -> Floats:
        """(..., D) standardised features."""
        scaled: Floats = np.clip((features - self.centre) / self.spread, -_FARTHEST, _FARTHEST)
        return scaled


@dataclass(frozen=True)
class Calibration:
    """A fitted calibration. Accepts answers of any leading shape and preserves it.

    Attributes:
        rating_standard: Standardisation of the features of rated pairs.
        rating_fit: Ordered logit over these.
        watch_standard: Standardisation of the features of all pairs.
        watch_weights: (3,) log-odds.
        watch_level: Log-odds of watching at mean features.
        pairs, users: Numbers of pairs and users it was fitted on.
    """

    rating_standard: Standard
    rating_fit: OrdinalFit
    watch_standard: Standard
    watch_weights: Floats
    watch_level: float
    pairs: int = 0
    users: int = 0

    def watch(self, raw_watch: Floats, raw_rating: Floats) -> Floats:
        """(...) calibrated probability of watching, from (...) and (..., R) raw answers."""
        features = self.watch_standard(answer_features(raw_watch, raw_rating))
        chance: Floats = expit((features * self.watch_weights).sum(axis=-1) + self.watch_level)
        return chance

    def rating(self, raw_watch: Floats, raw_rating: Floats) -> Floats:
        """(..., R) calibrated distribution of the rating, from (...) and (..., R) raw answers."""
        return ordinal_pmf(self.rating_fit, self.rating_standard(answer_features(raw_watch, raw_rating)))

    def save(self, path: Path) -> None:
        """Write a small JSON file."""
        write_learned(path, _KIND, {name: _plain(value) for name, value in asdict(self).items()})

    @classmethod
    def load(cls, path: Path) -> Calibration:
        """Read what `save` wrote.

        Raises:
            RecordingError: The file is missing, damaged, of another version or something else.
        """
        values = read_learned(path, _KIND)
        try:
            fit = values["rating_fit"]
            thresholds, size = _array(fit["thresholds"]), len(FEATURES)
            if (np.diff(thresholds) < 0).any():
                raise ValueError("thresholds do not ascend")
            return cls(
                _standard(values["rating_standard"], size),
                OrdinalFit(thresholds, _array(fit["weights"], size), float(fit["slope"])),
                _standard(values["watch_standard"], size),
                _array(values["watch_weights"], size),
                float(values["watch_level"]),
                int(values["pairs"]),
                int(values["users"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise damaged(path, _KIND, error) from error


def _plain(value: object) -> object:
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    return value.tolist() if isinstance(value, np.ndarray) else value


def _array(values: object, size: int | None = None) -> Floats:
    array = np.array(values, dtype=np.float64)
    if array.ndim != 1 or not np.isfinite(array).all() or (size is not None and len(array) != size):
        raise ValueError(f"{values} are not {size or 'some'} numbers")
    return array


def _standard(values: dict[str, object], size: int) -> Standard:
    return Standard(_array(values["centre"], size), _array(values["spread"], size))


def fit_calibration(
    answers: Answers, watch_rate: float | None = FitOptions().watch_rate, ridge: float = 5.0
) -> Calibration:
    """Fit the calibration.

    The level of watching is not identified by a log of ratings: it is set so that the drawn pairs are watched with the
    declared mean probability. They stand in for uniformly drawn pairs, few of which are rated.

    Args:
        answers: About people on whose held-out ratings nothing is measured (`data.splits.calibration_users`).
        watch_rate: Mean probability of watching a uniformly drawn item, (0, 1); None where `rated` means that a shown
            item was watched, and the level is learnt.
        ridge: Penalty on weights, in pairs.

    Raises:
        DataError: All pairs were rated, or none was.
    """
    if not answers.rated.any() or answers.rated.all():
        raise DataError("A calibration needs pairs that were rated and pairs that were not; one kind is absent.")
    features = answer_features(answers.watch, answers.rating)
    rated = features[answers.rated]
    by_rating, by_watch = Standard.of(rated), Standard.of(features)
    level, nothing = answers.level[answers.rated], np.zeros(len(rated))
    num_levels = answers.rating.shape[1]
    rating = fit_ordinal(by_rating(rated), nothing, level, num_levels, ridge, nonnegative=True)
    chosen = answers.rated.astype(np.int64)
    watch = fit_ordinal(by_watch(features), np.zeros(len(chosen)), chosen, 2, ridge, nonnegative=True)
    shift = by_watch(features[~answers.rated]) @ watch.weights
    start = -float(watch.thresholds[0])
    watch_level = start if watch_rate is None else level_for(shift, watch_rate)
    return Calibration(
        by_rating, rating, by_watch, watch.weights, watch_level, len(answers), len(np.unique(answers.users))
    )


def level_for(shift: Floats, rate: float) -> float:
    """The constant to add to (M,) log-odds so that the mean probability is `rate`, in (0, 1)."""
    return float(scipy.optimize.brentq(lambda c: expit(shift + c).mean() - rate, -60.0, 60.0, xtol=1e-12))


class CalibratedUsers:
    """Wrapper that calibrates any population's answers (see `agents.user_model.UserModel`), not its memory or leaving.

    Args:
        inner: The population.
        calibration: Fitted on raw answers of the same model to the same prompts.
    """

    def __init__(self, inner: UserModel, calibration: Calibration) -> None:
        self.inner, self.calibration = inner, calibration
        self.num_users, self.num_items = inner.num_users, inner.num_items
        self.rating_levels = inner.rating_levels

    def reset(self, sessions: Ints, users: Ints, keys: Keys) -> None:
        """See `UserModel.reset`."""
        self.inner.reset(sessions, users, keys)

    def react(self, sessions: Ints, pages: Ints) -> Reaction:
        """See `UserModel.react`."""
        raw = self.inner.react(sessions, pages)
        watch = self.calibration.watch(raw.watch_BK, raw.rating_BKR)
        rating = self.calibration.rating(raw.watch_BK, raw.rating_BKR)
        return Reaction(np.where(pages == EMPTY, 0.0, watch), rating, raw.thoughts)

    def observe(self, sessions: Ints, pages: Ints, responses: Responses) -> Floats:
        """See `UserModel.observe`."""
        return self.inner.observe(sessions, pages, responses)

    def describe(self) -> Description:
        """See `UserModel.describe`: no statistical parameters describe calibrated answers."""
        return replace(self.inner.describe(), tastes=None)


class CalibratedInhabitants(SocialLife, CalibratedUsers):
    """Calibrated people who live on between visits (`agents.society.inhabitants.Inhabitants`)."""

    inner: Inhabitants

    def __init__(self, inner: Inhabitants, calibration: Calibration) -> None:
        super().__init__(inner, calibration)
