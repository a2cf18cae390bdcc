"""CrossSession-v0: several visits of one user over simulated days; a policy is judged by whether users return."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
from gymnasium.vector import AutoresetMode

from recsim_llm.agents.population import Population
from recsim_llm.agents.statistical.return_times import ReturnParameters, fit_returning
from recsim_llm.agents.user_model import UserModel
from recsim_llm.checked import Count, check_value, shown
from recsim_llm.environments.page import Obs, PageEnv
from recsim_llm.environments.rewards import RewardFunction
from recsim_llm.environments.sessions import Duplicates, Outcome, PageRules
from recsim_llm.environments.vector import PageVectorEnv, StepResult
from recsim_llm.environments.visits import VisitOutcome, VisitRules, VisitSessions, visit_info
from recsim_llm.errors import ConfigError
from recsim_llm.language.protocol import LLM
from recsim_llm.types import Bools

RETURN_REWARD = "return"
"""Name of the reward that is minus the days until the user comes back."""


class CrossSessionEnv(PageEnv):
    """A user visits, looks at pages until they leave, and comes back after some days, or never.

    ## Description
    The cross-session level of KuaiSim (Zhao et al., NeurIPS 2023). One episode is up to V visits of one person; a visit
    is a session of `PageEnv`. After each visit the day of the next is drawn; a satisfied user returns sooner
    (`agents.statistical.return_times`). Items watched in earlier visits stay known; fatigue is reset.

    ## Action Space
    As in `PageEnv`.

    ## Observation Space
    As in `PageEnv`; the history continues across visits, and `page` counts the pages of the visit.

    ## Starting State
    As in `PageEnv`. The first visit is that of `PageEnv` with the same seed.

    ## Reward
    `reward="rating"`, `"watch"` or a function of Responses: as in `PageEnv`, in every visit. `reward="return"`: 0 for
    pages that do not end a visit; at its end minus the days until the return, or, if the user does not come back, minus
    (days + 1) for each visit missing up to V. So the sum over an episode of V visits is minus the total of V gaps, and
    driving users away never pays.

    ## Episode End
    Terminated when the user does not come back within `returning.days` (10). Truncated after V visits if the user
    would come back.

    ## Information
    As in `PageEnv`, with `left` for the visit, and visit, day, gap, visit_ended, returned, satisfaction: see
    `visits.visit_info`.

    ## Arguments
    `max_visits`: V. `returning`: "declared", "fitted" (to the training log), or `ReturnParameters`. `max_pages`: of a
    visit. All others as in `PageEnv`; users must be able to begin a further visit (`visits.next_visit_of`).

    ## References
    KuaiSim, arXiv 2309.12645. Deviations: people leave visits one by one and may stay away for good; see
    `agents.statistical.return_times` for the others.

    ## Version History
    v0: first release.
    """

    sessions: VisitSessions

    def __init__(
        self,
        dataset: str = "synthetic",
        user_model: str | UserModel = "statistical",
        llm: str | LLM | None = None,
        max_visits: int = 5,
        returning: str | ReturnParameters = "declared",
        page_size: int = 10,
        max_pages: int = 10,
        history_length: int = 50,
        duplicates: Duplicates = "drop",
        reward: str | RewardFunction = "rating",
        render_mode: str | None = None,
    ) -> None:
        paid = _page_reward(reward)
        super().__init__(dataset, user_model, llm, page_size, max_pages, history_length, duplicates, paid, render_mode)
        rules = _visit_rules(self.population, max_visits, returning, reward)
        self.sessions = _sessions(1, self.population, self.sessions.rules, rules)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Obs, dict[str, Any]]:
        """Begin an episode; see `PageEnv.reset`."""
        observation, info = super().reset(seed=seed, options=options)
        return observation, info | self._visit_info(None)

    def step(self, action: np.ndarray) -> tuple[Obs, float, bool, bool, dict[str, Any]]:
        """Show one page; see `PageEnv.step`."""
        observation, reward, left, truncated, info = super().step(action)
        return observation, reward, left, truncated, info | self._visit_info(self._last)

    def _visit_info(self, outcome: Outcome | None) -> dict[str, Any]:
        info = visit_info(self.sessions, cast(VisitOutcome | None, outcome))
        return {key: value[0].item() for key, value in info.items()}


class CrossSessionVectorEnv(PageVectorEnv):
    """B episodes of `CrossSessionEnv` side by side; arguments as there and in `PageVectorEnv`.

    `max_episode_steps` counts the pages of all visits.
    """

    sessions: VisitSessions

    def __init__(
        self,
        num_envs: int = 1,
        dataset: str = "synthetic",
        user_model: str | UserModel = "statistical",
        llm: str | LLM | None = None,
        max_visits: int = 5,
        returning: str | ReturnParameters = "declared",
        page_size: int = 10,
        max_pages: int = 10,
        history_length: int = 50,
        duplicates: Duplicates = "drop",
        reward: str | RewardFunction = "rating",
        autoreset_mode: str | AutoresetMode = AutoresetMode.NEXT_STEP,
        max_episode_steps: int | None = None,
        render_mode: str | None = None,
    ) -> None:
        super().__init__(
            num_envs, dataset, user_model, llm, page_size, max_pages, history_length, duplicates, _page_reward(reward),
            autoreset_mode, None, render_mode,
        )  # fmt: skip
        check_value("max_episode_steps", max_episode_steps, Count | None)
        rules = _visit_rules(self.population, max_visits, returning, reward, max_episode_steps)
        self.sessions = _sessions(num_envs, self.population, self.sessions.rules, rules)

    def _info(self, outcome: Outcome | None, mask: Bools | None = None) -> dict[str, Any]:
        info = super()._info(outcome, mask)
        told = visit_info(self.sessions, cast(VisitOutcome | None, outcome))
        return info | told | {f"_{key}": info["_user"].copy() for key in told}

    def _step_and_reset(self, outcome: Outcome, rewards: np.ndarray, left: Bools, truncated: Bools) -> StepResult:
        told = visit_info(self.sessions, cast(VisitOutcome, outcome))
        observation, rewards, left, truncated, info = super()._step_and_reset(outcome, rewards, left, truncated)
        ended = left | truncated
        zero = {key: np.zeros_like(value) for key, value in told.items()}
        info |= {key: np.where(ended, zero[key], value) for key, value in told.items()}
        info |= {f"_{key}": info["_user"].copy() for key in told}
        if "final_info" in info:
            info["final_info"] |= {key: np.where(ended, value, zero[key]) for key, value in told.items()}
            info["final_info"] |= {f"_{key}": ended.copy() for key in told}
        return observation, rewards, left, truncated, info


def _page_reward(reward: str | RewardFunction) -> str | RewardFunction:
    """Return the reward of single pages; it is not used when the reward is the days until the return."""
    return "rating" if isinstance(reward, str) and reward == RETURN_REWARD else reward


def _visit_rules(
    population: Population,
    max_visits: int,
    returning: str | ReturnParameters,
    reward: str | RewardFunction,
    max_steps: int | None = None,
) -> VisitRules:
    pay_days = isinstance(reward, str) and reward == RETURN_REWARD
    return VisitRules(max_visits, return_parameters(population, returning), pay_days, max_steps or 0)


def return_parameters(population: Population, returning: str | ReturnParameters) -> ReturnParameters:
    """Return the return-time model of a population: as given, "declared", or "fitted" to its training log.

    Raises:
        ConfigError: Another name.
        DataError: The log does not contain return times (`agents.statistical.return_times.fit_returning`).
    """
    if isinstance(returning, ReturnParameters):
        return returning
    if returning == "declared":
        return ReturnParameters()
    if returning == "fitted":
        return fit_returning(population.log, population.dataset.rating_levels).parameters
    raise ConfigError(f"returning must be 'declared', 'fitted' or ReturnParameters, not {shown(returning)}.")


def _sessions(count: int, population: Population, rules: PageRules, visits: VisitRules) -> VisitSessions:
    return VisitSessions(count, population.users, rules, visits, population.log, population.certified)
