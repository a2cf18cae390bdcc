"""Statistical users plus an LLM residual, applied only in cells where it improved held-out predictions.

    P(rating <= k) = sigmoid((thresholds[k] - s) / scale - v[cell] . f)
    P(watch) = sigmoid(backbone's log-odds + w[cell] . f + level[cell])

with f the standardised features of the model's answer (`calibration.answer_features`) and cells as in `cell_gates`.
Where the weights of a cell are 0, the model is not asked and the answer equals the backbone's bit for bit:
docs/hybrid.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import expit

from recsim_llm.agents.hybrid.calibration import FEATURES, Answers, Standard, answer_features, level_for
from recsim_llm.agents.hybrid.cell_gates import CELLS, CellGain, CellRows, GateOptions, cells_of, learn_cells
from recsim_llm.agents.hybrid.learned_file import damaged, read_learned, write_learned
from recsim_llm.agents.llm.llm_users import LLMUsers
from recsim_llm.agents.society.inhabitants import Inhabitants, Message
from recsim_llm.agents.society.social_life import SocialLife
from recsim_llm.agents.statistical.ordinal import raised, shifted
from recsim_llm.agents.statistical.statistical_users import StatisticalParameters, scores, watch_probability
from recsim_llm.agents.user_model import Description, UserModel
from recsim_llm.types import EMPTY, Bools, Floats, Ints, Keys, Persona, Reaction, Responses

_KIND = "hybrid"


@dataclass(frozen=True)
class Residual:
    """The model's correction of one kind of log-odds, for each of C cells.

    Attributes:
        standard: Standardisation of the features, over all calibration pairs of this kind.
        centre, slope: (C, D) mean of a feature in the cell, and its trend in log(1 + training ratings of the item):
            both are subtracted, so that the correction changes neither the level nor what popularity explains.
        weights: (C, D) non-negative, log-odds.
        level: (C,) intercept that preserves the cell's mean probability, log-odds.
    """

    standard: Standard
    centre: Floats
    slope: Floats
    weights: Floats
    level: Floats

    @property
    def used(self) -> Bools:
        """(C,) whether a cell has a weight."""
        used: Bools = (self.weights != 0.0).any(axis=1)
        return used

    def __call__(self, features: Floats, cells: Ints, item_counts: Ints) -> Floats:
        """(...) log-odds for (..., D) raw features, (...) cells and training counts; 0 in cells without a weight."""
        trend = self.slope[cells] * np.log1p(item_counts)[..., None]
        known = self.standard(features) - self.centre[cells] - trend
        added: Floats = (self.weights[cells] * known).sum(axis=-1) + self.level[cells]
        return added


@dataclass(frozen=True)
class HybridWeights:
    """Corrections by a language model, and the test results behind them.

    Attributes:
        rating, watch: The two residuals.
        gains: Test result of each cell, for a report; ratings first.
        options: The options it was learned with, among them the bounds of the cells.
    """

    rating: Residual
    watch: Residual
    gains: tuple[CellGain, ...]
    options: GateOptions

    @property
    def used(self) -> Bools:
        """(C,) cells in which the model is asked."""
        used: Bools = np.logical_or(self.rating.used, self.watch.used)
        return used

    def table(self) -> str:
        """The test results as a table for a terminal."""
        head = (
            f"{'part':<7} {'cell':<25} {'pairs':>7} {'users':>6} {'gain':>9} {'+-':>8}  weights ({', '.join(FEATURES)})"
        )
        rows = [
            f"{g.part:<7} {g.cell:<25} {g.pairs:>7} {g.users:>6} {g.gain:>9.5f} {g.error:>8.5f}  "
            + (", ".join(f"{w:.3f}" for w in g.weights) if g.used else "0: not asked")
            for g in self.gains
        ]
        return "\n".join([head, *rows])

    def sentence(self) -> str:
        """In which cells the model is asked, in a sentence or two."""
        cells = [name for name, used in zip(CELLS, self.used.tolist(), strict=True) if used]
        if not cells:
            return "The language model is not asked: nowhere was it found to know people better than their ratings do."
        return f"The language model is asked about: {'; '.join(cells)}. Elsewhere it was not found to help."

    def as_json(self) -> list[dict[str, Any]]:
        """The test results as JSON values, one mapping per part and cell."""
        return [{**asdict(gain), "weights": list(gain.weights), "used": gain.used} for gain in self.gains]

    def save(self, path: Path) -> None:
        """Write a small JSON file."""
        parts = {name: _plain(getattr(self, name)) for name in ("rating", "watch")}
        write_learned(path, _KIND, {**parts, "gains": self.as_json(), "options": asdict(self.options)})

    @classmethod
    def load(cls, path: Path) -> HybridWeights:
        """Read what `save` wrote.

        Raises:
            RecordingError: The file is missing, damaged, of another version or something else.
        """
        values = read_learned(path, _KIND)
        try:
            values["options"].pop("z", None)  # an option of an older rule: weights stored with a run stay readable
            rows = [{k: v for k, v in row.items() if k != "used"} for row in values["gains"]]
            gains = tuple(CellGain(**{**row, "weights": tuple(row["weights"])}) for row in rows)
            residuals = _residual(values["rating"]), _residual(values["watch"])
            return cls(*residuals, gains, GateOptions(**values["options"]))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise damaged(path, _KIND, error) from error


def _plain(residual: Residual) -> dict[str, Any]:
    matrices = {name: getattr(residual, name).tolist() for name in ("centre", "slope", "weights", "level")}
    standard = residual.standard
    return {"standard": {"centre": standard.centre.tolist(), "spread": standard.spread.tolist()}, **matrices}


def _residual(values: dict[str, Any]) -> Residual:
    standard = Standard(*(np.array(values["standard"][name], dtype=np.float64) for name in ("centre", "spread")))
    names = ("centre", "slope", "weights", "level")
    centre, slope, weights, level = (np.array(values[name], dtype=np.float64) for name in names)
    shape = (len(CELLS), len(standard.centre))
    if not (centre.shape == slope.shape == weights.shape == shape and level.shape == shape[:1]):
        raise ValueError("the shapes do not fit together")
    if not all(np.isfinite(array).all() for array in (standard.centre, standard.spread, centre, slope, weights, level)):
        raise ValueError("a number is not finite")
    return Residual(standard, centre, slope, weights, level)


def fit_hybrid(
    backbone: StatisticalParameters,
    answers: Answers,
    item_counts: Ints,
    user_counts: Ints,
    options: GateOptions | None = None,
) -> HybridWeights:
    """Fit a model's corrections and test them by cell.

    Args:
        backbone: Fitted without the calibration pairs.
        answers: The model's answers about calibration pairs.
        item_counts: (N,) ratings of each item that the backbone was fitted on.
        user_counts: (U,) likewise, of each user.
        options: When the correction of a cell is accepted.
    """
    options = options or GateOptions()
    rating, rating_rows = _rating_cells(backbone, answers.take(answers.rated), item_counts, user_counts, options)
    watch, watch_rows = _watch_cells(backbone, answers, item_counts, user_counts, options)
    # The cells of both parts are tested together and share one false discovery rate.
    tried = [("rating", *each) for each in zip(CELLS, rating_rows, strict=True)]
    tried += [("watch", *each) for each in zip(CELLS, watch_rows, strict=True)]
    gains = learn_cells(tried, options)
    rating, watch = _weighted(rating, gains[: len(CELLS)]), _weighted(watch, gains[len(CELLS) :])
    level = np.array([_keep_level(*each) for each in zip(watch_rows, watch.weights, strict=True)])
    return HybridWeights(rating, replace(watch, level=level), tuple(gains), options)


def fit_rating(
    backbone: StatisticalParameters, answers: Answers, item_counts: Ints, user_counts: Ints, options: GateOptions
) -> Residual:
    """As `fit_hybrid`, but for ratings alone: from answers about rated pairs, testing only the four rating cells."""
    residual, rows = _rating_cells(backbone, answers, item_counts, user_counts, options)
    gains = learn_cells([("rating", *each) for each in zip(CELLS, rows, strict=True)], options)
    return _weighted(residual, gains)


def _weighted(residual: Residual, gains: Sequence[CellGain]) -> Residual:
    return replace(residual, weights=np.array([gain.weights for gain in gains]))


def _rating_cells(
    backbone: StatisticalParameters, answers: Answers, item_counts: Ints, user_counts: Ints, options: GateOptions
) -> tuple[Residual, list[CellRows]]:
    """The residual of ratings before any test, and the pairs of each cell."""
    taste = scores(backbone, answers.users, answers.items[:, None])
    # (M, R-1) the backbone's log-odds of P(level <= k).
    edges = (backbone.thresholds - taste) / backbone.scale
    cells = cells_of(item_counts[answers.items], user_counts[answers.users], options)
    features = answer_features(answers.watch, answers.rating)
    standard = Standard.of(features)
    known = standard(features)
    centre, found = np.zeros((len(CELLS), known.shape[1])), []
    for cell in range(len(CELLS)):
        rows = cells == cell
        centre[cell] = known[rows].mean(axis=0) if rows.any() else 0.0
        nuisance = np.zeros((int(rows.sum()), 0))
        found.append(
            CellRows(answers.users[rows], known[rows] - centre[cell], nuisance, edges[rows], answers.level[rows])
        )
    nothing = np.zeros_like(centre)
    return Residual(standard, centre, nothing, nothing, np.zeros(len(CELLS))), found


def _watch_cells(
    backbone: StatisticalParameters, answers: Answers, item_counts: Ints, user_counts: Ints, options: GateOptions
) -> tuple[Residual, list[CellRows]]:
    """The same for rated against drawn pairs. Level and popularity are nuisance: they reflect exposure, not taste."""
    taste = scores(backbone, answers.users, answers.items[:, None])
    chance = watch_probability(backbone, answers.users, answers.items[:, None], taste)
    logit = np.log(chance) - np.log1p(-chance)
    counts = item_counts[answers.items]
    cells = cells_of(counts, user_counts[answers.users], options)
    # (M, 2) intercept and log popularity, regressed out of each cell's features.
    columns = np.stack([np.ones(len(counts)), np.log1p(counts)], axis=1)
    features = answer_features(answers.watch, answers.rating)
    standard = Standard.of(features)
    known, size = standard(features), features.shape[1]
    centre, slope, found = np.zeros((len(CELLS), size)), np.zeros((len(CELLS), size)), []
    for cell in range(len(CELLS)):
        rows = cells == cell
        centre[cell], slope[cell] = (
            np.linalg.lstsq(columns[rows], known[rows])[0] if rows.any() else np.zeros((2, size))
        )
        left = known[rows] - columns[rows] @ np.stack([centre[cell], slope[cell]])
        # Watching as an ordered logit of two levels: P(level 0) = sigmoid(-logit).
        chosen = answers.rated[rows].astype(np.int64)
        found.append(CellRows(answers.users[rows], left, columns[rows], -logit[rows], chosen))
    return Residual(standard, centre, slope, np.zeros_like(centre), np.zeros(len(CELLS))), found


def _keep_level(rows: CellRows, weights: Floats) -> float:
    """Log-odds to add so that drawn pairs are watched as often as without the weights."""
    drawn = rows.level == 0
    if not weights.any() or not drawn.any():
        return 0.0
    logit = -rows.edges[drawn, 0]
    return level_for(logit + rows.features[drawn] @ weights, float(expit(logit).mean()))


class HybridUsers:
    """Statistical people with a language model's residual (see `agents.user_model.UserModel`).

    The model is asked only about pairs whose cell has a weight; people who cannot have such a pair never reach it. The
    backbone decides on fatigue, rewatching and leaving.

    Args:
        backbone: The people as arrays (`agents.statistical.statistical_users.StatisticalUsers`).
        inner: The same people, played by the model.
        weights: The corrections.
        item_counts: (N,) ratings of each item that the backbone was fitted on.
        user_counts: (U,) likewise, of each user.
    """

    def __init__(
        self,
        backbone: UserModel,
        inner: UserModel,
        weights: HybridWeights,
        item_counts: Ints,
        user_counts: Ints,
    ) -> None:
        self.backbone, self.inner, self.weights = backbone, inner, weights
        self.num_users, self.num_items = backbone.num_users, backbone.num_items
        self.rating_levels = backbone.rating_levels
        self._item_counts, self._user_counts = item_counts, user_counts
        # (2, U) cells of a cold and a warm item for each person, then (U,) whether either has a weight.
        bounds = np.array([[0], [weights.options.cold]])
        self._heard: Bools = np.any(weights.used[cells_of(bounds, user_counts, weights.options)], axis=0)
        self._users = np.zeros(0, dtype=np.int64)

    def reset(self, sessions: Ints, users: Ints, keys: Keys) -> None:
        """See `UserModel.reset`."""
        missing = int(sessions.max(initial=-1)) + 1 - len(self._users)
        self._users = np.pad(self._users, (0, max(missing, 0)))
        self._users[sessions] = users
        self.backbone.reset(sessions, users, keys)
        heard = self._heard[users]
        if heard.any():
            self.inner.reset(sessions[heard], users[heard], keys[heard])

    def react(self, sessions: Ints, pages: Ints) -> Reaction:
        """See `UserModel.react`."""
        base = self.backbone.react(sessions, pages)
        counts = self._item_counts[np.maximum(pages, 0)]
        cells = cells_of(counts, self._user_counts[self._users[sessions]][:, None], self.weights.options)
        asked = self.weights.used[cells] & (pages != EMPTY)
        rows = np.flatnonzero(asked.any(axis=1))
        if not len(rows):
            return base
        # The model sees only rows with an asked slot, and in them only the asked slots.
        raw = self.inner.react(sessions[rows], np.where(asked, pages, EMPTY)[rows])
        features = answer_features(raw.watch_BK, raw.rating_BKR)
        watch, rating = base.watch_BK.copy(), base.rating_BKR.copy()
        watch[rows] = raised(watch[rows], self._shift(self.weights.watch, features, cells, counts, asked, rows))
        rating[rows] = shifted(rating[rows], self._shift(self.weights.rating, features, cells, counts, asked, rows))
        return Reaction(watch, rating, _spread(raw.thoughts, rows, len(sessions)))

    def observe(self, sessions: Ints, pages: Ints, responses: Responses) -> Floats:
        """See `UserModel.observe`: both halves remember; the backbone decides on leaving."""
        heard = self._heard[self._users[sessions]]
        if heard.any():
            part = Responses(responses.watched_BK[heard], responses.ratings_BK[heard])
            if isinstance(self.inner, LLMUsers):
                self.inner.remember(sessions[heard], pages[heard], part)  # without asking whether they leave
            else:
                self.inner.observe(sessions[heard], pages[heard], part)
        return self.backbone.observe(sessions, pages, responses)

    def describe(self) -> Description:
        """See `UserModel.describe`."""
        return Description(
            asks_llm=bool(self.weights.used.any()),
            counts=self.inner.describe().counts,
            origins=self.backbone.describe().origins,
            belief=self.weights.sentence(),
            backbone=self.backbone,
        )

    @staticmethod
    def _shift(residual: Residual, features: Floats, cells: Ints, counts: Ints, asked: Bools, rows: Ints) -> Floats:
        return np.where(asked[rows], residual(features, cells[rows], counts[rows]), 0.0)


class HybridInhabitants(SocialLife, HybridUsers):
    """Hybrid people who persist between visits (`society.inhabitants.Inhabitants`); the model writes what they say.

    Both halves receive every event; word of mouth affects the backbone as it does without a model.
    """

    backbone: Inhabitants
    inner: Inhabitants

    def __init__(
        self,
        backbone: Inhabitants,
        inner: Inhabitants,
        weights: HybridWeights,
        item_counts: Ints,
        user_counts: Ints,
    ) -> None:
        super().__init__(backbone, inner, weights, item_counts, user_counts)
        self._heard = np.ones_like(self._heard)  # talking needs a memory of what they did, so the model sees all

    def visit(self, agents: Ints, hours: Floats) -> None:
        """See `Inhabitants.visit`."""
        self.backbone.visit(agents, hours)
        super().visit(agents, hours)

    def advertise(self, item: int, slogan: str) -> None:
        """See `Inhabitants.advertise`."""
        self.backbone.advertise(item, slogan)
        super().advertise(item, slogan)

    def change(self, persona: Persona) -> None:
        """See `Inhabitants.change`."""
        self.backbone.change(persona)
        super().change(persona)

    def hear(self, agents: Ints, messages: Sequence[Message], hours: Floats) -> None:
        """See `Inhabitants.hear`."""
        self.backbone.hear(agents, messages, hours)
        super().hear(agents, messages, hours)


def _spread(thoughts: tuple[str, ...], rows: Ints, count: int) -> tuple[str, ...]:
    """Thoughts of the given rows, with "" for all other rows."""
    if not thoughts:
        return ()
    spread = [""] * count
    for row, thought in zip(rows.tolist(), thoughts, strict=True):
        spread[row] = thought
    return tuple(spread)
