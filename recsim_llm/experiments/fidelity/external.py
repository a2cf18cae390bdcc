"""Certifies any simulator from a table of its predictions, with the same measures and baselines."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from recsim_llm.certificate import Certificate
from recsim_llm.data import Dataset, load_dataset
from recsim_llm.data.dataset import Catalogue, Ratings
from recsim_llm.errors import DataError
from recsim_llm.experiments.fidelity.held_out_rows import RatingRows
from recsim_llm.experiments.fidelity.measures.baselines import Baselines, fit_baselines
from recsim_llm.experiments.fidelity.measures.choice_measures import (
    log_loss_of_choices,
    slot_curve,
    slot_measure,
)
from recsim_llm.experiments.fidelity.measures.measures import (
    draw_resamples,
    mean_of_users,
    within_user_auc,
)
from recsim_llm.experiments.fidelity.measures.rating_measures import (
    Predictions,
    calibration_error,
    point_predictions,
    rating_measures,
)
from recsim_llm.experiments.fidelity.prediction_checks import (
    check_once,
    check_scale,
    check_truths,
    choices_doubt,
    impersonal_scores,
    leak,
)
from recsim_llm.experiments.fidelity.report.sections import (
    Findings,
    RatingContext,
    add_increment,
    add_ratings,
    cross_linked,
)
from recsim_llm.types import Bools, Floats, Ints
from recsim_llm.untrusted import check_parquet, read_bytes

POINTS = ("prediction", "predicted_rating", "predicted", "rating_pred", "pred")
"""Accepted names of the column of single predicted ratings."""
_ALIASES = {
    "user_id": ("userId", "user"),
    "item_id": ("itemId", "movie_id", "movieId", "item"),
    "rating": ("stars",),
}
_UNLINKED = "as given, rounded"
_SUM_SLACK = 0.01
_POPULAR = 0.8
_CHOICES = ("exposure_auc", "watch_log_loss", "watch_ece", "incremental_watch_log_loss", "incremental_watch_p")


@dataclass(frozen=True)
class ExternalTable:
    """A checked table of predictions.

    Attributes:
        raw_users, raw_items: (M,) ids as in the file.
        stars: (M,) true ratings, NaN if unrated.
        rating_levels: (R,) stars.
        pmf: (M, R), or None if single ratings or no ratings are predicted.
        point: (M,) predicted stars, or None.
        watched: (M,) 1 where really taken up, or None.
        chance: (M,) predicted probability of taking up, or None.
        slots: (M,) place on the page from 0, or None.
    """

    raw_users: NDArray[np.str_]
    raw_items: NDArray[np.str_]
    stars: Floats
    rating_levels: Floats
    pmf: Floats | None
    point: Floats | None
    watched: Floats | None
    chance: Floats | None
    slots: Ints | None


def read_predictions(path: Path, rating_levels: Sequence[float] = ()) -> ExternalTable:
    """Read predictions from CSV (commas or tabs) or Parquet, one row per pair.

    Columns: user_id, item_id; rating (truth, stars; empty where the person gave none) with either a predicted rating
    (`prediction`) or its distribution over the levels (p1..pR); optionally watched (truth, 1 or 0) with prob_watch, and
    slot (place on the page, from 1). Usual names of columns are understood: userId, user, movie_id, item, stars, ...

    Args:
        path: The file.
        rating_levels: (R,) stars; default: 1..R, with as many as there are p columns, or 5.

    Raises:
        DataError: A column is missing, or a value breaks a rule; the message names column and row.
    """
    frame = _read(path)
    for name in ("user_id", "item_id"):
        if name not in frame:
            raise DataError(f"{path} has no column {name}. It has: {', '.join(map(str, frame.columns))}.")
    parts = sorted((c for c in map(str, frame) if re.fullmatch(r"p\d+", c)), key=lambda c: int(c[1:]))
    levels = np.array(rating_levels or np.arange(1, (len(parts) or 5) + 1), dtype=np.float64)
    point_name = next((name for name in POINTS if name in frame), None)
    pmf = _distribution(path, frame, parts, len(levels)) if parts else None
    point = _numbers(path, frame, point_name) if point_name and pmf is None else None
    stars = _numbers(path, frame, "rating", empty=True) if "rating" in frame else np.full(len(frame), np.nan)
    _check_stars(path, stars, levels)
    if point_name and point is not None:
        check_scale(path, point_name, point, levels)
    watched = _numbers(path, frame, "watched", 0.0, 1.0) if "watched" in frame else None
    chance = _numbers(path, frame, "prob_watch", 0.0, 1.0) if "prob_watch" in frame else None
    if pmf is None and point is None and (watched is None or chance is None):
        raise DataError(
            f"{path} has nothing to score: give p1..p{len(levels)} or {POINTS[0]} (with rating), "
            "or prob_watch (with watched)."
        )
    slots = _slots(path, frame) if "slot" in frame else None
    users, items = (frame[name].astype(str).to_numpy(dtype=np.str_) for name in ("user_id", "item_id"))
    return ExternalTable(users, items, stars, levels, pmf, point, watched, chance, slots)


@dataclass(frozen=True)
class _Numbered:
    """The people and items of a table, numbered for the baselines.

    Attributes:
        users: (M,) 0..U-1, the people of the table.
        ids: (U,) their ids in `train`.
        items: (M,) ids in `train`.
        train: Ratings that baselines may see; None if there are none.
        catalogue: Genres for it, if known.
    """

    users: Ints
    ids: Ints
    items: Ints
    train: Ratings | None
    catalogue: Catalogue | None


def certify_predictions(path: Path, dataset: str = "", log: Path | None = None, resamples: int = 1_000) -> Certificate:
    """Certify the simulator that made a table of predictions.

    Args:
        path: See `read_predictions`.
        dataset: The data set whose raw ids the file uses: its other ratings fit the baselines. "" for none.
        log: Instead of a data set, a table user_id, item_id, optional rating: the simulator's training data.
        resamples: Bootstrap samples behind each interval.

    Raises:
        DataError: A file breaks a rule, or names people, items or true ratings that the data set does not have.
    """
    data = load_dataset(dataset) if dataset else None
    table = read_predictions(path, data.rating_levels if data else ())
    numbered = _by_log(table, log) if log else _by_data(table, data, path) if data else _by_itself(table)
    rated = ~np.isnan(table.stars)
    check_once(path, numbered.users, numbered.items, rated)
    doubts = []
    if data is not None and log is None:
        whose = numbered.ids[numbered.users]
        check_truths(path, data, whose, numbered.items, table.stars)
        if table.watched is not None and data.impressions is None:
            doubts.append(choices_doubt(data, whose, numbered.items, table.watched))
    findings = Findings(draw_resamples(len(numbered.ids), resamples=resamples))
    baselines = None if numbered.train is None else fit_baselines(numbered.train, numbered.catalogue)
    if (table.pmf is not None or table.point is not None) and rated.any():
        _add_rated(findings, table, numbered, baselines, rated)
    else:
        findings.missing("rps_skill", "no predicted ratings, or no true ones")
    if table.watched is not None and table.chance is not None:
        doubts.append(_add_watched(findings, table, numbered, baselines, table.watched, table.chance))
    else:
        findings.missing("exposure_auc", "no columns watched and prob_watch")
    people, rows = _measured(table, numbered, rated)
    return Certificate(
        metrics=findings.metrics,
        dataset=data.name if data else path.name,
        dataset_checksum=data.checksum if data else "",
        user_model=path.name,
        split="external",
        n_users=people,
        warnings=(*filter(None, doubts), *_alarms(findings, numbered)),
        baselines=findings.baselines,
        curves=findings.curves,
        notes={"rows": rows, "leaving": "the simulator's own; not in this file"},
    )


def _measured(table: ExternalTable, numbered: _Numbered, rated: Bools) -> tuple[int, int]:
    """Numbers of people and rows measured; where both ratings and choices were, those of the smaller set."""
    kinds = [rated] if rated.any() and (table.pmf is not None or table.point is not None) else []
    if table.watched is not None and table.chance is not None:
        kinds.append(np.ones(len(rated), dtype=np.bool_))
    counts = [(len(np.unique(numbered.users[kind])), int(kind.sum())) for kind in kinds]
    return min(counts, default=(0, 0))


def _add_rated(
    findings: Findings, table: ExternalTable, numbered: _Numbered, baselines: Baselines | None, rated: Bools
) -> None:
    levels, ids, train = table.rating_levels, numbered.ids, numbered.train
    rows = RatingRows(numbered.users[rated], numbered.items[rated], _levels_of(table.stars[rated], levels))
    raw = None
    if table.pmf is not None:
        pmf = table.pmf[rated]
        simulated = Predictions(rows.users, rows.items, rows.levels, pmf, pmf @ levels, levels, len(ids))
    else:
        assert table.point is not None
        stars = table.point[rated]
        raw = point_predictions(rows.users, rows.items, rows.levels, stars, levels, len(ids))
        # Single numbers become distributions in the way in which those of the baselines do.
        pmf = cross_linked(rows.users, stars, rows.levels, levels)
        simulated = Predictions(rows.users, rows.items, rows.levels, pmf, stars, levels, len(ids))
    informed = baselines is not None and train is not None and bool((train.values > 0).all())
    # Without rated training data the file's own ratings set the floor: an oracle, slightly harder to beat.
    known = _levels_of(train.values.astype(np.float64), levels) if informed and train is not None else rows.levels
    histogram = np.bincount(known, minlength=len(levels)) / len(known)
    fitted = baselines if informed and baselines is not None else _constant_only(float(histogram @ levels))
    add_ratings(findings, simulated, RatingContext(rows, ids, None, histogram, levels, fitted), raw)
    if raw is not None:
        for name, measure in rating_measures(raw, histogram).items():
            findings.baseline(_UNLINKED, name, measure.value)
    if not informed:
        findings.missing("incremental_log_loss", "needs a log with ratings (--dataset or --log)")
        return
    scores = [score(ids[rows.users], rows.items) for score in list(fitted.stars.values())[1:]]
    chance = simulated.pmf[:, simulated.liked].sum(axis=1)
    liked = simulated.liked[rows.levels].astype(np.float64)
    features = np.stack([chance, simulated.mean], axis=1)
    add_increment(findings, "incremental", rows.users, np.stack(scores, axis=1), features, liked, len(ids))


def _add_watched(
    findings: Findings,
    table: ExternalTable,
    numbered: _Numbered,
    baselines: Baselines | None,
    watched: Floats,
    chance: Floats,
) -> str:
    """Add the measures of choices; return a warning if the candidates leak, and nothing is judged, else ""."""
    users, count = numbered.users, len(numbered.ids)
    scores = {} if baselines is None else baselines.choices
    scored = {name: score(numbered.ids[users], numbered.items) for name, score in scores.items()}
    aucs = {}
    if "popularity" in scored:
        scored |= impersonal_scores(scored["popularity"], users, watched)
    for name, values in scored.items():
        aucs[name] = mean_of_users(within_user_auc(users, values, watched, count))
        findings.baseline(name, "exposure_auc", aucs[name].value)
    if aucs and (why := leak(aucs, findings.resamples)):
        for name in _CHOICES:
            findings.missing(name, why)
        return f"{why[0].upper()}{why[1:]}: choices are not judged. Draw the other candidates from the same items."
    floor, bar = (findings.reference(name, "exposure_auc") for name in ("popularity", "ease"))
    auc = mean_of_users(within_user_auc(users, chance, watched, count))
    findings.add("exposure_auc", auc, 0.5 if floor is None else floor, bar, 1.0)
    base = log_loss_of_choices(users, np.full(len(users), watched.mean()), watched, count)
    findings.add("watch_log_loss", log_loss_of_choices(users, chance, watched, count), base.value, None, 0.0)
    findings.add("watch_ece", calibration_error(users, chance, watched, count), None, None, 0.0)
    if table.slots is not None:
        findings.add("slot_curve_gap", slot_measure(users, chance, watched, table.slots, count), 1.0, None, 0.0)
        findings.curves["slots"] = slot_curve(chance, watched, table.slots)
    if scored:
        known = np.stack([values for name, values in scored.items() if name in scores], axis=1)
        add_increment(findings, "incremental_watch", users, known, chance[:, None], watched, count)
    else:
        findings.missing("incremental_watch_log_loss", "needs a log (--dataset or --log)")
    return ""


def _alarms(findings: Findings, numbered: _Numbered) -> Iterator[str]:
    """Warnings about what makes the figures doubtful."""
    train = numbered.train
    popular = findings.reference("popularity", "exposure_auc")
    if popular is not None and popular >= _POPULAR:
        yield f"Popularity alone has AUC {popular:.3f}: the choices are mostly a test of popularity."
    if train is None:
        yield "No --dataset and no --log: there is nothing to fit baselines on, so there are no bars."
    else:
        keys = numbered.ids[numbered.users] * train.num_items + numbered.items
        share = float(np.isin(keys, train.users * train.num_items + train.items).mean())
        if share > 0:
            yield f"{share:.1%} of the pairs are in the log that the simulator may have seen: leakage is likely."
    rmse, best = findings.metrics.get("rmse_mean"), findings.reference("bias model", "rmse_mean")
    if rmse and rmse.value is not None and best is not None and rmse.value < 0.8 * best:
        yield (
            f"RMSE {rmse.value:.3f} is less than four fifths of the bias model's {best:.3f}: leakage is likely, or "
            "only one kind of rating was kept."
        )


def _by_itself(table: ExternalTable) -> _Numbered:
    ids, users = np.unique(table.raw_users, return_inverse=True)
    items = np.unique(table.raw_items, return_inverse=True)[1]
    return _Numbered(users.astype(np.int64), np.arange(len(ids)), items.astype(np.int64), None, None)


def _by_data(table: ExternalTable, data: Dataset, path: Path) -> _Numbered:
    """Number by a data set: baselines see its ratings that are not in the table."""
    people = {person.raw_id: person.user for person in data.people}
    things = {raw: item for item, raw in enumerate(data.catalogue.raw_ids)}
    users, items = (
        _looked_up(names, table_, kind, data.name, path)
        for names, table_, kind in ((table.raw_users, people, "user"), (table.raw_items, things, "item"))
    )
    N, log = data.ratings.num_items, data.ratings
    held = np.isin(log.users * N + log.items, users * N + items)
    ids, numbers = np.unique(users, return_inverse=True)
    return _Numbered(numbers.astype(np.int64), ids, items, log.take(~held), data.catalogue)


def _by_log(table: ExternalTable, path: Path) -> _Numbered:
    """Number by a log: baselines see the log; genres are unknown."""
    frame = _read(path)
    for name in ("user_id", "item_id"):
        if name not in frame:
            raise DataError(f"{path} has no column {name}. It has: {', '.join(map(str, frame.columns))}.")
    people, users = np.unique(np.r_[table.raw_users, frame["user_id"].astype(str)], return_inverse=True)
    things, items = np.unique(np.r_[table.raw_items, frame["item_id"].astype(str)], return_inverse=True)
    here, users, items = len(table.raw_users), users.astype(np.int64), items.astype(np.int64)
    stars = _numbers(path, frame, "rating") if "rating" in frame else np.zeros(len(frame))
    times = np.zeros(len(frame), dtype=np.int64)
    train = Ratings(users[here:], items[here:], stars.astype(np.float32), times, len(people), len(things))
    ids, numbers = np.unique(users[:here], return_inverse=True)
    return _Numbered(numbers.astype(np.int64), ids, items[:here], train, None)


def _looked_up(names: NDArray[np.str_], known: dict[str, int], kind: str, dataset: str, path: Path) -> Ints:
    distinct, where = np.unique(names, return_inverse=True)
    unknown = [str(name) for name in distinct if str(name) not in known]
    if unknown:
        raise DataError(
            f"{path}: data set '{dataset}' has no {kind} with the id {unknown[0]} ({len(unknown)} such ids). The file "
            "must use the data set's own ids."
        )
    return np.array([known[str(name)] for name in distinct], dtype=np.int64)[where]


def _constant_only(mean: float) -> Baselines:
    return Baselines({"constant": lambda users, items: np.full(len(users), mean)}, {})


def _levels_of(stars: Floats, levels: Floats) -> Ints:
    return np.searchsorted(levels, stars).astype(np.int64)


def _read(path: Path) -> pd.DataFrame:
    try:
        if path.suffix == ".parquet":
            with pq.ParquetFile(path) as file:
                check_parquet(path, file)
            frame = pd.read_parquet(path)
        else:
            content = read_bytes(path)  # given the file name, pandas would unpack an archive
            tabbed = b"\t" in content.partition(b"\n")[0]
            frame = pd.read_csv(io.BytesIO(content), sep="\t" if tabbed else ",")
    except (OSError, ValueError, pa.ArrowException) as error:
        raise DataError(f"{path} cannot be read as a table ({error}). CSV with a header, or Parquet.") from error
    if frame.empty:
        raise DataError(f"{path} has no rows.")
    for name, others in _ALIASES.items():
        other = next((other for other in others if other in frame), None)
        if name not in frame and other:
            frame = frame.rename(columns={other: name})
    return frame


def _numbers(
    path: Path, frame: pd.DataFrame, name: str, low: float = -np.inf, high: float = np.inf, empty: bool = False
) -> Floats:
    """A column as numbers within [low, high]."""
    values = pd.to_numeric(frame[name], errors="coerce").to_numpy(dtype=np.float64)
    wrong = ~((values >= low) & (values <= high))
    if empty:
        wrong &= ~frame[name].isna().to_numpy()
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        limits = f" between {low:g} and {high:g}" if np.isfinite(low) else ""
        raise DataError(f"{path}: {name} in row {row + 1} is {frame[name].iloc[row]!r}, not a number{limits}.")
    return values


def _distribution(path: Path, frame: pd.DataFrame, parts: Sequence[str], size: int) -> Floats:
    if list(parts) != [f"p{level + 1}" for level in range(size)]:
        raise DataError(f"{path} has the columns {', '.join(parts)}; a distribution over {size} levels is p1..p{size}.")
    pmf = np.stack([_numbers(path, frame, part, 0.0, 1.0) for part in parts], axis=1)
    total = pmf.sum(axis=1)
    wrong = np.flatnonzero(np.abs(total - 1.0) > _SUM_SLACK)
    if len(wrong):
        raise DataError(f"{path}: p1..p{size} in row {wrong[0] + 1} add up to {total[wrong[0]]:.4g}, not to 1.")
    result: Floats = pmf / total[:, None]
    return result


def _check_stars(path: Path, stars: Floats, levels: Floats) -> None:
    wrong = ~np.isnan(stars) & ~np.isin(stars, levels)
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise DataError(
            f"{path}: rating in row {row + 1} is {stars[row]:g}, which is no rating level "
            f"({levels[0]:g}..{levels[-1]:g})."
        )


def _slots(path: Path, frame: pd.DataFrame) -> Ints:
    slots = _numbers(path, frame, "slot", 1.0, 1000.0)
    return (slots - 1.0).astype(np.int64)
