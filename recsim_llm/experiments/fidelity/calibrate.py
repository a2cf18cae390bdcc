"""Learns how much weight a language model's answers get for the people of a data set; resumable."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from annotated_types import Ge, Le

from recsim_llm.agents.collected_answers import collect_answers
from recsim_llm.agents.fitted_sources import Source, fitted_parameters, load_source, training_counts
from recsim_llm.agents.hybrid.calibration import Answers, fit_calibration
from recsim_llm.agents.hybrid.hybrid_users import fit_hybrid
from recsim_llm.agents.hybrid.learned import Identity, Learned, learned_folder
from recsim_llm.agents.named_users import inner_name, model_fingerprint
from recsim_llm.agents.population import make_population
from recsim_llm.checked import Name, Text, check_fields
from recsim_llm.data import Dataset, Split
from recsim_llm.data.splits import calibration_users
from recsim_llm.experiments.fidelity.held_out_rows import RatingRows, draw_cases, rating_rows
from recsim_llm.experiments.progress import progress_bar
from recsim_llm.language.encoders import check_encoder
from recsim_llm.language.protocol import LLM
from recsim_llm.seeding import Stream, uniforms

FEWEST = 10


@dataclass(frozen=True, slots=True)
class CalibrateConfig:
    """Options of a calibration.

    Attributes:
        dataset: A data set's name ('recsim-llm data list') or a folder.
        user_model: 'hybrid' (the plainest agents), or 'hybrid:KIND' as in 'simulate'.
        llm: The language model; default: transformers:smollm2-135m.
        split: Held-out ratings to learn from: the latest fifth of each person's ('temporal'), or a random fifth. What
            is learned serves both.
        users: People asked about, of the fifth that no certificate measures: up to 10 items each that they rated, and
            as many that they did not.
        encoder: Encoder of memories as vectors (see 'simulate').
    """

    dataset: Name = "ml-100k"
    user_model: Name = "hybrid"
    llm: Text = ""
    split: Literal["temporal", "random"] = "temporal"
    users: Annotated[int, Ge(FEWEST), Le(1_000_000_000)] = 100
    encoder: Name = "hash"

    def check(self) -> None:
        """Check the options.

        Raises:
            ConfigError: A value out of range, or a user model that is not made of another one.
        """
        check_fields(self)
        inner_name(self.user_model)
        check_encoder(self.encoder)


@dataclass(frozen=True, slots=True)
class Calibrated:
    """Result of `calibrate`.

    Attributes:
        learned: The learned weights.
        inner: The user model that asked.
        folder: Folder of the stored weights.
        pairs: Pairs asked about.
    """

    learned: Learned
    inner: str
    folder: Path
    pairs: int


def calibrate(config: CalibrateConfig, llm: LLM, progress: bool = True) -> Calibrated:
    """Ask a language model about people whom no certificate measures, and learn from their real behaviour.

    Args:
        config: The options.
        llm: The model; with a cache around it, an interrupted job resumes where it stopped.
        progress: Show a progress bar.

    Raises:
        ConfigError: The config cannot work.
        DataError: There is too little data to learn from.
    """
    config.check()
    inner = inner_name(config.user_model)
    source = Source(config.dataset, config.split)
    data, split = load_source(source)
    pairs = _pairs(config.users, data, split)
    model = make_population(source, inner, llm, config.encoder).users
    with progress_bar(len(pairs), "pair", "calibrating", progress) as bar:
        said = collect_answers(model, pairs.users, pairs.items, progress=bar.update)
    answers = Answers(pairs.users, pairs.items, said.watch, said.rating, pairs.levels >= 0, pairs.levels)
    weights = fit_hybrid(fitted_parameters(source), answers, *training_counts(split.train))
    learned = Learned(fit_calibration(answers), weights)
    identity = Identity(llm.name, inner, data.checksum, model_fingerprint(inner, data.catalogue))
    learned.save(learned_folder(identity), identity)
    return Calibrated(learned, inner, learned_folder(identity), len(pairs))


def _pairs(users: int, data: Dataset, split: Split) -> RatingRows:
    """Up to 10 rated items per person and as many unrated ones, with level -1."""
    held = np.bincount(split.test.users, minlength=len(data.people)) > 0
    members = np.flatnonzero(calibration_users(len(data.people)) & held)
    members = members[np.argsort(uniforms(13, Stream.USER, members), kind="stable")[:users]]
    rated = rating_rows(split.test, members, data.rating_levels)
    cases = draw_cases(rated, data.ratings, split.train)
    asked = cases.of("uniform", 1)
    keys = rated.users * len(data.catalogue) + rated.items
    order = np.argsort(keys)
    wanted = cases.users[asked] * len(data.catalogue) + cases.items[asked]
    place = np.minimum(np.searchsorted(keys[order], wanted), len(keys) - 1)
    levels = np.where(cases.label[asked] > 0, rated.levels[order][place], -1)
    return RatingRows(cases.users[asked], cases.items[asked], levels)
