"""The society loop: runs a society with a policy, round by round, and applies interventions by date."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from recsim_llm.environments.sessions import Outcome
from recsim_llm.environments.society import SocialEvent, Society
from recsim_llm.experiments.simulation.interventions.shelf import Shelf
from recsim_llm.experiments.simulation.rollout import step_batch
from recsim_llm.policies.feedback import Feedback
from recsim_llm.runs import StepBatch
from recsim_llm.types import Keys


@dataclass(frozen=True, slots=True)
class Diary:
    """What happened in a round of a society besides pages.

    Attributes:
        round: Number of the round, from 0.
        events: Events in the order they happened.
    """

    round: int
    events: tuple[SocialEvent, ...]


def live(
    society: Society, base: Keys, shelf: Shelf, intervene: Callable[[int], None] | None = None
) -> Iterator[StepBatch | Diary]:
    """Run all rounds of a society; yield the steps of each batch of people served together, and a diary per round.

    The policy serves all visitors, and learns between rounds if it can.

    Args:
        society: A society that has not started.
        base: Base key, shape ().
        shelf: The shelf with the policy.
        intervene: Called with the number of each round, from 0, before it opens.
    """
    society.begin(base)
    while not society.ended:
        number = society.round
        if intervene is not None:
            intervene(number)
        outcomes: list[Outcome] = []
        searched = society.open_round()
        if searched is not None:
            outcomes.append(searched)
            yield _steps(society, searched)
        while len(waiting := society.waiting()):
            outcome = society.serve(waiting, shelf.pages(society.observation(waiting)))
            outcomes.append(outcome)
            yield _steps(society, outcome)
        society.close_round()
        shelf.learn(_feedback(outcomes))
        yield Diary(number, tuple(society.diary()))


def _steps(society: Society, outcome: Outcome) -> StepBatch:
    steps = step_batch(outcome, 0)
    return steps.numbered(society.visit_numbers(outcome.users))


def _feedback(outcomes: Sequence[Outcome]) -> Feedback:
    if not outcomes:
        nobody = np.zeros(0, dtype=np.int64)
        return Feedback(nobody, nobody[:, None], nobody[:, None] > 0, np.zeros((0, 1)), np.zeros(0), nobody > 0)
    return Feedback(
        np.concatenate([o.users for o in outcomes]),
        np.concatenate([o.pages for o in outcomes]),
        np.concatenate([o.responses.watched_BK for o in outcomes]),
        np.concatenate([o.responses.ratings_BK for o in outcomes]),
        np.concatenate([o.rewards for o in outcomes]),
        np.concatenate([o.left | o.truncated for o in outcomes]),
    )
