"""BiLLP (Shi et al., SIGIR 2024): macro learning by reflection, micro learning by an actor and a critic of text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from recsim_llm.errors import ConfigError
from recsim_llm.language.converse import Turn, converse
from recsim_llm.policies.feedback import Feedback
from recsim_llm.policies.grounding import NgramEncoder, make_title_encoder
from recsim_llm.policies.planners.asking import ask_label
from recsim_llm.policies.planners.memories import MemoryEntry, VectorMemory
from recsim_llm.policies.planners.options import PlannerOptions
from recsim_llm.policies.planners.planner import Move, PlannedVisit, Planner
from recsim_llm.policies.planners.reflecting import after, known_rows, reflect
from recsim_llm.policies.planners.texts import Case, phrase, say
from recsim_llm.seeding import Stream, uniforms
from recsim_llm.types import EMPTY, Floats32

BILLP = "billp"
DIGITS = tuple("0123456789")
_GENRES_TOOL, _NAMED = 2, 4


@dataclass(frozen=True, slots=True)
class BiLLPOptions(PlannerOptions):
    """Options of BiLLP besides those of all planners.

    Attributes:
        macro: Whether lessons are written and recalled.
        micro: Whether actor and critic learn and advise.
        gamma: Discount of the critic, [0, 1) (0.5 in the release).
        lessons: Lessons recalled for a session (2 in the release), at least 1.
        recent: Number of titles in the situation of actor and critic (10 in the release), at least 1.
        lesson_within, actor_within, critic_within: Largest cosine distance at which a situation is recalled, 0..2.
        memory: Most entries of each memory, at least 1.
        situations: Vectors of situations: "hash" (a hashed bag of words), "minilm", or a folder.

    Raises:
        ConfigError: A value outside its range.
    """

    macro: bool = True
    micro: bool = True
    gamma: float = 0.5
    lessons: int = 2
    recent: int = 10
    lesson_within: float = 2.0
    actor_within: float = 0.5
    critic_within: float = 0.1
    memory: int = 5000
    situations: str = "hash"

    def __post_init__(self) -> None:
        PlannerOptions.__post_init__(self)
        for name in ("lessons", "recent", "memory"):
            if not isinstance(getattr(self, name), int) or getattr(self, name) < 1:
                raise ConfigError(f"{name} must be a whole number of at least 1, not {getattr(self, name)!r}.")
        for name in ("lesson_within", "actor_within", "critic_within"):
            if not 0 <= getattr(self, name) <= 2:
                raise ConfigError(f"{name} must be a distance within 0..2, not {getattr(self, name)!r}.")
        if not 0 <= self.gamma < 1:
            raise ConfigError(f"gamma must be within [0, 1), not {self.gamma!r}.")
        for name in ("macro", "micro"):
            if not isinstance(getattr(self, name), bool):
                raise ConfigError(f"{name} must be true or false, not {getattr(self, name)!r}.")


class Lived(NamedTuple):
    """Results of one round for one user: values in reward units, and the lesson if the session ended."""

    current: float = 0.0
    coming: float = 0.0
    lesson: str = ""


class BiLLP(Planner):
    """Planner, reflector, actor and critic on one model, with three memories.

    Attributes:
        lessons: Reflections, keyed by the user's history at the start of the session.
        actor: Advantages r + gamma V(next) - V(current) of items, keyed by the situation in which they were shown.
        critic: Values r + gamma V(next), keyed by situation.
    """

    name = "billp"
    Options = BiLLPOptions
    options: BiLLPOptions

    def recollect(self, fitted: Mapping[str, NDArray[Any]]) -> None:
        """See `Planner.recollect`."""
        size, encoder = self.options.memory, self.options.situations
        self.lessons, self.actor, self.critic = VectorMemory(size), VectorMemory(size), VectorMemory(size)
        self._situations = NgramEncoder((), words=True) if encoder == "hash" else make_title_encoder(encoder)
        for name, memory in self._memories().items():
            memory.take(name, fitted)

    def memories(self) -> dict[str, NDArray[Any]]:
        """See `Planner.memories`."""
        return {key: array for name, memory in self._memories().items() for key, array in memory.arrays(name).items()}

    def begin(self, case: Case) -> PlannedVisit:
        """Recall the lessons of the most similar users."""
        if not self.options.macro:
            return PlannedVisit()
        near = self.lessons.nearest(self._past(case), self.options.lessons, self.options.lesson_within)
        return PlannedVisit(lessons=tuple(entry.text for entry in near))

    def turn(self, case: Case, visit: PlannedVisit) -> Turn[Move]:
        """Plan, then act on the plan with the actor's advice and the list of unseen genres."""
        context = self.context(case, visit)
        thought = yield from self.think(case, context)
        items = yield from self.choose(case, context, thought, self._hints(case))
        return Move(items, thought)

    def learn(self, batch: Feedback) -> dict[str, float]:
        """Update critic, actor and, for ended sessions, reflector; learns nothing while frozen.

        All questions are asked before anything is stored; results are stored in order of user id.
        """
        if not self.frozen:
            rows = known_rows(self.visits, batch)
            lived = converse(self.llm, [self._live(batch, row) for row in rows]) if rows else []
            for row, one in zip(rows, lived, strict=True):
                self._store(batch, row, one)
        return Planner.learn(self, batch)

    def counts(self) -> dict[str, float]:
        """See `Planner.counts`; includes the size of each memory."""
        sizes = {f"{name}_entries": float(len(memory)) for name, memory in self._memories().items()}
        return {**Planner.counts(self), **sizes}

    def unseen_genres(self, case: Case) -> list[str]:
        """Two genres missing from the recent titles, drawn for this user and page; fewer if fewer are missing."""
        matrix, names = self.catalogue.genre_matrix, self.catalogue.genres
        recent = [item for item, _ in case.latest[-self.options.recent :]]
        unseen = np.flatnonzero(~matrix[recent].any(axis=0))
        order = np.argsort(uniforms(self.seed, Stream.POLICY, case.user, case.page, unseen), kind="stable")
        return [names[place] for place in unseen[order][:_GENRES_TOOL]]

    def advice(self, case: Case) -> dict[int, float]:
        """Mean advantage of items that were shown in situations like this one and are allowed now."""
        near = self.actor.nearest(self._vector(case), 4 * _NAMED, self.options.actor_within)
        found: dict[int, list[float]] = {}
        for entry in near:
            if case.allowed[entry.item]:
                found.setdefault(entry.item, []).append(entry.value)
        return {item: sum(values) / len(values) for item, values in found.items()}

    def value(self, case: Case, visit: PlannedVisit) -> Turn[float]:
        """The critic's value in reward units; the fallback is the remembered value, else the middle of the scale."""
        near = self.critic.nearest(self._vector(case), 1, self.options.critic_within)
        remembered = f"{9 * near[0].value / self._scale:.0f}" if near else ""
        hint = phrase(BILLP, "remembered", value=remembered) if near else ""
        prompt = self.prompt(case, self.context(case, visit), say(BILLP, "value", remembered=hint), "value", 8)
        prompt = prompt._replace(choices=DIGITS, temperature=0.0)
        remind = say("planner", "remind_label", choices=", ".join(DIGITS))
        chances = yield from ask_label(prompt, remind, self.asking)
        if chances is None:
            return near[0].value if near else self._scale / 2
        return float(chances @ np.arange(10)) / 9 * self._scale

    @property
    def _scale(self) -> float:
        """The largest possible value: the best page for ever."""
        return self.top * self.page_size / (1 - self.options.gamma)

    def _live(self, batch: Feedback, row: int) -> Turn[Lived]:
        visit = self.visits[int(batch.users[row])]
        assert visit.case is not None
        ended, current, coming, lesson = bool(batch.ended[row]), 0.0, 0.0, ""
        if self.options.micro:
            current = visit.value if visit.value is not None else (yield from self.value(visit.case, visit))
            coming = 0.0 if ended else (yield from self.value(after(visit.case, batch, row), visit))
        if self.options.macro and ended:
            lesson = yield from reflect(self, visit, batch, row)
        return Lived(current, coming, lesson)

    def _store(self, batch: Feedback, row: int, lived: Lived) -> None:
        visit = self.visits[int(batch.users[row])]
        assert visit.case is not None
        if self.options.micro:
            here = self._vector(visit.case)
            target = float(batch.rewards[row]) + self.options.gamma * lived.coming
            shown = [item for item in batch.pages[row].tolist() if item != EMPTY]
            self.critic.add([MemoryEntry(here, value=target)])
            self.actor.add([MemoryEntry(here, item=item, value=target - lived.current) for item in shown])
            visit.value = lived.coming
        if lived.lesson:
            self.lessons.add([MemoryEntry(self._past(visit.case), text=lived.lesson)])

    def _hints(self, case: Case) -> str:
        genres = self.unseen_genres(case)
        words = {"genres": phrase(BILLP, "genres", genres=self.texts.genres(genres)) if genres else ""}
        advice = self.advice(case) if self.options.micro else {}
        best = sorted(advice, key=lambda item: (-abs(advice[item]), item))
        for name, chosen in (
            ("encouraged", [item for item in best if advice[item] >= 0]),
            ("discouraged", [item for item in best if advice[item] < 0]),
        ):
            titles = "; ".join(self.texts.label(item) for item in chosen[:_NAMED])
            words[name] = phrase(BILLP, name, items=titles) if titles else ""
        return say(BILLP, "hints", **words)

    def _memories(self) -> dict[str, VectorMemory]:
        return {"lessons": self.lessons, "actor": self.actor, "critic": self.critic}

    def _vector(self, case: Case) -> Floats32:
        """Vector of the situation: the recent titles."""
        vector: Floats32 = self._situations.encode([self.texts.sentence(case.latest[-self.options.recent :])])[0]
        return vector

    def _past(self, case: Case) -> Floats32:
        """Vector of the user's history when the session began."""
        vector: Floats32 = self._situations.encode([self.texts.sentence(case.past[-max(1, self.options.history) :])])[0]
        return vector
