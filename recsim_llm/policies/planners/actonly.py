"""ActOnly: from history to titles in one call per turn."""

from __future__ import annotations

from recsim_llm.language.converse import Turn
from recsim_llm.policies.planners.planner import Move, PlannedVisit, Planner
from recsim_llm.policies.planners.texts import Case


class ActOnly(Planner):
    """Recommends without a thought: the simplest planner, a baseline of the ReAct paper (Yao et al., ICLR 2023)."""

    name = "actonly"

    def turn(self, case: Case, visit: PlannedVisit) -> Turn[Move]:
        """See `Planner.turn`."""
        items = yield from self.choose(case, self.context(case, visit), "")
        return Move(items)
