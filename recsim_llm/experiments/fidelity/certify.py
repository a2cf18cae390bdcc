"""Certifies a user model: compares its answers with held-out behaviour of the same people and with simple baselines."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import pyarrow as pa
from annotated_types import Ge, Le

from recsim_llm.agents.fitted_sources import Source, held_sessions, load_source, personas
from recsim_llm.agents.personas.persona import item_means
from recsim_llm.agents.population import Population, make_population
from recsim_llm.agents.user_model import UserModel
from recsim_llm.certificate import Certificate
from recsim_llm.checked import CountOrNone, Name, Text, check_fields
from recsim_llm.data import Dataset, Split
from recsim_llm.data.naming import NAMINGS
from recsim_llm.data.splits import calibration_users
from recsim_llm.environments.sessions import PageRules
from recsim_llm.errors import ConfigError
from recsim_llm.experiments.fidelity.exposure import add_exposure, relive_sessions
from recsim_llm.experiments.fidelity.fidelity_asking import Answered, ask_pairs
from recsim_llm.experiments.fidelity.held_out_rows import Cases, RatingRows, draw_cases, rating_rows
from recsim_llm.experiments.fidelity.injection import InjectionPlan, Words, add_injection
from recsim_llm.experiments.fidelity.measures.baselines import Baselines, fit_baselines
from recsim_llm.experiments.fidelity.measures.choice_measures import choice_measures
from recsim_llm.experiments.fidelity.measures.measures import draw_resamples, mean_of_rows
from recsim_llm.experiments.fidelity.measures.rating_measures import Predictions
from recsim_llm.experiments.fidelity.report.sections import (
    ChoiceContext,
    Findings,
    RatingContext,
    add_choices,
    add_increment,
    add_ratings,
)
from recsim_llm.experiments.fidelity.testers import PAGE_SIZE, make_testers, ordered_pairs
from recsim_llm.experiments.progress import progress_bar
from recsim_llm.experiments.simulation.rollout import choose_visitors, rollout
from recsim_llm.experiments.traits import separations
from recsim_llm.language.encoders import check_encoder
from recsim_llm.language.label_reads import unseen_labels
from recsim_llm.language.protocol import LLM
from recsim_llm.policies import make_policy
from recsim_llm.runs import StepBatch
from recsim_llm.seeding import Stream, uniforms
from recsim_llm.spec import refuse_secrets
from recsim_llm.types import Floats, Ints

LLM_USERS, LLM_ROWS = 40, 10
_TUNING_SHARE = 0.25
_SESSIONS = 1_000
_TRAITS = ("activity", "conformity", "diversity")
_TINY = 1e-6


@dataclass(frozen=True, slots=True)
class CertifyConfig:
    """Options of a certificate. The same config gives the same certificate.

    Attributes:
        dataset: A data set's name ('recsim-llm data list') or a folder.
        user_model: As in 'simulate'; default: statistical users, or hybrid ones where --llm names a model.
        llm: Backend of LLM users; default for them: transformers:smollm2-135m.
        split: What is held out of each person's ratings: a random fifth, or the latest fifth ('temporal').
        users: People measured, by hash; 0: everybody but those kept for calibration (LLM users: 40). Fewer than 30, or
            fewer than 200 held-out ratings of them, certify nothing.
        rows: Most held-out ratings per person; 0: all (LLM users: 10).
        naming: Ask LLM users a second and third time, with ids and with invented titles as the names of items.
        encoder: Encoder of memories as vectors (see 'simulate').
        resamples: Bootstrap samples behind each interval.
    """

    dataset: Name = "ml-100k"
    user_model: Text = ""
    llm: Text = ""
    split: Literal["random", "temporal"] = "random"
    users: CountOrNone = 0
    rows: CountOrNone = 0
    naming: bool = False
    encoder: Name = "hash"
    resamples: Annotated[int, Ge(100), Le(1_000_000)] = 1_000

    def check(self) -> None:
        """Check the options.

        Raises:
            ConfigError: A number is out of range, or the language-model spec contains a key.
        """
        refuse_secrets(self.llm)
        check_fields(self)
        check_encoder(self.encoder)


@dataclass(frozen=True)
class _Study:
    """The people who are measured, and the questions about them."""

    data: Dataset
    split: Split
    ids: Ints
    rows: RatingRows
    cases: Cases
    tuning_rows: RatingRows
    tuning_cases: Cases


def certify(config: CertifyConfig, user_model: str, llm: LLM | None, progress: bool = True) -> Certificate:
    """Measure a user model against held-out behaviour.

    Args:
        config: The options.
        user_model: Resolved name of the user model.
        llm: The language model of LLM users, None for others.
        progress: Show a progress bar.

    Raises:
        ConfigError: The config cannot work, or nobody has held-out ratings.
        LLMError: The model cannot answer. With a cache around it, the same command resumes where it stopped.
    """
    config.check()
    source = Source(config.dataset, config.split)
    population = make_population(source, user_model, llm, config.encoder)
    study = _study(config, source, _asks_llm(population, llm))
    testers = make_testers(study.split.train, study.data.catalogue, study.ids)
    members = np.broadcast_to(study.ids[:, None], testers.pages.shape)
    answered = _ask(study, population, [(members, testers.pages)], progress)
    findings = Findings(draw_resamples(len(study.ids), resamples=config.resamples))
    baselines = _measure(findings, study, answered)
    _add_hybrid_gain(findings, study, population, answered)
    _add_impressions(findings, study, population, baselines)
    utility = _utility(answered, study, members, testers.pages)
    findings.add("tester_pairs", ordered_pairs(testers, utility), 0.5, None, 1.0)
    _add_sessions(findings, config, population, _asks_llm(population, llm))
    _add_naming(findings, config, user_model, llm, study, progress)
    told = _add_title_injection(
        findings, config, user_model, llm if _asks_llm(population, llm) else None, study, progress
    )
    return Certificate(
        metrics=findings.metrics,
        dataset=study.data.name,
        dataset_checksum=study.data.checksum,
        user_model=user_model,
        llm="" if llm is None else llm.name,
        split=config.split,
        n_users=len(study.ids),
        warnings=tuple(_warnings(findings, study, population, _asks_llm(population, llm))),
        baselines=findings.baselines,
        curves=findings.curves,
        notes={**_notes(population, study), **told},
    )


def _asks_llm(population: Population, llm: LLM | None) -> bool:
    """Whether answers cost LLM calls; a hybrid whose weights are all 0 never asks."""
    return llm is not None and population.users.describe().asks_llm


def _study(config: CertifyConfig, source: Source, asks_llm: bool) -> _Study:
    data, split = load_source(source)
    kept = calibration_users(len(data.people))
    has_test = np.bincount(split.test.users, minlength=len(data.people)) > 0
    users = config.users or (LLM_USERS if asks_llm else 0)
    measurable = np.flatnonzero(~kept & has_test)
    if config.users > len(measurable):
        raise ConfigError(
            f"users is {config.users:,}, and {len(measurable):,} people of '{data.name}' can be measured: those with "
            "held-out ratings, without the fifth kept for calibration. Ask for at most so many, or for 0: all of them."
        )
    ids = _some(measurable, users)
    tuning = _some(np.flatnonzero(kept & has_test), int(np.ceil(_TUNING_SHARE * users)))
    if not len(ids) or not len(tuning):
        raise ConfigError(f"Data set '{data.name}' has too few people with held-out ratings to certify anything.")
    rows, tuning_rows = (
        rating_rows(split.test, who, data.rating_levels, config.rows or (LLM_ROWS if asks_llm else 0))
        for who in (ids, tuning)
    )
    cases, tuning_cases = (draw_cases(r, data.ratings, split.train) for r in (rows, tuning_rows))
    return _Study(data, split, ids, rows, cases, tuning_rows, tuning_cases)


def _some(users: Ints, count: int) -> Ints:
    """`count` of the users by hash, ascending; all for 0."""
    if not count:
        return users
    return np.sort(users[np.argsort(uniforms(13, Stream.USER, users), kind="stable")[:count]])


def _ask(study: _Study, population: Population, further: list[tuple[Ints, Ints]], progress: bool) -> Answered:
    pairs = [(study.rows.users, study.rows.items), (study.cases.users, study.cases.items)]
    pairs += [(study.tuning_cases.users, study.tuning_cases.items), *further]
    total = len(np.unique(np.concatenate([(u * len(study.data.catalogue) + i).ravel() for u, i in pairs])))
    with progress_bar(total, "pair", "asking", progress) as bar:
        return ask_pairs(population.users, pairs, bar.update)


def _measure(findings: Findings, study: _Study, answered: Answered) -> Baselines:
    """Add the sections on ratings, choices and information; return the baselines."""
    data, train = study.data, study.split.train
    levels = np.array(data.rating_levels)
    baselines = fit_baselines(train, data.catalogue)
    histogram = np.bincount(np.searchsorted(levels, train.values), minlength=len(levels)) / len(train)
    rows, cases = _numbered(study.rows, study.ids), _numbered_cases(study.cases, study.ids)
    # (M, R): answers are stored once per pair; here one row per held-out rating.
    pmf = answered.rating[answered.rows(study.rows.users, study.rows.items)]
    count = len(study.ids)
    predictions = Predictions(rows.users, rows.items, rows.levels, pmf, pmf @ levels, levels, count)
    # A small certificate has few people for tuning; baselines may always learn from all people kept for calibration.
    kept = np.flatnonzero(calibration_users(len(data.people)))
    tuning = rating_rows(study.split.test, kept, data.rating_levels)
    add_ratings(findings, predictions, RatingContext(rows, study.ids, tuning, histogram, levels, baselines))
    genres = data.catalogue.genre_matrix / np.maximum(data.catalogue.genre_matrix.sum(axis=1, keepdims=True), 1)
    popularity = np.bincount(train.items, minlength=train.num_items).astype(np.float64)
    context = ChoiceContext(cases, study.ids, study.tuning_cases, baselines, popularity, genres, data.catalogue.genres)
    places = answered.rows(study.cases.users, study.cases.items)
    tuning_places = answered.rows(study.tuning_cases.users, study.tuning_cases.items)
    add_choices(findings, answered.watch[places], answered.slots[places], answered.watch[tuning_places], context)
    _add_information(findings, study, predictions, answered, context)
    return baselines


def _add_hybrid_gain(findings: Findings, study: _Study, population: Population, answered: Answered) -> None:
    """Log-loss of the backbone minus that of the hybrid on the same held-out ratings: the hybrid must do no harm."""
    people, rows = population.users.describe().backbone, study.rows
    if people is None:
        return
    backbone = ask_pairs(people, [(rows.users, rows.items)])
    chance = [source.rating[source.rows(rows.users, rows.items), rows.levels] for source in (backbone, answered)]
    gain = np.log(np.maximum(chance[1], 1e-12)) - np.log(np.maximum(chance[0], 1e-12))
    whose = np.searchsorted(study.ids, rows.users)
    findings.add("hybrid_gain", mean_of_rows(whose, gain, len(study.ids)), 0.0)


def _add_information(
    findings: Findings, study: _Study, predictions: Predictions, answered: Answered, context: ChoiceContext
) -> None:
    """Information that the simulator adds to all baselines together, for liking and for taking up."""
    rows, count, baselines = study.rows, len(study.ids), context.baselines
    popularity = np.log1p(context.popularity)
    scorers = [*list(baselines.stars.values())[1:], baselines.choices["ease"]]
    known = np.stack([score(rows.users, rows.items) for score in scorers] + [popularity[rows.items]], axis=1)
    chance = predictions.pmf[:, predictions.liked].sum(axis=1)
    simulated = np.stack([_log_odds(chance), predictions.mean], axis=1)
    liked = predictions.liked[predictions.levels].astype(np.float64)
    add_increment(findings, "incremental", predictions.users, known, simulated, liked, count)
    chosen = study.cases.of("popmatched", 1)
    users, items = study.cases.users[chosen], study.cases.items[chosen]
    scorers = [score for name, score in baselines.choices.items() if name != "popularity"]
    known = np.stack([score(users, items) for score in scorers] + [popularity[items]], axis=1)
    places = answered.rows(users, items)
    stars = answered.rating[places] @ predictions.rating_levels
    simulated = np.stack([_log_odds(answered.watch[places]), stars], axis=1)
    label = study.cases.label[chosen]
    add_increment(findings, "incremental_watch", context.cases.users[chosen], known, simulated, label, count)


def _utility(answered: Answered, study: _Study, members: Ints, pages: Ints) -> Floats:
    """(U', S) expected stars of what each person watches of each page."""
    places = answered.rows(members.ravel(), pages.ravel())
    value = answered.watch[places] * (answered.rating[places] @ np.array(study.data.rating_levels))
    # (S * U' * K,) values of single items -> (U', S) sums over the K items of a page.
    utility: Floats = value.reshape(-1, len(study.ids), PAGE_SIZE).sum(axis=2).T
    return utility


def _add_impressions(findings: Findings, study: _Study, population: Population, baselines: Baselines) -> None:
    """Held-out sessions of a log of impressions, where the data set has one."""
    log = study.data.impressions
    shown = None if log is None else log.take(held_sessions(log) & np.isin(log.users, study.ids))
    if shown is None or not len(shown):
        for name in ("exposure_auc", "watch_log_loss", "watch_ece"):
            findings.missing(name, "the log does not say what was shown (docs/data.md)")
    else:
        add_exposure(findings, shown, relive_sessions(population.users, shown), study.ids, baselines)
    if "session_length_ks" not in findings.metrics:
        findings.missing("session_length_ks", "the log has no exits: when people leave is declared")


def _add_sessions(findings: Findings, config: CertifyConfig, population: Population, asks_llm: bool) -> None:
    """Whether people with different traits behave differently in sessions under the random policy."""
    if asks_llm:
        for trait in _TRAITS:
            findings.missing(f"trait_{trait}", "not simulated here; see: recsim-llm traits RUN")
        return
    users = population.users
    visitors = choose_visitors(users.num_users, min(_SESSIONS, users.num_users), 0)
    policy = make_policy("random", population.log, population.dataset.catalogue, 10)
    batches = list(rollout(config.dataset, users, policy, visitors, PageRules(max_pages=20), 0, 1024))
    people = personas(config.dataset)
    steps = StepBatch.from_table(pa.concat_tables([batch.to_table() for batch in batches]))
    found = separations(steps, people, population.dataset.catalogue, item_means(population.log))
    for one in found:
        findings.given(f"trait_{one.trait}", one.gap.value, one.gap.low, one.gap.high, floor=0.0)


def _add_naming(
    findings: Findings, config: CertifyConfig, user_model: str, llm: LLM | None, study: _Study, progress: bool
) -> None:
    """Repeat the hardest discrimination test with other names for the items."""
    for naming in NAMINGS[1:]:
        name = f"naming_{naming}_auc"
        if llm is None or not config.naming:
            findings.missing(name, "no language model reads titles here" if llm is None else "not asked for (--naming)")
            continue
        population = make_population(Source(config.dataset, config.split, naming), user_model, llm, config.encoder)
        rows = study.cases.of("popmatched", 1)
        users, items = study.cases.users[rows], study.cases.items[rows]
        with progress_bar(len(rows), "pair", "asking", progress) as bar:
            answered = ask_pairs(population.users, [(users, items)], bar.update)
        scores = answered.watch[answered.rows(users, items)]
        place = np.searchsorted(study.ids, users)
        auc = choice_measures(place, scores, study.cases.label[rows], len(study.ids), 0.5)["auc"]
        references = findings.metrics["discrimination_popmatched_auc"]
        findings.add(name, auc, references.floor, references.bar, references.value)


def _add_title_injection(
    findings: Findings, config: CertifyConfig, user_model: str, llm: LLM | None, study: _Study, progress: bool
) -> dict[str, object]:
    """Whether users obey an instruction in a title; returns a table for the notes. `llm` is None if no LLM is asked."""

    def make(words: Words) -> UserModel:
        source = Source(config.dataset, config.split, added=words)
        return make_population(source, user_model, llm, config.encoder).users

    asked = InjectionPlan(study.data, study.split.train, study.ids, config.rows)
    with progress_bar(asked.count, "pair", "asking", progress and llm is not None) as bar:
        return add_injection(findings, asked, make if llm else None, config.resamples, bar.update)


def _warnings(findings: Findings, study: _Study, population: Population, asks_llm: bool) -> Iterator[str]:
    """Warnings: figures too good to be true, and questions that the log cannot answer."""
    rmse, best = findings.metrics["rmse_mean"].value, findings.reference("bias model", "rmse_mean")
    if population.is_truth:
        yield "These are the people that the ratings were drawn from: what no simulator can know without being told."
    elif rmse is not None and best is not None and rmse < 0.8 * best:
        yield (
            f"RMSE {rmse:.3f} is less than four fifths of the bias model's {best:.3f}: check whether held-out ratings "
            "have leaked into the simulator."
        )
    if asks_llm and study.data.name.startswith("ml-"):
        yield (
            "Language models may know this public data set by heart: compare with ids and invented titles (--naming), "
            "and with people and items of your own."
        )
    described = population.users.describe()
    yield from filter(None, (described.belief, unseen_labels(described.counts.get("answers", {}))))
    if study.data.impressions is None:
        yield "This log holds neither what was shown nor when people left: levels of watching and leaving are declared."


def _notes(population: Population, study: _Study) -> dict[str, object]:
    return {"held-out ratings": len(study.rows), **population.users.describe().origins, **population.notes}


def _log_odds(chance: Floats) -> Floats:
    chance = np.clip(chance, _TINY, 1 - _TINY)
    odds: Floats = np.log(chance / (1 - chance))
    return odds


def _numbered(rows: RatingRows, ids: Ints) -> RatingRows:
    return RatingRows(np.searchsorted(ids, rows.users), rows.items, rows.levels)


def _numbered_cases(cases: Cases, ids: Ints) -> Cases:
    return Cases(np.searchsorted(ids, cases.users), cases.items, cases.label, cases.kind, cases.rank)


def certificate_folder(config: CertifyConfig, user_model: str) -> Path:
    """The folder that `recsim-llm certify` writes to by default."""
    users = user_model.replace(":", "-").replace("?", ",").replace("/", "-")
    return Path("certificates") / f"{Path(config.dataset).name}-{users}-{config.split}"
