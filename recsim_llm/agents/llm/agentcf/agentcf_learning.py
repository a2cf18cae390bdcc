"""Collaborative reflection: users and items rewrite each other's memories, trial by trial (Zhang et al., WWW 2024).

A step is one trial of every user; it is batched over all of them, saved when it is done, and its result depends neither
on the order of users in the batch nor on where an earlier run was interrupted. Deviations: docs/agents/agentcf.md.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields
from hashlib import sha256
from pathlib import Path
from typing import Any

from recsim_llm.agents.llm.agentcf.agentcf_memories import (
    ITEM_WORDS,
    KIND,
    STATE_FILE,
    USER_WORDS,
    AgentCFMemories,
    limit_words,
    read_json,
    write_json,
)
from recsim_llm.agents.llm.agentcf.agentcf_texts import (
    Pick,
    choose_prompt,
    memory_parser,
    parse_choice,
    rewrite_item_prompt,
    rewrite_user_prompt,
    titles,
)
from recsim_llm.agents.llm.agentcf.agentcf_trials import Trial, plan_trials
from recsim_llm.agents.llm.prompts_text import prompt_text
from recsim_llm.data.dataset import Catalogue, Dataset, Ratings
from recsim_llm.errors import ConfigError, DataError, RecordingError
from recsim_llm.language.converse import converse
from recsim_llm.language.label_reads import AnswerCounts, ask
from recsim_llm.language.protocol import LLM
from recsim_llm.language.text_reads import ask_text
from recsim_llm.seeding import Stream, uniforms
from recsim_llm.types import Completion, Prompt

ANSWERS = ("labels", "text")
UPDATES = ("positive", "both")
_PROCEDURE = 2
"""Version of `learn_step`; another version must not resume its runs. In 1, only wrong choosers chose again."""


@dataclass(frozen=True, slots=True)
class LearnOptions:
    """How agents learn.

    Attributes:
        answers: "labels": the choice is read as the probabilities of "A" and "B"; "text": as generated text with an
            explanation, as published.
        rounds: Rounds per trial: in each, everybody chooses, with the memories as rewritten by then; published: 2.
        confirm: Whether memories are rewritten after a right choice too, as published: those of user and item in the
            first round, that of the item alone after the last.
        update: "positive": of the two items only the one that was taken is rewritten, as published; "both".
        positives: Trials per user: one for each of this many latest items that they took.
        user_words, item_words: Most words of a memory; longer ones are cut at the end of a sentence, and counted.
        temperature: Temperature of generated texts.
        noun: What an item is called in prompts.
    """

    answers: str = "labels"
    rounds: int = 2
    confirm: bool = True
    update: str = "positive"
    positives: int = 5
    user_words: int = USER_WORDS
    item_words: int = ITEM_WORDS
    temperature: float = 0.0
    noun: str = "item"

    def __post_init__(self) -> None:
        if self.answers not in ANSWERS or self.update not in UPDATES:
            raise ConfigError(
                f"answers is '{self.answers}' and update '{self.update}'; "
                f"use one of {', '.join(ANSWERS)} and one of {', '.join(UPDATES)}."
            )
        if min(self.rounds, self.positives, self.user_words, self.item_words) < 1:
            raise ConfigError("rounds, positives, user_words and item_words must be at least 1.")


@dataclass(slots=True)
class LearnCounts:
    """What happened while learning.

    Attributes:
        choices: Choices asked for, in all rounds.
        right: Of the usable ones, those that picked the positive.
        first_choices, first_right: The same in the first round of each trial: before the answer was revealed.
        listed_first: Usable choices that picked what was listed first; half of them, were there no bias.
        unusable: Choices that could not be read: they leave memories unchanged.
        user_rewrites, item_rewrites: Memories rewritten.
        user_cut, item_cut: Of these, those that were cut to the limit of words.
        kept: Rewrites that could not be used: the memory is unchanged.
        answers: Counters of the model's answers.
    """

    choices: int = 0
    right: int = 0
    first_choices: int = 0
    first_right: int = 0
    listed_first: int = 0
    unusable: int = 0
    user_rewrites: int = 0
    item_rewrites: int = 0
    user_cut: int = 0
    item_cut: int = 0
    kept: int = 0
    answers: AnswerCounts = field(default_factory=AnswerCounts)


@dataclass(slots=True)
class Learning:
    """Progress of learning.

    Attributes:
        step, steps: Steps done, and how many there are.
        memories: What has been learned so far.
        counts: What happened so far.
    """

    step: int
    steps: int
    memories: AgentCFMemories
    counts: LearnCounts


def learn_agentcf(
    llm: LLM,
    dataset: Dataset,
    log: Ratings,
    users: Sequence[int],
    seed: int = 0,
    folder: Path | str | None = None,
    options: LearnOptions | None = None,
) -> AgentCFMemories:
    """Learn memories of users and items from a log.

    Args:
        llm: Language model that chooses and writes.
        dataset: For its catalogue.
        log: Training ratings, of `dataset`'s users and items; never what is tested on.
        users: Ids of the users who learn; their order does not matter.
        seed: Seed of negatives and of the order in which two items are listed.
        folder: Where to save after each step; an interrupted run resumes from there, with the same result.
        options: How to learn.

    Raises:
        ConfigError: No titles, no users, or a user who has taken every item.
        RecordingError: The folder holds another run: other data, options, seed or model.
        LLMError: The model fails; what was saved stays.
    """
    (*_, last) = learning(llm, dataset, log, users, seed, folder, options)
    return last.memories


def learning(
    llm: LLM,
    dataset: Dataset,
    log: Ratings,
    users: Sequence[int],
    seed: int = 0,
    folder: Path | str | None = None,
    options: LearnOptions | None = None,
) -> Iterator[Learning]:
    """`learn_agentcf` as an iterator: yields the progress before the first step and after each step."""
    how = options or LearnOptions()
    _check_titles(dataset.catalogue)
    steps = plan_trials(log, users, how.positives, seed)
    config = {"llm": llm.name, "seed": seed, "options": asdict(how), "trials": _digest(steps), "procedure": _PROCEDURE}
    path = Path(folder) / STATE_FILE if folder is not None else None
    now = Learning(0, len(steps), AgentCFMemories(dataset.catalogue, how.noun), LearnCounts())
    if path is not None and path.exists():
        now = _restored(path, config, dataset.catalogue)
    yield now
    while now.step < now.steps:
        learn_step(llm, now.memories, steps[now.step], seed, how, now.counts)
        now.step += 1
        if path is not None:
            _save(path, config, now)
        yield now


def _check_titles(catalogue: Catalogue) -> None:
    if not catalogue.has_titles:
        raise ConfigError("AgentCF needs item titles, and this data set has none. Add a title column.")


def learn_step(
    llm: LLM,
    memories: AgentCFMemories,
    trials: Sequence[Trial],
    seed: int,
    options: LearnOptions,
    counts: LearnCounts,
) -> list[tuple[Trial, list[bool | None]]]:
    """One trial of each of some users: choose, learn what was right, rewrite, as the released code does it.

    In each round everybody chooses, with the memories as they stand when the round begins. Who chose wrongly rewrites
    their memory, then the item. A right choice of the first round confirms both; one of the last round, where there are
    more than one, confirms the item alone, at the end. First all users rewrite their own, then items are rewritten.
    Where several users rewrite one item in a round they do so one after the other, in the order of their ids, each
    seeing the text of the one before: the order of `trials` does not matter.

    Args:
        llm: Language model that chooses and writes.
        memories: Changed in place.
        trials: At most one per user.
        seed: Seed of the order in which the two items are listed.
        options: How to learn.
        counts: Counters to add to.

    Returns:
        Each trial with what it picked in each round: True right, False wrong, None unusable; in the order of user ids.

    Raises:
        ConfigError: A user has two trials.
    """
    ordered = sorted(trials)
    if len({trial.user for trial in ordered}) < len(ordered):
        raise ConfigError("A user has two trials in one step; give them to two steps.")
    outcomes: dict[Trial, list[bool | None]] = {trial: [] for trial in ordered}
    for number in range(options.rounds):
        swapped = {trial: _swapped(seed, trial, number) for trial in ordered}
        turns = [_choose(memories, trial, swapped[trial], options, counts) for trial in ordered]
        picks = dict(zip(ordered, converse(llm, turns), strict=True))
        right = {t: None if p is None else (p.slot == 1) == swapped[t] for t, p in picks.items()}
        for trial, outcome in right.items():
            outcomes[trial].append(outcome)
            _count(outcome, picks[trial], number, counts)
        confirms = options.confirm and number == 0
        told = [(t, p) for t, p in picks.items() if p is not None and (confirms or not right[t])]
        _rewrite_users(llm, memories, [(t, swapped[t], p) for t, p in told], options, counts)
        _rewrite_items(llm, memories, [(t, bool(right[t])) for t, _ in told], options, counts)
    if options.confirm and options.rounds > 1:  # a single round has confirmed already
        kept = [(trial, True) for trial, found in outcomes.items() if found[-1]]
        _rewrite_items(llm, memories, kept, options, counts)
    return list(outcomes.items())


def _swapped(seed: int, trial: Trial, number: int) -> bool:
    """Whether the negative is listed first. Published: the positive is always listed second."""
    return bool(uniforms(seed, Stream.LISTING, trial.user, trial.positive, number) < 0.5)


def _choose(
    memories: AgentCFMemories, trial: Trial, swapped: bool, options: LearnOptions, counts: LearnCounts
) -> Generator[Sequence[Prompt], Sequence[Completion], Pick | None]:
    prompt = choose_prompt(memories, trial, swapped, options.answers)
    if options.answers == "text":
        listed = titles(memories, trial, swapped)
        prompt = prompt._replace(temperature=options.temperature)
        (pick,) = yield from ask_text([prompt], lambda text: parse_choice(text, listed), _remind_text(), counts.answers)
        return pick
    mine = AnswerCounts()
    (probabilities,) = yield from ask([prompt], prompt_text(KIND, "remind"), mine)
    add_counts(counts.answers, mine)
    # A label read falls back to equal probabilities; in AgentCF an unusable choice must leave memories unchanged.
    return None if mine.fallbacks else Pick(int(probabilities[1] > probabilities[0]))


def _rewrite_users(
    llm: LLM,
    memories: AgentCFMemories,
    told: Sequence[tuple[Trial, bool, Pick]],
    options: LearnOptions,
    counts: LearnCounts,
) -> None:
    prompts = [rewrite_user_prompt(memories, *row, options.user_words) for row in told]
    texts = converse(llm, [_rewrite(prompt, options, counts) for prompt in prompts])
    for (trial, _, _), text in zip(told, texts, strict=True):
        if text is None:
            counts.kept += 1
            continue
        short, cut = limit_words(text, options.user_words)
        memories.rewrite_user(trial.user, short)
        counts.user_rewrites += 1
        counts.user_cut += cut


def _rewrite_items(
    llm: LLM,
    memories: AgentCFMemories,
    told: Sequence[tuple[Trial, bool]],
    options: LearnOptions,
    counts: LearnCounts,
) -> None:
    waiting: dict[int, list[tuple[Trial, bool]]] = {}
    for trial, right in told:
        for item in (trial.positive, trial.negative) if options.update == "both" else (trial.positive,):
            waiting.setdefault(item, []).append((trial, right))
    wave = 0
    # In waves, because rewrites of one item are sequential: in each, every item is rewritten by the next of its users.
    while now := [(item, *queue[wave]) for item, queue in sorted(waiting.items()) if wave < len(queue)]:
        prompts = [rewrite_item_prompt(memories, t, item, right, options.item_words) for item, t, right in now]
        texts = converse(llm, [_rewrite(prompt, options, counts) for prompt in prompts])
        for (item, _, _), text in zip(now, texts, strict=True):
            _store_item(memories, item, text, options, counts)
        wave += 1


def _store_item(
    memories: AgentCFMemories, item: int, text: str | None, options: LearnOptions, counts: LearnCounts
) -> None:
    if text is None:
        counts.kept += 1
        return
    short, cut = limit_words(text, options.item_words)
    memories.rewrite_item(item, short)
    counts.item_rewrites += 1
    counts.item_cut += cut


def _rewrite(
    prompt: Prompt, options: LearnOptions, counts: LearnCounts
) -> Generator[Sequence[Prompt], Sequence[Completion], str | None]:
    warm = prompt._replace(temperature=options.temperature)
    (text,) = yield from ask_text([warm], memory_parser(prompt), _remind_text(), counts.answers)
    return text


def _remind_text() -> str:
    return prompt_text(KIND, "remind_text")


def _count(outcome: bool | None, pick: Pick | None, number: int, counts: LearnCounts) -> None:
    counts.choices += 1
    counts.first_choices += number == 0
    counts.unusable += outcome is None
    counts.right += outcome is True
    counts.first_right += outcome is True and number == 0
    counts.listed_first += pick is not None and pick.slot == 0


def add_counts(total: AnswerCounts, more: AnswerCounts) -> None:
    """Add counters to others."""
    for each in fields(AnswerCounts):
        setattr(total, each.name, getattr(total, each.name) + getattr(more, each.name))


def _digest(steps: list[list[Trial]]) -> str:
    return sha256(json.dumps(steps).encode()).hexdigest()[:16]


def _save(path: Path, config: dict[str, Any], now: Learning) -> None:
    done = {"step": now.step, "steps": now.steps, "counts": asdict(now.counts)}
    write_json(path, {"config": config, **done, "memories": now.memories.content()})


def _restored(path: Path, config: dict[str, Any], catalogue: Catalogue) -> Learning:
    content = read_json(path)
    try:
        was, counts = content["config"], dict(content["counts"])
        counted = dict(counts.pop("answers"))
        counted.pop("label_mass", None)  # of older versions, which took bounds for seen
        answers = AnswerCounts(**counted)
        step, steps = int(content["step"]), int(content["steps"])
        happened = LearnCounts(**counts, answers=answers)
        memories = content["memories"]
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{path} holds no learning to go on with ({error!r}). Remove it, or use a new folder."
        ) from error
    if was != json.loads(json.dumps(config)):
        other = [name for name in config if was.get(name) != json.loads(json.dumps(config[name]))]
        raise RecordingError(f"{path} was learned with other {', '.join(other)}. Use a new folder, or remove it.")
    return Learning(step, steps, AgentCFMemories.from_content(memories, catalogue, str(path)), happened)
