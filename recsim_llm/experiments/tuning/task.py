"""The task of a tuning: its options, the held-out people and items, and the data to learn from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from recsim_llm.agents.fitted_sources import TEST_SHARE, Source, known_impressions, load_source
from recsim_llm.checked import Count, CountOrNone, Name, NotNegative, OutFolder, Positive, Seed, Share, check_fields
from recsim_llm.data import Dataset, Ratings
from recsim_llm.data.dataset import Impressions
from recsim_llm.errors import ConfigError
from recsim_llm.seeding import Stream, uniforms
from recsim_llm.types import Bools

VALIDATION_PEOPLE, VALIDATION_ITEMS = 32, 20
"""People, and most ratings of each, used for early stopping; they are in no test set."""
_FREE = ("out", "max_hours", "steps", "resume", "progress")


@dataclass(frozen=True, slots=True)
class TuneConfig:
    """Options of a tuning.

    Attributes:
        dataset: A data set's name ('recsim-llm data list') or a folder.
        model: The model to start from: a name ('recsim-llm models list'), a folder, or a model of the hub.
        out: Folder of the tuned model.
        split: The training ratings: all but a random fifth of each person's ratings ('random'), all but the latest
            fifth ('temporal'), or the former without a fifth of the people ('users').
        hold_items: Share of the items removed from the training data, by hash, to measure answers about unknown items.
        lora_rank: Rank of adapters (peft); 0 tunes all weights.
        rate: Highest learning rate; 0 for 6e-4, with adapters 1e-3.
        teacher: Weight in the targets of what collaborative filtering of the same log expects, 0 to 1.
        batch: Lessons (people) per step.
        rehearse: Answers that the model writes before tuning and rehearses during it, to preserve its writing; 0 for
            none: interviews ask the model that the tuning started from. 24 are too few: they are memorised.
        max_hours: Most hours, previous parts of a resumed tuning included.
        steps: Number of steps; 0 for as many as the hours allow.
        check_minutes: Minutes between checkpoints, each with a check on held-out answers.
        patience: Checks without improvement after which the tuning ends.
        naming: Names of the items: 'titles', 'masked' (genres and year only), 'ids' or 'invented'.
        prompts: Folder of the texts that are taught, a user model's name without "llm:": 'tuned', or 'tuned-public', in
            which the page tells how many people rated an item, and their mean.
        seed: Seed for all random draws.
        resume: Continue the tuning in the folder.
        progress: Show a progress bar.
    """

    dataset: Name = "ml-100k"
    model: Name = "smollm2-135m"
    out: OutFolder = Path("tuned")
    split: Literal["temporal", "random", "users"] = "temporal"
    hold_items: Share = 0.0
    lora_rank: CountOrNone = 0
    rate: NotNegative = 0.0
    teacher: Share = 0.7
    batch: Count = 3
    rehearse: CountOrNone = 0
    max_hours: Positive = 3.0
    steps: CountOrNone = 0
    check_minutes: Positive = 10.0
    patience: Count = 4
    naming: Literal["titles", "masked", "ids", "invented"] = "titles"
    prompts: Literal["tuned", "tuned-public"] = "tuned"
    seed: Seed = 0
    resume: bool = False
    progress: bool = True

    def check(self) -> None:
        """Check the options.

        Raises:
            ConfigError: An option is out of range.
        """
        check_fields(self)

    @property
    def highest_rate(self) -> float:
        """The learning rate after the warm-up."""
        return self.rate or (1e-3 if self.lora_rank else 6e-4)

    @property
    def users(self) -> str:
        """The user model whose prompts are the texts that are taught."""
        return f"llm:{self.prompts}"

    @property
    def measured_by(self) -> Literal["temporal", "random"]:
        """The split whose held-out ratings are never used for training."""
        return "temporal" if self.split == "temporal" else "random"

    def identity(self, data: Dataset, model_name: str) -> dict[str, object]:
        """What a resumed tuning must have in common with the one it continues."""
        fixed = {name: value for name, value in asdict(self).items() if name not in _FREE}
        return fixed | {"model": model_name, "data": data.checksum}


@dataclass(frozen=True, slots=True)
class TuningTask:
    """Training data and held-out data of a tuning.

    Attributes:
        data: The data set, with the tuning's names of items.
        train: Ratings that lessons are made from.
        learners: (U,) whether lessons are about the person.
        told, validation: Ratings told and asked at checks; the latter are in neither `train` nor any test.
        log: The whole training part, of all people and items.
        test: Ratings that are never used for training.
        held_items: (N,) items removed from `train`.
        exposure: Items shown to learners, with whether they were watched; None if the data set does not say.
    """

    data: Dataset
    train: Ratings
    learners: Bools
    told: Ratings
    validation: Ratings
    log: Ratings
    test: Ratings
    held_items: Bools
    exposure: Impressions | None


def make_task(config: TuneConfig) -> TuningTask:
    """Split the log of a tuning.

    Raises:
        ConfigError, DataError: The data set cannot be loaded or has no titles.
    """
    data, split = load_source(Source(config.dataset, config.measured_by, config.naming))
    if not data.catalogue.has_titles:
        raise ConfigError(f"{data.name} has no item titles, so there is nothing a language model could learn to read.")
    held_items = uniforms(0, Stream.TUNING, 5, np.arange(len(data.catalogue))) < config.hold_items
    learners = np.ones(len(data.people), dtype=np.bool_)
    if config.split == "users":
        learners = uniforms(0, Stream.TUNING, 6, np.arange(len(data.people))) >= TEST_SHARE
    known = split.train.take(~held_items[split.train.items])
    asked = _validation(known, learners)
    told, validation = known.take(~asked), known.take(asked)
    train = told.take(learners[told.users])
    return TuningTask(
        data=data,
        train=train,
        learners=learners,
        told=told,
        validation=validation,
        log=split.train,
        test=split.test,
        held_items=held_items,
        exposure=_exposure(data.impressions, learners, held_items, (validation, split.test)),
    )


def _exposure(
    log: Impressions | None, learners: Bools, held_items: Bools, kept: Sequence[Ratings]
) -> Impressions | None:
    """The impressions to learn from: none of those held out for measuring."""
    if log is None:
        return None
    known = known_impressions(log)
    known = known.take(learners[known.users] & ~held_items[known.items])
    pairs = [part.users * part.num_items + part.items for part in kept]
    return known.take(~np.isin(known.users * len(held_items) + known.items, np.concatenate(pairs)))


def _validation(known: Ratings, learners: Bools) -> Bools:
    """(M,) mask of ratings for checks: up to `VALIDATION_ITEMS` of some learners, at most a third of theirs."""
    counts = np.bincount(known.users, minlength=known.num_users)
    able = np.flatnonzero(learners & (counts >= 6))
    people = able[np.argsort(uniforms(0, Stream.TUNING, 7, able), kind="stable")[:VALIDATION_PEOPLE]]
    most = np.zeros(known.num_users, dtype=np.int64)
    most[people] = np.minimum(counts[people] // 3, VALIDATION_ITEMS)
    order = np.lexsort((uniforms(0, Stream.TUNING, 8, known.users, known.items), known.users))
    users = known.users[order]
    asked = np.zeros(len(known), dtype=np.bool_)
    asked[order] = np.arange(len(order)) - np.searchsorted(users, users) < most[users]
    return asked
