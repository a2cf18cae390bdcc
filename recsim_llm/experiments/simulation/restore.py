"""Restores a recorded agent, memory included, at any moment, from its steps, its diary and recorded answers.

An agent's memory depends only on what this agent was shown, did and heard, and all of that is recorded. So one person
is restored without anybody else, and without a model.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from recsim_llm.agents.llm.agent_users import AgentUsers
from recsim_llm.agents.named_users import agents_of
from recsim_llm.agents.population import SocialPopulation
from recsim_llm.agents.society.inhabitants import Message
from recsim_llm.environments.page import draw_base_key
from recsim_llm.environments.sessions import session_keys
from recsim_llm.errors import ConfigError
from recsim_llm.experiments.simulation.config import config_of
from recsim_llm.experiments.simulation.interventions.interventions import Profile, kept_plan
from recsim_llm.experiments.simulation.replay import recast
from recsim_llm.experiments.simulation.trajectory import Cast
from recsim_llm.runs import Run, StepBatch
from recsim_llm.types import Ints, Responses


def relive(run: Run, users: Ints, until: int | None = None, cast: Cast | None = None) -> AgentUsers:
    """Return a population in which these agents are restored; the handle of agent i of `users` is the user id.

    Args:
        run: A recorded run of agents with memories (`population.AGENT_KINDS`).
        users: (B,) ids of users who took part.
        until: Number of pages of a session, or rounds of a society, to restore; None: to the end.
        cast: The people of the run, if already loaded (`replay.recast`).

    Raises:
        ConfigError: The run's users have no memories to restore, or the moment was never reached.
        RecordingError: The recording is damaged, or the data set has changed.
    """
    cast = cast or recast(run)
    people = agents_of(cast.population.users)
    if people is None:
        raise ConfigError(f"{run.folder}: '{run.manifest.user_model}' users have no memories to bring back.")
    people.thinker = None  # thoughts are recorded and have no effect, so nothing needs to think again
    config = config_of(run)
    base = np.uint64(draw_base_key(np.random.Generator(np.random.PCG64(config.seed))))
    people.reset(users, users, session_keys(np.asarray(base), users, np.zeros_like(users)))
    steps = run.step_batch()
    for user in users.tolist():
        mine = steps.take(steps.user == user).in_order()
        if isinstance(cast.population, SocialPopulation):
            _live_again(run, people, user, mine, config.rounds if until is None else until)
        else:
            _see_again(people, user, mine, until)
    return people


def _see_again(people: AgentUsers, user: int, steps: StepBatch, until: int | None) -> None:
    if until is not None and not 0 <= until <= len(steps):
        raise ConfigError(f"This session has {len(steps)} pages; --page must be within 0..{len(steps)}.")
    for row in range(len(steps) if until is None else until):
        people.observe(np.array([user]), steps.items[row : row + 1], _responses(steps, row))


def _live_again(run: Run, people: AgentUsers, user: int, steps: StepBatch, rounds: int) -> None:
    changes = [i for i in kept_plan(run.folder) if isinstance(i, Profile) and i.user == user]
    me = np.array([user])
    for number, diary in enumerate(_my_rows(run, user)):
        if number >= rounds:
            return
        for change in changes:
            if change.round == number + 1:
                people.change(change.apply(people.persona(user)))
        for row in diary:
            hour = np.array([row["hour"]])
            if row["action"] in {"browse", "search"}:
                people.visit(me, hour)
                for step in np.flatnonzero(steps.session == row["session"]).tolist():
                    people.observe(me, steps.items[step : step + 1], _responses(steps, step))
            elif row["action"] == "hear":
                people.hear(me, [Message(row["other"], row["text"], row["item"], row["stars"])], hour)


def _my_rows(run: Run, user: int) -> Iterator[list[dict[str, Any]]]:
    for table in run.iter_events():
        rows = table.to_pylist()
        yield [row for row in rows if row["user"] == user]


def _responses(steps: StepBatch, row: int) -> Responses:
    return Responses(steps.watched[row : row + 1], steps.ratings[row : row + 1])
