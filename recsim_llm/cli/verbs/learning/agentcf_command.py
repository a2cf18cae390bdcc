"""AgentCF's memories of users and items (docs/agents/agentcf.md): learn, rank."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Ge, Le
from tyro.conf import OmitArgPrefixes, subcommand

from recsim_llm.agents.llm.agentcf.agentcf_learning import LearnCounts, Learning, LearnOptions, learning
from recsim_llm.agents.llm.agentcf.agentcf_memories import ITEM_WORDS, STATE_FILE, USER_WORDS, AgentCFMemories
from recsim_llm.agents.llm.agentcf.agentcf_ranking import RankRequest, rank_agentcf, shuffled
from recsim_llm.checked import CountOrNone, Name, OutFile, OutFolder, Seed, Text, check_fields
from recsim_llm.cli.command_check import check_command
from recsim_llm.data import load_dataset
from recsim_llm.data.formats.agentcf_release import AgentCFRelease, is_agentcf_folder, load_agentcf
from recsim_llm.data.formats.ranking_task import draw_task
from recsim_llm.errors import ConfigError
from recsim_llm.experiments.backend import open_backend
from recsim_llm.experiments.candidate_ranking import (
    CUTS,
    RankingRow,
    ranking_table,
    rivals,
    row_of,
    scores_of_orders,
    warning_of,
)
from recsim_llm.experiments.simulation.config import DEFAULT_LLM
from recsim_llm.language.encoders import check_encoder, make_encoder
from recsim_llm.language.label_reads import AnswerCounts
from recsim_llm.language.protocol import LLM
from recsim_llm.runs.run_files import write_durably

START, RELEASED = "start", "released"


@dataclass(frozen=True)
class AgentCFLearnConfig:
    """Options of learning.

    Attributes:
        dataset: A data set with titles, or a folder of AgentCF's release (docs/agents/agentcf.md).
        llm: Backend that chooses and writes.
        users: Number of users to learn for, from the first; 0: all.
        positives: Trials per user: this many of their latest items.
        rounds: Choices per trial.
        update: Which of the two items are rewritten.
        answers: How choices are read: one label, or generated text with an explanation, as published.
        user_words, item_words: Most words of a memory.
        noun: Word for an item in prompts: movie, CD.
        seed: Seed of negatives and of the order in which two items are listed.
    """

    dataset: Name = "synthetic"
    llm: Name = DEFAULT_LLM
    users: CountOrNone = 20
    positives: Annotated[int, Ge(1), Le(1_000)] = 5
    rounds: Annotated[int, Ge(1), Le(10)] = 2
    update: Literal["positive", "both"] = "positive"
    answers: Literal["labels", "text"] = "labels"
    user_words: Annotated[int, Ge(1), Le(1_000)] = USER_WORDS
    item_words: Annotated[int, Ge(1), Le(1_000)] = ITEM_WORDS
    noun: Name = "item"
    seed: Seed = 0

    def check(self) -> None:
        """Refuse what is out of its range.

        Raises:
            ConfigError: Something is.
        """
        check_fields(self)

    @property
    def options(self) -> LearnOptions:
        """The options in the form of `agentcf_learning`."""
        names = {each.name for each in fields(LearnOptions)}
        return LearnOptions(**{name: value for name, value in asdict(self).items() if name in names})


@dataclass(frozen=True)
class AgentCFRankConfig:
    """Options of ranking.

    Attributes:
        dataset: As for learning; the task is one true item among ten candidates for each user.
        memories: start (the same sentence for everybody), released (those that came with the data), or the folder of
            'recsim-llm agentcf learn'.
        llm: Backend that judges; '' for the rivals alone.
        users: Number of users to rank for, from the first; 0: all. Rivals rank for the same users, fitted on the whole
            log.
        variant: Content of the prompt: memories (basic), also the nearest earlier one (retrieval), or past items
            (history).
        answers: How a ranking is read: each candidate alone by the probability of Yes, or a generated list, as
            published.
        encoder: Text encoder that finds the nearest earlier memory.
        seed: Seed of drawn candidates, of the order in which they are listed, and of rivals.
    """

    dataset: Name = "synthetic"
    memories: Name = START
    llm: Text = DEFAULT_LLM
    users: CountOrNone = 20
    variant: Literal["basic", "retrieval", "history"] = "basic"
    answers: Literal["labels", "text"] = "labels"
    encoder: Name = "hash"
    seed: Seed = 0

    def check(self) -> None:
        """Refuse what is out of its range.

        Raises:
            ConfigError: Something is.
        """
        check_fields(self)
        check_encoder(self.encoder)


@dataclass(frozen=True)
class AgentCFLearn:
    """Let users and items describe themselves, trial by trial; the same command resumes an interrupted job."""

    config: OmitArgPrefixes[AgentCFLearnConfig] = field(default_factory=AgentCFLearnConfig)
    out: OutFolder | None = None
    """Folder of the memories; default agentcf/DATASET."""


@dataclass(frozen=True)
class AgentCFRank:
    """Find one true item among ten by memories in words, beside rankers that ask no model."""

    config: OmitArgPrefixes[AgentCFRankConfig] = field(default_factory=AgentCFRankConfig)
    out: OutFile | None = None
    """A JSON file for the numbers."""


@dataclass(frozen=True)
class AgentCFCommand:
    """Options of `recsim-llm agentcf`."""

    command: Annotated[AgentCFLearn, subcommand("learn")] | Annotated[AgentCFRank, subcommand("rank")]


def run(command: AgentCFCommand) -> None:
    """Learn, or rank."""
    check_command(command.command)
    match command.command:
        case AgentCFLearn(config, out):
            run_learn(config, out or Path("agentcf") / Path(config.dataset).name.replace(":", "-"))
        case AgentCFRank(config, out):
            run_rank(config, out)


def open_release(dataset: str, seed: int = 0) -> AgentCFRelease:
    """A released split, or a task drawn from any data set.

    Raises:
        DataError: It cannot be read.
        ConfigError: Nothing can be ranked.
    """
    folder = Path(dataset).expanduser()
    if is_agentcf_folder(folder):
        return load_agentcf(folder)
    return AgentCFRelease(draw_task(load_dataset(dataset), seed))


def run_learn(config: AgentCFLearnConfig, out: Path) -> None:
    """Learn; print progress after each step, then where the memories are and what to do next."""
    task = open_release(config.dataset).task.first(config.users)
    with open_backend(config.llm) as llm:
        run = learning(llm, task.dataset, task.log, task.users, config.seed, out, config.options)
        try:
            for now in run:
                print(step_line(now), flush=True)
        except KeyboardInterrupt:
            print(f"\nInterrupted; every finished step is kept in {out}. Go on with the same command.")
            raise
    print(counts_lines(now.counts))
    print(f"\nThe memories are in {out / STATE_FILE}. Next:")
    rank = f"recsim-llm agentcf rank --dataset {config.dataset} --memories {out} --llm {config.llm}"
    print(f"  {rank} --users {len(task.users)}")
    if not is_agentcf_folder(Path(config.dataset).expanduser()):
        print(f"  recsim-llm simulate --dataset {config.dataset} --user-model agentcf:{out} --llm {config.llm}")


def step_line(now: Learning) -> str:
    """Progress of learning, in one line."""
    c = now.counts
    if not now.step:
        return f"{now.steps} steps, one trial of each user in each."
    return (
        f"step {now.step} of {now.steps}: {c.first_right:,} of {c.first_choices:,} first choices right, "
        f"{c.user_rewrites + c.item_rewrites:,} memories rewritten, {c.unusable + c.kept:,} answers unusable"
    )


def counts_lines(counts: LearnCounts) -> str:
    """Counts of learning, including how many choices fell on the item listed first."""
    usable = max(counts.choices - counts.unusable, 1)
    return (
        f"{counts.first_right:,} of {counts.first_choices:,} first choices were right (chance: half); of all choices "
        f"{counts.listed_first / usable:.0%} fell on what was listed first. {counts.user_cut:,} of "
        f"{counts.user_rewrites:,} self-descriptions and {counts.item_cut:,} of {counts.item_rewrites:,} descriptions "
        f"were cut to their limit of words; {counts.kept:,} rewrites and {counts.unusable:,} choices could not be used."
    )


def run_rank(config: AgentCFRankConfig, out: Path | None) -> None:
    """Rank; print the table, what the data give away, where the numbers are and what to do next."""
    release = open_release(config.dataset, config.seed)
    memories = _memories(config, release)  # before anything is fitted, so that missing memories fail at once
    task = release.task.first(config.users)
    rows = list(rivals(task, config.seed))
    try:
        if config.llm:
            with open_backend(config.llm) as llm:
                rows.append(agentcf_row(config, release, memories, llm))
    except KeyboardInterrupt:
        print("\nInterrupted; answers are kept in the cache. Go on with the same command.")
        raise
    print(ranking_table(rows))
    print(f"\n{warning_of(task, rows)}")
    if out is not None:
        write_durably(out, (json.dumps(_as_json(config, rows), indent=1) + "\n").encode())
        print(f"The numbers are in {out}.")
    if config.memories == START:
        print(
            f"Everybody had the same memory. Next: recsim-llm agentcf learn --dataset {config.dataset} --out memories"
        )


def agentcf_row(config: AgentCFRankConfig, release: AgentCFRelease, memories: AgentCFMemories, llm: LLM) -> RankingRow:
    """The row of the model with its memories, for the first users."""
    task, counts = release.task.first(config.users), AnswerCounts()
    requests = [
        RankRequest(user, shuffled(candidates, config.seed, user), history)
        for user, candidates, history in zip(task.users, task.candidates, task.histories, strict=True)
    ]
    encoder = make_encoder(config.encoder)
    orders = rank_agentcf(llm, memories, requests, config.variant, config.answers, encoder, counts)
    unused = f", {counts.fallbacks} unusable" if counts.fallbacks else ""
    kind = config.memories if config.memories in (START, RELEASED) else "learned"
    without = len(set(task.users) - set(memories.learned_users)) if kind != START else 0
    lacking = f", {without} of {len(task.users)} users with none" if without else ""
    return row_of(f"AgentCF {config.variant}, {kind} memories{lacking}{unused}", scores_of_orders(task, orders))


def _memories(config: AgentCFRankConfig, release: AgentCFRelease) -> AgentCFMemories:
    catalogue = release.task.dataset.catalogue
    if config.memories == START:
        return AgentCFMemories(catalogue)
    if config.memories == RELEASED:
        if not release.users:
            raise ConfigError(
                f"--memories released: {config.dataset} comes with none (final_user_memories.tsv). Write start, or "
                "name the folder of 'recsim-llm agentcf learn'."
            )
        return AgentCFMemories(catalogue, "CD", release.users, release.items)
    return AgentCFMemories.load(Path(config.memories).expanduser(), catalogue)


def _as_json(config: AgentCFRankConfig, rows: Sequence[RankingRow]) -> dict[str, object]:
    return {"config": asdict(config), "cuts": CUTS, "rows": [asdict(row) for row in rows]}
