"""ReAct (Yao et al., ICLR 2023): a thought, then titles, in two calls per turn."""

from __future__ import annotations

from recsim_llm.language.converse import Turn
from recsim_llm.policies.planners.planner import Move, PlannedVisit, Planner
from recsim_llm.policies.planners.texts import Case


class ReAct(Planner):
    """Thinks before it recommends; the thoughts of a session stay in its prompts."""

    name = "react"

    def turn(self, case: Case, visit: PlannedVisit) -> Turn[Move]:
        """See `Planner.turn`."""
        context = self.context(case, visit)
        thought = yield from self.think(case, context)
        items = yield from self.choose(case, context, thought)
        return Move(items, thought)
