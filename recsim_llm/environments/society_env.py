"""Society-v0: a society as a Gymnasium environment, one page per step; the vector form serves all visitors at once."""

from __future__ import annotations

from typing import Any, cast

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from recsim_llm.agents.population import SocialPopulation, make_society
from recsim_llm.agents.society.statistical_inhabitants import SocialHabits
from recsim_llm.checked import Count, Seed, check_value
from recsim_llm.environments.page import (
    Obs,
    check_reset,
    draw_base_key,
    first_row,
    observation_space,
    step_info,
    warn_if_uncertified,
)
from recsim_llm.environments.rewards import RewardFunction
from recsim_llm.environments.sessions import Duplicates, Outcome, PageRules, page_rows
from recsim_llm.environments.society import Society, SocietyRules
from recsim_llm.errors import ConfigError, SessionEndedError
from recsim_llm.language.protocol import LLM
from recsim_llm.types import Bools, Ints

_LIVES = 10  # most runs that one reset begins, because plans of LLM agents cost calls


def new_society(population: SocialPopulation, members: Ints, rules: SocietyRules, history: bool = True) -> Society:
    """Return a society of some members of a population, not yet begun."""
    log = population.log if history else None
    society = Society(population.users, members, population.activity, population.graph, population.search, rules, log)
    society.sessions.certified = population.certified
    return society


class _Rounds:
    """A society that opens and closes its rounds automatically, for environments that only serve pages."""

    def __init__(self, society: Society) -> None:
        self.society = society

    def begin(self, base: np.ndarray) -> None:
        self.society.begin(base)
        self._to_next_visitor()

    def serve(self, agents: Ints, pages: np.ndarray) -> Outcome:
        outcome = self.society.serve(agents, pages)
        if not len(self.society.waiting()):
            self.society.close_round()
            self._to_next_visitor()
        return outcome

    def _to_next_visitor(self) -> None:
        while not self.society.ended:
            self.society.open_round()
            if len(self.society.waiting()):
                return
            self.society.close_round()


class SocietyEnv(gym.Env[Obs, np.ndarray]):
    """A population lives through simulated time; the policy serves the visitors, one page of one visitor per step.

    ## Description
    In each round agents wake, and browse, search, chat with a friend, post to all friends, or do nothing. Visitors see
    pages of the policy until they leave; they talk about the items they watched, and what they hear enters their
    memories. One episode is all rounds. A search shows its results first, outside the policy.

    ## Action Space
    `MultiDiscrete([N] * K)`: a page for the visitor of the latest observation.

    ## Observation Space
    As in `Page-v0`, of the waiting visitor; histories continue across visits. At the end: that of the last visitor.

    ## Reward
    As in `Page-v0`, of the page just shown.

    ## Episode End
    Truncated after the last visit of the last round; never terminated: a society does not leave.

    ## Information
    As in `Page-v0` for the page just shown, and `round`, `hour` of the visitor who waits now.

    ## Arguments
    `agents`: how many people live here (the first by a hash of 0, all by default). `rounds`. `graph`: see
    `agents.society.graph.make_graph`. `habits`: `statistical_inhabitants.SocialHabits`, what statistical users
    do and how much others influence them. `dataset`, `user_model`, `llm`, `page_size`, `max_pages` (a visit),
    `history_length`, `duplicates`, `reward`: as in `Page-v0`.

    ## References
    RecAgent (Wang et al., TOIS) for rounds, chats and posts.

    ## Version History
    v0: first release.
    """

    metadata: dict[str, Any] = {"render_modes": []}

    def __init__(
        self,
        dataset: str = "synthetic",
        user_model: str = "statistical",
        llm: str | LLM | None = None,
        agents: int | None = None,
        rounds: int = 10,
        graph: str = "homophily",
        page_size: int = 10,
        max_pages: int = 5,
        history_length: int = 50,
        duplicates: Duplicates = "drop",
        reward: str | RewardFunction = "rating",
        render_mode: str | None = None,
        habits: SocialHabits | None = None,
    ) -> None:
        if render_mode is not None:
            raise ConfigError("A society does not render; record it with simulate --rounds and look at its run.")
        check_value("agents", agents, Count | None)
        self.rules = SocietyRules(
            rounds=rounds, page=PageRules(page_size, max_pages, history_length, duplicates, reward)
        )
        self.population = make_society(dataset, user_model, llm, graph, agents=agents, habits=habits)
        warn_if_uncertified(self.population, user_model)
        users = self.population.users
        self._rounds = _Rounds(new_society(self.population, self.population.members, self.rules))
        top = float(users.rating_levels[-1])
        self.observation_space = cast(
            spaces.Space[Obs], observation_space(users.num_users, users.num_items, history_length, top)
        )
        self.action_space = cast(spaces.Space[np.ndarray], spaces.MultiDiscrete([users.num_items] * page_size))
        self._visitor = -1
        self._begun = False

    @property
    def society(self) -> Society:
        """The society itself, for recorders and for serving in batches."""
        return self._rounds.society

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Obs, dict[str, Any]]:
        """Begin a new run of the society.

        Args:
            seed: As in `gymnasium.Env.reset`.
            options: Must be None or empty.

        Raises:
            ConfigError: In 10 runs nobody visits in any round: more rounds or more agents are needed.
        """
        check_value("seed", seed, Seed | None)
        check_reset(options, known=())
        super().reset(seed=seed)
        # One draw per run, so that a second episode without a seed differs. A run without any visit has no page to
        # show and is skipped.
        for _ in range(_LIVES):
            self._rounds.begin(np.array(draw_base_key(self.np_random), dtype=np.uint64))
            if len(waiting := self.society.waiting()):
                break
        else:
            raise ConfigError(f"Nobody visits in any of {_LIVES} lives. Take more rounds or more agents.")
        self._begun = True
        self._visitor = int(waiting[0])
        return self._observe(), self._info(None)

    def step(self, action: np.ndarray) -> tuple[Obs, float, bool, bool, dict[str, Any]]:
        """Show a page to the waiting visitor.

        Raises:
            SessionEndedError: The last round is over, or there was no reset.
            InvalidActionError: See `Page-v0`.
        """
        if not self._begun or self.society.ended:
            raise SessionEndedError("The society's last round is over. Call reset() before the next step.")
        outcome = self._rounds.serve(np.array([self._visitor]), page_rows(action, 1, self.rules.page.page_size))
        waiting = self.society.waiting()
        if len(waiting):
            self._visitor = int(waiting[0])
        return self._observe(), float(outcome.rewards[0]), False, self.society.ended, self._info(outcome)

    def _observe(self) -> Obs:
        return first_row(self.society.observation(np.array([self._visitor])))

    def _info(self, outcome: Outcome | None) -> dict[str, Any]:
        return society_info(self.society, np.array([self._visitor]), outcome, scalar=True)


