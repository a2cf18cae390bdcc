"""Reflexion (Shinn et al., NeurIPS 2023): ReAct that writes a lesson after each session and reads it in the next."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsim_llm.language.converse import Turn, converse
from recsim_llm.policies.feedback import Feedback
from recsim_llm.policies.planners.planner import Move, PlannedVisit, Planner
from recsim_llm.policies.planners.reflecting import known_rows, reflect
from recsim_llm.policies.planners.texts import Case

KEPT = 3
"""Lessons per user; the oldest are dropped first (the paper keeps 1-3)."""


class Reflexion(Planner):
    """ReAct whose prompts begin with the lessons of the user's own earlier sessions."""

    name = "reflexion"

    def turn(self, case: Case, visit: PlannedVisit) -> Turn[Move]:
        """See `Planner.turn`."""
        context = self.context(case, visit)
        thought = yield from self.think(case, context)
        items = yield from self.choose(case, context, thought)
        return Move(items, thought)

    def begin(self, case: Case) -> PlannedVisit:
        """See `Planner.begin`."""
        return PlannedVisit(lessons=self.lessons.get(case.user, ()))

    def learn(self, batch: Feedback) -> dict[str, float]:
        """Write a lesson for each session that ended; while frozen, only drop ended sessions."""
        if not self.frozen:
            rows = [row for row in known_rows(self.visits, batch) if batch.ended[row]]
            users = batch.users[rows].tolist()
            turns = [reflect(self, self.visits[user], batch, row) for user, row in zip(users, rows, strict=True)]
            for user, lesson in zip(users, converse(self.llm, turns) if turns else [], strict=True):
                if lesson:
                    self.lessons[user] = (*self.lessons.get(user, ()), lesson)[-KEPT:]
        return {**Planner.learn(self, batch), "lessons": float(sum(map(len, self.lessons.values())))}

    def recollect(self, fitted: Mapping[str, NDArray[Any]]) -> None:
        """See `Planner.recollect`."""
        self.lessons: dict[int, tuple[str, ...]] = {}
        if "lesson_users" in fitted:
            for user, text in zip(fitted["lesson_users"].tolist(), fitted["lesson_texts"].tolist(), strict=True):
                self.lessons[user] = (*self.lessons.get(user, ()), text)

    def memories(self) -> dict[str, NDArray[Any]]:
        """See `Planner.memories`."""
        rows = [(user, text) for user, texts in self.lessons.items() for text in texts]
        return {
            "lesson_users": np.array([user for user, _ in rows], dtype=np.int64),
            "lesson_texts": np.array([text for _, text in rows], dtype=np.str_),
        }
