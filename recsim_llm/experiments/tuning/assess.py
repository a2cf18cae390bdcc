"""What a tuned model is worth: `recsim-llm assess FOLDER`.

It is asked what it never learned from, in the prompts of its agents: other ratings of the people it knows, rare items,
items removed from its training, new people. Beside it stand collaborative filtering and a content baseline of the very
ratings that it learned from; what it adds to them is measured as in a certificate (`fidelity.incremental`).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import logit
from tqdm import tqdm

from recsim_llm.agents.fitting import fit_statistical
from recsim_llm.agents.persona import traits
from recsim_llm.agents.statistical import StatisticalParameters, rating_distribution
from recsim_llm.agents.statistical import scores as taste
from recsim_llm.data import Dataset, Ratings
from recsim_llm.errors import ConfigError, MissingExtraError
from recsim_llm.experiments.fidelity.baselines import fit_baselines
from recsim_llm.experiments.fidelity.incremental import increment
from recsim_llm.experiments.fidelity.measures import draw_resamples
from recsim_llm.experiments.tuning.card import NUMBERS
from recsim_llm.experiments.tuning.content import fit_content
from recsim_llm.experiments.tuning.lessons import FEW, held_lessons
from recsim_llm.experiments.tuning.measure import Answers, scores
from recsim_llm.experiments.tuning.task import Task, TuneConfig, make_task
from recsim_llm.seeding import Stream, uniforms
from recsim_llm.types import Floats

COLD = 5
"""Training ratings up to which an item is cold."""
_FEWEST = 100  # answers without which an increment over so many features says nothing
_TINY = 1e-6


@dataclass(frozen=True, slots=True)
class AssessConfig:
    """An assessment.

    Attributes:
        people: People asked in each group, by hash; 0 for all.
        rows: Held-out ratings a person, by hash; 0 for all.
        naming: What items are called; '' for what the model learned.
        progress: Show a bar.
    """

    people: int = 300
    rows: int = 10
    naming: str = ""
    progress: bool = True


@dataclass(frozen=True, slots=True)
class Group:
    """Held-out ratings of one kind.

    Attributes:
        name: What is special about them.
        told: What is known of people and items.
        asked: What is asked about.
    """

    name: str
    told: Ratings
    asked: Ratings


@dataclass(frozen=True, slots=True)
class Gain:
    """What a model adds to others: nats a rating, its 95 % interval over people, and p of the permutations."""

    nats: float
    low: float
    high: float
    p: float


@dataclass(frozen=True, slots=True)
class Finding:
    """What is found in a group.

    Attributes:
        group: Its name.
        ratings, people: How many are asked about.
        scores: Of "tuned", "cf" and "content", as `measure.scores` gives them.
        over_cf, over_both: What the tuned model adds to collaborative filtering, and to that and content; None with
            fewer than 100 ratings.
    """

    group: str
    ratings: int
    people: int
    scores: dict[str, dict[str, float]]
    over_cf: Gain | None
    over_both: Gain | None


def assess(folder: Path, config: AssessConfig) -> list[Finding]:
    """Ask a tuned model about what it never learned from. Answers are kept in its folder: a second call goes on.

    Raises:
        ConfigError: The folder holds no tuned model, or a number is out of range.
        LLMError: The model cannot be loaded.
    """
    if min(config.people, config.rows) < 0:
        raise ConfigError("--people and --rows are 0 (all) or more.")
    tuned = _read_config(folder)
    task = make_task(replace(tuned, naming=config.naming or tuned.naming))
    ask = _Examiner(folder, task.data, config)
    return [_finding(task.data, group, ask(group)) for group in groups(task, config.people, config.rows)]


def groups(task: Task, people: int, rows: int) -> Iterator[Group]:
    """Held-out ratings by kind; kinds without any are left out.

    Args:
        task: What the model was taught.
        people: At most so many people a group, by hash; 0 for all.
        rows: At most so many ratings a person; 0 for all.
    """
    warm = task.learners[task.test.users] & ~task.held_items[task.test.items]
    usual = task.test.take(warm)
    cold = np.bincount(task.told.items, minlength=task.told.num_items) <= COLD
    removed = _joined(*(part.take(task.held_items[part.items]) for part in (task.log, task.test)))
    strangers = task.test.take(~task.learners[task.test.users] & ~task.held_items[task.test.items])
    introduced = _introduced(task)
    found = (
        Group("other ratings of its people", task.told, _sampled(usual, people, rows)),
        Group(f"items with at most {COLD} ratings", task.told, usual.take(cold[usual.items])),
        Group(
            "items removed from training",
            task.told,
            _sampled(removed.take(task.learners[removed.users]), people, rows),
        ),
        Group(f"new people, {FEW} ratings told", introduced, _sampled(strangers, people, rows)),
    )
    for group in found:
        known = np.isin(group.asked.users, group.told.users)  # nobody can be described of whom nothing is known
        if known.any():
            yield replace(group, asked=group.asked.take(known))


def _introduced(task: Task) -> Ratings:
    """What is told where new people are: all of the learners, `FEW` ratings of the others."""
    luck = uniforms(0, Stream.TUNING, 9, task.told.users, task.told.items)
    return task.told.take(task.learners[task.told.users] | (_rank(task.told, luck) < FEW))


def _sampled(ratings: Ratings, people: int, rows: int) -> Ratings:
    luck = uniforms(0, Stream.TUNING, 10, ratings.users, ratings.items)
    kept = ratings.take(_rank(ratings, luck) < rows) if rows else ratings
    users = np.unique(kept.users)
    chosen = users[np.argsort(uniforms(0, Stream.TUNING, 11, users), kind="stable")]
    return kept.take(np.isin(kept.users, chosen[:people] if people else chosen))


def _rank(ratings: Ratings, luck: Floats) -> Floats:
    """(M,) how many ratings of the same person have less luck."""
    order = np.lexsort((luck, ratings.users))
    users = ratings.users[order]
    rank = np.empty(len(order), dtype=np.float64)
    rank[order] = np.arange(len(order)) - np.searchsorted(users, users)
    return rank


def _joined(one: Ratings, other: Ratings) -> Ratings:
    return Ratings(
        np.concatenate([one.users, other.users]),
        np.concatenate([one.items, other.items]),
        np.concatenate([one.values, other.values]),
        np.concatenate([one.times, other.times]),
        one.num_users,
        one.num_items,
    )


class _Examiner:
    """Asks a tuned model about groups; keeps its answers beside it."""

    def __init__(self, folder: Path, data: Dataset, config: AssessConfig) -> None:
        self._folder, self._data, self._config = folder, data, config
        self._tools: tuple[Any, Any] | None = None

    def __call__(self, group: Group) -> Answers:
        c = self._config
        words = "-".join(group.name.replace(",", "").split())
        path = self._folder / "assessment" / f"{words}-{c.naming or 'learned'}-{c.people}-{c.rows}.npz"
        if not path.exists():
            answers = self._ask(group)
            path.parent.mkdir(exist_ok=True)
            beside = path.with_suffix(".part.npz")
            np.savez(beside, users=answers.users, items=answers.items, levels=answers.levels, pmf=answers.pmf)
            beside.replace(path)
        with np.load(path) as kept:
            return Answers(kept["users"], kept["items"], kept["levels"], kept["pmf"])

    def _ask(self, group: Group) -> Answers:
        encoder, learner = self._loaded()
        lessons = list(held_lessons(self._data, group.told, group.asked))
        interval = 0.1 if sys.stderr.isatty() else 30.0
        bar = tqdm(lessons, desc=group.name, unit="person", disable=not self._config.progress, mininterval=interval)
        parts = [learner.ask([lesson], [encoder.lesson(lesson)]) for lesson in bar]
        columns = (np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(Answers))
        return Answers(*columns)

    def _loaded(self) -> tuple[Any, Any]:
        if self._tools is None:
            try:
                import torch
            except ImportError as error:
                raise MissingExtraError("torch", "tune", "Assessing a model") from error
            from recsim_llm.experiments.tuning.encoding import Encoder
            from recsim_llm.experiments.tuning.learner import Learner
            from recsim_llm.llm.model_files import load_model

            device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
            model, tokenizer, _ = load_model(str(self._folder), device, torch.float32)
            levels = tuple(str(i + 1) for i in range(len(self._data.rating_levels)))
            self._tools = Encoder(tokenizer, [levels]), Learner(model)
        return self._tools


def _finding(data: Dataset, group: Group, answers: Answers) -> Finding:
    told, users, items = group.told, answers.users, answers.items
    fitted = fit_statistical(told, traits(told, data.catalogue).activity, data.rating_levels)
    content = fit_content(told, data.catalogue).stars(users, items)
    cf = taste(fitted, users, items[:, None])[:, 0]
    pmfs = {"tuned": answers.pmf, "cf": _pmf(fitted, cf), "content": _pmf(fitted, content)}
    stars = np.array(data.rating_levels)
    liking = stars >= 0.8 * stars[-1]
    features = {name: _features(pmf, stars, liking) for name, pmf in pmfs.items()}
    baselines = fit_baselines(told, data.catalogue).stars
    filtering = [
        scorer(users, items) for name, scorer in baselines.items() if name not in ("constant", "genre profile")
    ]
    rated = np.log1p(np.bincount(told.items, minlength=told.num_items))[items]
    known = np.hstack([features["cf"], np.stack([*filtering, rated], axis=1)])
    genres = [baselines["genre profile"](users, items)] if "genre profile" in baselines else []
    both = np.hstack([known, features["content"], *(column[:, None] for column in genres)])
    people, numbered = np.unique(users, return_inverse=True)
    label = liking[answers.levels].astype(np.float64)

    def gain(features_known: Floats) -> Gain | None:
        if len(users) < _FEWEST:
            return None
        found = increment(numbered, features_known, features["tuned"], label, len(people))
        return Gain(found.gain.value, *found.gain.interval(draw_resamples(len(people))), found.p)

    worth = {name: scores(replace(answers, pmf=pmf), data.rating_levels) for name, pmf in pmfs.items()}
    return Finding(group.name, len(users), len(people), worth, gain(known), gain(both))


def _pmf(fitted: StatisticalParameters, stars: Floats) -> Floats:
    return rating_distribution(fitted, stars[:, None])[:, 0]


def _features(pmf: Floats, stars: Floats, liking: Any) -> Floats:
    chance = np.clip(pmf[:, liking].sum(axis=1), _TINY, 1 - _TINY)
    return np.stack([logit(chance), pmf @ stars], axis=1)


def _read_config(folder: Path) -> TuneConfig:
    """The options that the model of a folder was tuned with."""
    path = folder / NUMBERS
    if not path.exists():
        raise ConfigError(
            f"{folder} holds no tuned model ({NUMBERS} is missing). Make one: recsim-llm tune --out {folder}"
        )
    try:
        options = json.loads(path.read_text(encoding="utf-8"))["config"]
        return replace(TuneConfig(**options), out=folder)
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{path} is damaged ({error}). Tune again into another folder.") from error


def report(findings: list[Finding]) -> str:
    """Two Markdown tables: how well each model does in each group, and what the tuned one adds."""
    lines = [
        "| ratings | model | log-loss | RPS | AUC of liking | within people | RMSE |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    names = {"tuned": "tuned", "cf": "collaborative filtering", "content": "genres and years"}
    for each in findings:
        for key, name in names.items():
            s = each.scores[key]
            values = (s["log_loss"], s["rps"], s["auc_like"], s["auc_within"], s["rmse_mean"])
            what = f"{each.group} ({each.ratings:,} by {each.people:,})" if key == "tuned" else ""
            lines.append(f"| {what} | {name} | " + " | ".join(f"{value:.3f}" for value in values) + " |")
    lines += [
        "",
        "| what the tuned model adds, nats a rating (95 %) | to collaborative filtering | to that, genres and years |",
        "| --- | --- | --- |",
    ]
    lines += [f"| {each.group} | {_gain(each.over_cf)} | {_gain(each.over_both)} |" for each in findings]
    return "\n".join(lines)


def _gain(gain: Gain | None) -> str:
    if gain is None:
        return f"fewer than {_FEWEST} ratings"
    return f"{gain.nats:+.4f} ({gain.low:+.4f} to {gain.high:+.4f}), p = {gain.p:.3f}"


def as_json(findings: list[Finding]) -> str:
    """All numbers."""
    return json.dumps([asdict(each) for each in findings], indent=1) + "\n"
