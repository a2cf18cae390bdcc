"""The base class of planners: turns as generators, grounding of titles, filling of pages, and files.

A planner's turn for one user yields prompts and returns a `Move`; `converse` advances the turns of all users with one
batched call per round. `act` only reads the memories and `learn` changes them, so neither the order nor the size of a
batch affects results within a round.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recsim_llm.data.dataset import Catalogue, Ratings
from recsim_llm.errors import ConfigError, RecordingError
from recsim_llm.language.converse import Turn, converse
from recsim_llm.language.protocol import LLM
from recsim_llm.option_list import ListedOption, listed_options
from recsim_llm.policies.feedback import Feedback
from recsim_llm.policies.grounding import Grounder, GroundingCounts, written_titles
from recsim_llm.policies.planners.asking import AskingCounts, ask_label, ask_text
from recsim_llm.policies.planners.options import LABELS, PlannerOptions, read_options
from recsim_llm.policies.planners.retriever import fit_retriever, packed, retrieve, unpacked
from recsim_llm.policies.planners.texts import (
    KIND,
    MAX_THOUGHT,
    Case,
    ExitRule,
    PlannerTexts,
    check_titles,
    exit_sentence,
    one_line,
    phrase,
    real,
    say,
)
from recsim_llm.policies.policy_files import read_file, write_file
from recsim_llm.policies.policy_protocol import FittedPolicy
from recsim_llm.policies.ranking import check_page_size
from recsim_llm.policies.sparse_rows import history_rows, interactions, logged_rows
from recsim_llm.runs.step_notes import Why
from recsim_llm.seeding import Stream, mix_one, uniforms
from recsim_llm.types import Ints, Observation, Prompt
from recsim_llm.untrusted import parse_json

_TITLE_TOKENS, _MOST_TOKENS, _THOUGHT_TOKENS = 24, 1024, 64


class Move(NamedTuple):
    """A planner's decision for one page.

    Attributes:
        items: Distinct items, at most K; the retriever fills the rest.
        thought: The reasoning behind it; "" if there was none.
    """

    items: tuple[int, ...]
    thought: str = ""


@dataclass(slots=True)
class PlannedVisit:
    """State of a running session.

    Attributes:
        thoughts: By page, for the latest pages only.
        lessons: Lessons recalled when it began; they do not change, so that prompts only grow at their end.
        case: The case of the latest requested page.
        value: The critic's value of `case`; None before it was computed.
    """

    thoughts: dict[int, str] = field(default_factory=dict)
    lessons: tuple[str, ...] = ()
    case: Case | None = None
    value: float | None = None


class Planner:
    """A policy that asks a language model for titles. Subclasses define a turn and what is learned.

    Items that a user rated in the log, or that the history holds, are shown again only when no others are left.
    A user has one session at a time; it begins where `observation["page"]` is 0.

    Attributes:
        name: Registered name.
        page_size: K.
        seed: Seed for prompts and the order of candidates.
        options: See `PlannerOptions`.
        known: (U, N) 1 where a user has rated an item in the log.
        top: Most stars in the log (5 if it is empty).
        visits: Running sessions, by user.
        asking, grounding: Counters of questions and of grounding.
        why: The thoughts behind the latest pages; None before the first.
        frozen: Whether `learn` leaves the memories unchanged, for evaluation.
        exit_rule: Sentence in the prompts about when users leave; "" for none.
    """

    name: ClassVar[str]
    Options: ClassVar[type[PlannerOptions]] = PlannerOptions
    options: PlannerOptions

    def __init__(
        self,
        page_size: int,
        seed: int,
        known: sp.csr_array,
        options: PlannerOptions,
        retriever: FittedPolicy,
        fitted: Mapping[str, NDArray[Any]],
    ) -> None:
        check_page_size(page_size, known.shape[1])
        self.page_size, self.seed, self.known, self.options, self.retriever = page_size, seed, known, options, retriever
        self.top = float(fitted["top"])
        self.exit_rule = str(fitted.get("exit_rule", ""))
        self.visits: dict[int, PlannedVisit] = {}
        self.asking, self.grounding = AskingCounts(), GroundingCounts()
        self.frozen = options.frozen
        self._llm: LLM | None = None
        self.why: Why | None = None
        self.recollect(fitted)

    @classmethod
    def fit(cls, log: Ratings, catalogue: Catalogue, page_size: int, seed: int = 0, **options: Any) -> Self:
        """Fit the retriever; the planner itself learns from sessions only.

        Args:
            log: Training ratings.
            catalogue: The items.
            page_size: K, 1..N.
            seed: Seed for the retriever, the prompts, and the order of candidates.
            options: Fields of `Options`.

        Raises:
            ConfigError: An invalid option, a catalogue without titles or of another log, or a page too large.
        """
        check_page_size(page_size, len(catalogue))
        if log.num_items != len(catalogue):
            raise ConfigError(f"The log is about {log.num_items} items, the catalogue has {len(catalogue)}.")
        check_titles(catalogue, cls.name)
        chosen = read_options(cls.Options, cls.name, options)
        retriever = fit_retriever(chosen.retriever, log, catalogue, seed)
        top = np.array(log.values.max() if len(log) else 5.0)
        return cls(page_size, seed, interactions(log), chosen, retriever, {"top": top})

    @classmethod
    def listed_options(cls) -> list[ListedOption]:
        """See `policies.policy_protocol.ListedPolicy`."""
        return listed_options(cls.Options)

    @classmethod
    def check_options(cls, options: Mapping[str, Any]) -> None:
        """See `policies.policy_protocol.FittedPolicy`."""
        read_options(cls.Options, cls.name, options)

    def connect(self, llm: LLM, catalogue: Catalogue) -> None:
        """See `policies.policy_protocol.LLMPolicy`.

        Raises:
            ConfigError: The catalogue has no titles, or the policy was fitted for another one.
            MissingExtraError: The package for fuzzy matching or for the encoder is not installed.
        """
        check_titles(catalogue, self.name)
        if len(catalogue) != self.known.shape[1]:
            raise ConfigError(f"The policy knows {self.known.shape[1]} items, the catalogue has {len(catalogue)}.")
        self._llm, self.catalogue = llm, catalogue
        self.texts = PlannerTexts(catalogue, self.top, self.exit_rule)
        self.grounder = Grounder(catalogue, self.options.fuzzy, self.options.encoder)

    def tell_exit(self, rule: ExitRule | None, default: bool) -> None:
        """Set what prompts say about when users leave: by the option `tell_exit`, else by the default.

        Args:
            rule: The rule; None if there is none.
            default: The setting for all planners of a simulation or study.

        Raises:
            ConfigError: Prompts must state the rule and there is none.
        """
        wanted = default if self.options.tell_exit is None else self.options.tell_exit
        if wanted and rule is None:
            raise ConfigError(
                f"The policy '{self.name}' is to be told when people leave (tell_exit), and here no rule says so: add "
                "--quit window, or drop tell_exit."
            )
        self.exit_rule = exit_sentence(rule, self.page_size, self.top) if wanted and rule is not None else ""
        if self._llm is not None:
            self.texts = PlannerTexts(self.catalogue, self.top, self.exit_rule)

    @property
    def llm(self) -> LLM:
        """The language model.

        Raises:
            ConfigError: No model is connected.
        """
        if self._llm is None:
            raise ConfigError(
                f"The policy '{self.name}' asks a language model, and none is connected: --policy-llm "
                "transformers:smollm2-135m, for example (connect(llm, catalogue) in Python)."
            )
        return self._llm

    def turn(self, case: Case, visit: PlannedVisit) -> Turn[Move]:
        """Decide on a page: yields prompts, returns a move. Must change no state except counters."""
        raise NotImplementedError

    def begin(self, case: Case) -> PlannedVisit:
        """Return the state of a new session."""
        return PlannedVisit()

    def act(self, observation: Observation) -> Ints:
        """Return the pages: (B, K) item ids.

        Raises:
            ConfigError: No model is connected, a history holds an item that the catalogue does not have, or prompts
                must state an exit rule that was never set (`tell_exit`).
            LLMError: The model failed.
        """
        if self.options.tell_exit and not self.exit_rule:
            raise ConfigError(f"The policy '{self.name}' is to be told when people leave: call tell_exit(rule, True).")
        llm, cases = self.llm, self.cases(observation)
        visits = [self._visit(case) for case in cases]
        turns = [self.turn(case, visit) for case, visit in zip(cases, visits, strict=True)]
        moves = converse(llm, turns, [case.user for case in cases])
        rows = [self._settle(*each) for each in zip(cases, visits, moves, strict=True)]
        pages: Ints = np.array(rows, dtype=np.int64).reshape(len(cases), self.page_size)
        thoughts = tuple(move.thought for move in moves)
        self.why = Why(observation["user"][:, 0], pages, np.full(pages.shape, np.nan), thoughts)
        return pages

    def learn(self, batch: Feedback) -> dict[str, float]:
        """Learn from one round; here, only drop the sessions that ended.

        Returns:
            `counts()`.
        """
        for user in batch.users[batch.ended].tolist():
            self.visits.pop(user, None)
        return self.counts()

    def counts(self) -> dict[str, float]:
        """Return counts of questions and groundings so far, and whether prompts state the exit rule."""
        told = {"told_exit": float(bool(self.exit_rule))}
        return {**self.asking.figures(), **self.grounding.figures(), **told}

    def recollect(self, fitted: Mapping[str, NDArray[Any]]) -> None:
        """Restore the memories from the arrays of a file (see `memories`); a new planner has none."""

    def memories(self) -> dict[str, NDArray[Any]]:
        """Return the memories as arrays for the file."""
        return {}

    def save(self, path: Path) -> None:
        """Write everything needed to act, except running sessions, to one `.npz` file without pickles."""
        meta: dict[str, str | int] = {"policy": self.name, "page_size": self.page_size, "seed": self.seed}
        known = {"indptr": self.known.indptr, "indices": self.known.indices, "shape": np.asarray(self.known.shape)}
        own = {"top": np.array(self.top), "options": np.array(json.dumps(asdict(self.options)))}
        own["exit_rule"] = np.array(self.exit_rule)
        write_file(path, meta, known, {**own, "retriever": packed(self.retriever), **self.memories()})

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a file that `save` wrote; `connect` a model before acting.

        Raises:
            RecordingError: The file is missing, damaged, of another policy, or of another version.
        """
        data = read_file(path)
        if str(data["meta_policy"]) != cls.name:
            raise RecordingError(f"{path} holds a policy '{data['meta_policy']}', not '{cls.name}'.")
        fitted = {k.removeprefix("fitted_"): v for k, v in data.items() if k.startswith("fitted_")}
        missing = [name for name in ("top", "options", "retriever") if name not in fitted]
        if missing:
            raise RecordingError(f"{path} is not a policy file (without {', '.join(missing)}). Fit the policy again.")
        indices, shape = data["known_indices"], (int(data["known_shape"][0]), int(data["known_shape"][1]))
        known = sp.csr_array((np.ones(len(indices), dtype=np.float32), indices, data["known_indptr"]), shape=shape)
        options = read_options(cls.Options, cls.name, parse_json(str(fitted["options"]), path))
        return cls(
            int(data["meta_page_size"]), int(data["meta_seed"]), known, options, unpacked(fitted["retriever"]), fitted
        )

    # Steps of a turn.

    def context(self, case: Case, visit: PlannedVisit) -> str:
        """Return the shared context of a turn's prompts: the user, lessons, and the session so far."""
        past = case.past[len(case.past) - min(self.options.history, len(case.past)) :]
        session = self.texts.scratchpad(case, visit.thoughts, self.options.window)
        return self.texts.person(past) + self.texts.lessons(visit.lessons) + session

    def think(self, case: Case, context: str) -> Turn[str]:
        """Ask for a thought; the fallback is an empty one."""
        question = say(KIND, "think", turn=case.page + 1)
        prompt = self.prompt(case, context, question, "think", _THOUGHT_TOKENS)
        thought = yield from ask_text(prompt, read_thought, say(KIND, "remind_text"), self.asking)
        return thought or ""

    def choose(self, case: Case, context: str, thought: str, hints: str = "") -> Turn[tuple[int, ...]]:
        """Ask for the page: written titles, grounded; or, with candidates, labels."""
        words = {"thought": self.texts.thought(thought), "hints": hints, "turn": case.page + 1}
        if self.options.candidates:
            return (yield from self._pick(case, context, words))
        return (yield from self._write(case, context, words))

    def prompt(self, case: Case, context: str, question: str, purpose: str, max_tokens: int) -> Prompt:
        """Return a prompt whose seed depends only on seed, user, page and purpose."""
        number = mix_one(self.seed, Stream.POLICY, case.user, case.page, *purpose.encode()) >> 33
        prompt = Prompt(self.texts.system, context, question, max_tokens=max_tokens, seed=number)
        return prompt._replace(temperature=float(self.options.temperature))

    def candidates(self, case: Case) -> list[int]:
        """Return the retriever's best allowed items, in an order drawn for this user and page."""
        ranked = case.ranked[case.allowed[case.ranked]]
        best = (ranked if len(ranked) else case.ranked)[: self.options.candidates]
        order = np.argsort(uniforms(self.seed, Stream.LISTING, case.user, case.page, best), kind="stable")
        return [int(item) for item in best[order]]

    def _write(self, case: Case, context: str, words: Mapping[str, object]) -> Turn[tuple[int, ...]]:
        count = self.page_size
        name = "act_one" if count == 1 else "act_many"
        tokens = min(_MOST_TOKENS, _TITLE_TOKENS * count + 8)
        prompt = self.prompt(case, context, say(KIND, name, count=count, **words), "act", tokens)
        remind = say(KIND, "remind")
        titles = yield from ask_text(prompt, self._titles, remind, self.asking)
        return self.ground(case, titles or ())

    def _titles(self, text: str) -> list[str] | None:
        return written_titles(text, self.page_size, lambda line: len(self.grounder.names(line)) > 0) or None

    def ground(self, case: Case, titles: Sequence[str]) -> tuple[int, ...]:
        """Ground titles: distinct allowed items in order; titles are dropped when no allowed item is left."""
        free, items = case.allowed.copy(), []
        for title in titles:
            if not free.any():
                break
            found = self.grounder.ground(title, free)
            self.grounding.add(found)
            free[found.item] = False
            items.append(found.item)
        return tuple(items)

    def _pick(self, case: Case, context: str, words: Mapping[str, object]) -> Turn[tuple[int, ...]]:
        items = self.candidates(case)
        if len(items) == 1:
            return tuple(items)
        labels = tuple(LABELS[: len(items)])
        options = self.option_lines(items)
        prompt = self.prompt(case, context, say(KIND, "choose", options=options, **words), "choose", 8)
        remind = say(KIND, "remind_label", choices=", ".join(labels))
        chances = yield from ask_label(prompt._replace(choices=labels, temperature=0.0), remind, self.asking)
        if chances is None:
            return ()
        return tuple(items[place] for place in np.argsort(-chances, kind="stable")[: self.page_size])

    def option_lines(self, items: Sequence[int]) -> str:
        """Return the items with their labels, one per line."""
        lines = (
            phrase(KIND, "option", label=label, item=self.texts.label(item))
            for label, item in zip(LABELS, items, strict=False)
        )
        return "".join(lines).rstrip("\n")

    # From observations to cases, and from moves to pages.

    def cases(self, observation: Observation) -> list[Case]:
        """Return one case per user."""
        users, num_items = observation["user"][:, 0], self.known.shape[1]
        shown = history_rows(observation, observation["history_mask"] > 0, num_items)
        if not len(users):
            return []
        allowed = (logged_rows(self.known, users) + shown).toarray() == 0
        ranked = retrieve(self.retriever, observation, self._depth(num_items))
        return [self._case(observation, row, allowed[row], ranked[row]) for row in range(len(users))]

    def _depth(self, num_items: int) -> int:
        return min(num_items, max(2 * self.page_size, self.options.candidates))

    def _case(self, observation: Observation, row: int, allowed: NDArray[np.bool_], ranked: Ints) -> Case:
        page, size = int(observation["page"][row, 0]), self.page_size
        items = observation["history_items"][row].tolist()
        stars = observation["history_ratings"][row].tolist()
        start = max(0, len(items) - page * size)
        # Cut into pages from the end, because the history may hold only a part of the oldest page.
        ends = range(len(items), start, -size)
        turns = [real(items[max(start, end - size) : end], stars[max(start, end - size) : end]) for end in ends]
        user = int(observation["user"][row, 0])
        return Case(user, page, real(items[:start], stars[:start]), tuple(turns[::-1]), allowed, ranked)

    def _visit(self, case: Case) -> PlannedVisit:
        if case.page == 0 or case.user not in self.visits:
            self.visits[case.user] = self.begin(case)
        return self.visits[case.user]

    def _settle(self, case: Case, visit: PlannedVisit, move: Move) -> list[int]:
        """Return the full page; slots that the move leaves open get the retriever's best items and are counted."""
        rest = [item for item in case.ranked.tolist() if item not in move.items]
        page = [*move.items, *rest][: self.page_size]
        self.asking.turns += 1
        self.asking.filled += len(page) - len(move.items)
        self.grounding.used.update(page)
        visit.case = case
        visit.thoughts[case.page] = move.thought
        visit.thoughts.pop(case.page - 2 * self.options.window, None)
        return page


def read_thought(text: str) -> str | None:
    """Return one line of at most `MAX_THOUGHT` characters; None for an empty answer."""
    first = next((line for line in text.splitlines() if any(c.isalnum() for c in line)), "")
    return one_line(first.strip().removeprefix("Thought:"), MAX_THOUGHT) or None