class SocietyVectorEnv(VectorEnv[Obs, np.ndarray, np.ndarray]):
    """A society in which every agent is a sub-environment, and all waiting agents are served in one step.

    Rows of agents who do not wait are ignored in actions and have reward 0; `info["waiting"]` marks those who wait. All
    rows are truncated together after the last round; the next step begins a new run (autoreset mode NEXT_STEP).

    Args:
        num_envs: How many people live here.
        dataset: As in `SocietyEnv`, like all further arguments.
    """

    metadata: dict[str, Any] = {"render_modes": [], "autoreset_mode": AutoresetMode.NEXT_STEP}

    def __init__(
        self,
        num_envs: int = 100,
        dataset: str = "synthetic",
        user_model: str = "statistical",
        llm: str | LLM | None = None,
        rounds: int = 10,
        graph: str = "homophily",
        page_size: int = 10,
        max_pages: int = 5,
        history_length: int = 50,
        duplicates: Duplicates = "drop",
        reward: str | RewardFunction = "rating",
        render_mode: str | None = None,
        habits: SocialHabits | None = None,
    ) -> None:
        check_value("num_envs", num_envs, Count)
        single = SocietyEnv(
            dataset, user_model, llm, num_envs, rounds, graph, page_size, max_pages, history_length, duplicates,
            reward, render_mode, habits,
        )  # fmt: skip
        self.num_envs, self._single = num_envs, single
        self.single_observation_space, self.single_action_space = single.observation_space, single.action_space
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._members = single.society.members
        self.last: Outcome | None = None
        """Outcome of the latest step, for recorders; None after a reset."""

    @property
    def society(self) -> Society:
        """The society itself."""
        return self._single.society

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Obs, dict[str, Any]]:
        """Begin a new run; takes a single seed, because a society is one world.

        Raises:
            ConfigError: A list of seeds, or nobody visits in any round of 10 runs.
        """
        if isinstance(seed, list):
            raise ConfigError("A society is one world and takes one seed, not a list.")
        self._single.reset(seed=seed, options=options)
        self.last = None
        return self._observe(), self._info(None)

    def step(self, actions: np.ndarray) -> tuple[Obs, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Show pages to all waiting agents.

        Raises:
            SessionEndedError: Called before the first reset.
            InvalidActionError: See `Page-v0`; rows of agents who do not wait are not checked.
        """
        if not self._single._begun:
            raise SessionEndedError("Call reset() before step().")
        rewards, never = np.zeros(self.num_envs), np.zeros(self.num_envs, dtype=np.bool_)
        if self.society.ended:
            observation, info = self.reset()
            return observation, rewards, never, never.copy(), info
        waiting = self.society.waiting()
        rows = np.searchsorted(self._members, waiting)
        pages = page_rows(actions, self.num_envs, self._single.rules.page.page_size)[rows]
        self.last = outcome = self._single._rounds.serve(waiting, pages)
        rewards[rows] = outcome.rewards
        over = np.full(self.num_envs, self.society.ended)
        return self._observe(), rewards, never, over, self._info(outcome)

    def _observe(self) -> Obs:
        return cast(Obs, self.society.observation(self._members))

    def _info(self, outcome: Outcome | None) -> dict[str, Any]:
        info = society_info(self.society, self._members, outcome, scalar=False)
        everyone: Bools = np.ones(self.num_envs, dtype=np.bool_)
        return info | {f"_{key}": everyone.copy() for key in info}


def society_info(society: Society, agents: Ints, outcome: Outcome | None, scalar: bool) -> dict[str, Any]:
    """Return the info of some agents: `step_info` of the pages just shown, `waiting`, `round` and `hour`.

    In the scalar environment it describes the page just shown, whichever agent saw it.
    """
    told = outcome.users if scalar and outcome is not None else agents
    info = step_info(society.sessions, outcome, told)
    info["waiting"] = ~society.sessions.ended[agents]
    info["round"] = np.full(len(agents), society.round, dtype=np.int64)
    info["hour"] = society.hours(agents)
    return {key: value[0] for key, value in info.items()} if scalar else info
