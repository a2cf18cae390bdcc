"""Vector environments: B users step in one batch, so that a population makes one batched LLM call per round."""

from __future__ import annotations

from functools import cached_property
from typing import Annotated, Any, TypeAlias, cast

import numpy as np
from annotated_types import Ge, Le
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from recsim_llm.agents.population import Population, make_population
from recsim_llm.agents.user_model import UserModel
from recsim_llm.checked import Count, Seed, check_value, near, shown
from recsim_llm.environments.page import (
    Obs,
    check_reset,
    chosen_users,
    draw_base_key,
    observation_space,
    step_info,
    warn_if_uncertified,
)
from recsim_llm.environments.rewards import RewardFunction
from recsim_llm.environments.sessions import (
    Duplicates,
    Outcome,
    PageRules,
    Sessions,
    draw_users,
    page_rows,
    session_keys,
)
from recsim_llm.errors import ConfigError, SessionEndedError
from recsim_llm.language.protocol import LLM
from recsim_llm.types import Bools, Ints

Environments: TypeAlias = Annotated[int, Ge(1), Le(100_000_000)]
StepResult = tuple[Obs, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]


class PageVectorEnv(VectorEnv[Obs, np.ndarray, np.ndarray]):
    """B sessions of `PageEnv` side by side; the same trajectories as B separate environments.

    Args:
        num_envs: B.
        autoreset_mode: "next_step" (default), "same_step" or "disabled", or Gymnasium's AutoresetMode. With "disabled"
            an ended session does not change and costs nothing until it is reset with `options={"reset_mask": mask}`.
        max_episode_steps: Gymnasium's name for a step limit; the smaller of it and `max_pages` applies.
        dataset: As in `PageEnv`, like all further arguments.
    """

    metadata: dict[str, Any] = {"render_modes": [], "autoreset_mode": AutoresetMode.NEXT_STEP}

    def __init__(
        self,
        num_envs: int = 1,
        dataset: str = "synthetic",
        user_model: str | UserModel = "statistical",
        llm: str | LLM | None = None,
        page_size: int = 10,
        max_pages: int = 10,
        history_length: int = 50,
        duplicates: Duplicates = "drop",
        reward: str | RewardFunction = "rating",
        autoreset_mode: str | AutoresetMode = AutoresetMode.NEXT_STEP,
        max_episode_steps: int | None = None,
        render_mode: str | None = None,
    ) -> None:
        check_value("num_envs", num_envs, Environments)
        check_value("max_episode_steps", max_episode_steps, Count | None)
        if render_mode is not None:
            raise ConfigError("A vector environment does not render; use gymnasium.make for one session.")
        self.num_envs = num_envs
        self.autoreset_mode = _autoreset_mode(autoreset_mode)
        self.metadata = {**type(self).metadata, "autoreset_mode": self.autoreset_mode}
        self.population = self._population(dataset, user_model, llm)
        warn_if_uncertified(self.population, user_model)
        users = self.population.users
        pages = max_pages if max_episode_steps is None else min(max_pages, max_episode_steps)
        rules = PageRules(page_size, pages, history_length, duplicates, reward)
        self.sessions = Sessions(num_envs, users, rules, self.population.log, self.population.certified)
        top = float(users.rating_levels[-1])
        single = observation_space(users.num_users, users.num_items, history_length, top)
        self.single_observation_space = cast(spaces.Space[Obs], single)
        self.single_action_space = self._single_action_space(users.num_items, page_size)
        self._base: np.ndarray | None = None
        self._episodes = np.zeros(num_envs, dtype=np.int64)
        self.last: Outcome | None = None
        """Outcome of the latest step, for recorders; None after a reset."""

    # Created on first access: a batched space holds limits per cell of every observation, 1,800 bytes per session.
    @cached_property
    def observation_space(self) -> spaces.Space[Obs]:  # type: ignore[override]
        """The space of B observations."""
        return batch_space(self.single_observation_space, self.num_envs)

    @cached_property
    def action_space(self) -> spaces.Space[np.ndarray]:  # type: ignore[override]
        """The space of B actions."""
        return batch_space(self.single_action_space, self.num_envs)

    def _population(self, dataset: str, user_model: str | UserModel, llm: str | LLM | None) -> Population:
        return make_population(dataset, user_model, llm)

    def _single_action_space(self, num_items: int, page_size: int) -> spaces.Space[Any]:
        return spaces.MultiDiscrete([num_items] * page_size)

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Obs, dict[str, Any]]:
        """Begin sessions.

        Args:
            seed: s seeds environment i with s + i; a list seeds each (None leaves one unchanged).
            options: `{"user": (B,) ids}` chooses who visits; `{"reset_mask": (B,) bool}` resets only some.

        Raises:
            ConfigError: Seeds, users or mask are invalid.
        """
        check_reset(options, known=("user", "reset_mask"))
        mask = _reset_mask(options, self.num_envs)
        fresh = self._seed(seed, mask)
        users = chosen_users(options, self.num_envs, self.population.users.num_users)
        self._episodes = np.where(mask & ~fresh, self._episodes + 1, np.where(fresh, 0, self._episodes))
        self._begin(np.flatnonzero(mask), None if users is None else users[mask])
        self.last = None
        return cast(Obs, self.sessions.observation()), self._info(None, mask)

    def step(self, actions: np.ndarray) -> StepResult:
        """Show each running session its page; see `gymnasium.vector.VectorEnv.step` and `autoreset_mode`.

        Raises:
            SessionEndedError: Called before the first reset.
        """
        if self._base is None:
            raise SessionEndedError("Call reset() before step().")
        pages = page_rows(actions, self.num_envs, self.sessions.rules.page_size)
        ended = self.sessions.ended.copy()
        running = np.flatnonzero(~ended)
        self.last = outcome = self.sessions.step(running, pages[running])
        rewards, left, truncated = self._spread(outcome)
        if self.autoreset_mode is AutoresetMode.SAME_STEP:
            return self._step_and_reset(outcome, rewards, left, truncated)
        if self.autoreset_mode is AutoresetMode.NEXT_STEP and ended.any():
            self._episodes[ended] += 1
            self._begin(np.flatnonzero(ended), None)
        return cast(Obs, self.sessions.observation()), rewards, left, truncated, self._info(outcome)

    def action_masks(self) -> Bools:
        """(B, K * N) admissible actions, each row as in `PageEnv.action_masks`."""
        return np.tile(self.sessions.action_mask(), (1, self.sessions.rules.page_size))

    def _step_and_reset(self, outcome: Outcome, rewards: np.ndarray, left: Bools, truncated: Bools) -> StepResult:
        stepped, final = step_info(self.sessions, outcome), cast(Obs, self.sessions.observation())
        ended = self.sessions.ended.copy()
        if not ended.any():
            return final, rewards, left, truncated, _masked(dict(stepped), ~ended)
        self._episodes[ended] += 1
        self._begin(np.flatnonzero(ended), None)
        begun = step_info(self.sessions, None)
        everyone = np.ones_like(ended)
        info = _masked({key: np.where(_column(ended, v), begun[key], v) for key, v in stepped.items()}, everyone)
        final_info = {key: np.where(_column(ended, v), v, np.zeros_like(v)) for key, v in stepped.items()}
        info["final_obs"] = np.full(self.num_envs, None, dtype=object)
        for i in np.flatnonzero(ended):
            info["final_obs"][i] = {key: value[i] for key, value in final.items()}
        info["final_info"] = _masked(dict(final_info), ended)
        info["_final_obs"], info["_final_info"] = ended.copy(), ended.copy()
        return cast(Obs, self.sessions.observation()), rewards, left, truncated, info

    def _seed(self, seed: int | list[int | None] | None, mask: Bools) -> Bools:
        """Draw base keys where a seed is given or none was drawn yet; return the mask of these rows."""
        for one in seed if isinstance(seed, list | tuple) else [seed]:
            check_value("seed", one, Seed | None)
        if isinstance(seed, (int, np.integer)):
            seeds: list[int | None] = [int(seed) + i for i in range(self.num_envs)]
        else:
            seeds = [None] * self.num_envs if seed is None else list(seed)
        if len(seeds) != self.num_envs:
            raise ConfigError(f"seed must be a number or a list of {self.num_envs}, not of {len(seeds)}.")
        fresh: Bools = mask & np.array([s is not None for s in seeds], dtype=np.bool_)
        if self._base is None:
            fresh = mask.copy()
            self._base = np.zeros(self.num_envs, dtype=np.uint64)
        keys: dict[int | None, int] = {}
        for i in np.flatnonzero(fresh):
            if seeds[i] is None or seeds[i] not in keys:
                # The same generator as in gymnasium.Env.reset, so that a vector equals single environments.
                keys[seeds[i]] = draw_base_key(np.random.Generator(np.random.PCG64(seeds[i])))
            self._base[i] = keys[seeds[i]]
        return fresh

    def _begin(self, rows: Ints, users: Ints | None) -> None:
        assert self._base is not None
        base, episodes = self._base[rows], self._episodes[rows]
        if users is None:
            users = draw_users(base, episodes, self.population.users.num_users)
        self.sessions.begin(rows, users, session_keys(base, users, episodes))

    def _spread(self, outcome: Outcome) -> tuple[np.ndarray, Bools, Bools]:
        rewards = np.zeros(self.num_envs)
        left, truncated = np.zeros((2, self.num_envs), dtype=np.bool_)
        rewards[outcome.sessions] = outcome.rewards
        left[outcome.sessions], truncated[outcome.sessions] = outcome.left, outcome.truncated
        return rewards, left, truncated

    def _info(self, outcome: Outcome | None, mask: Bools | None = None) -> dict[str, Any]:
        rows = np.ones(self.num_envs, dtype=np.bool_) if mask is None else mask
        return _masked(dict(step_info(self.sessions, outcome)), rows)


class ItemVectorEnv(PageVectorEnv):
    """B sessions of `ItemEnv` side by side: one item per page, `MultiDiscrete([N] * B)` actions of shape (B,)."""

    def __init__(
        self,
        num_envs: int = 1,
        dataset: str = "synthetic",
        user_model: str | UserModel = "statistical",
        llm: str | LLM | None = None,
        max_pages: int = 50,
        history_length: int = 50,
        reward: str | RewardFunction = "rating",
        autoreset_mode: str | AutoresetMode = AutoresetMode.NEXT_STEP,
        max_episode_steps: int | None = None,
        render_mode: str | None = None,
    ) -> None:
        super().__init__(
            num_envs, dataset, user_model, llm, 1, max_pages, history_length, "allow", reward,
            autoreset_mode, max_episode_steps, render_mode,
        )  # fmt: skip

    def _single_action_space(self, num_items: int, page_size: int) -> spaces.Space[Any]:
        return spaces.Discrete(num_items)


def _autoreset_mode(mode: str | AutoresetMode) -> AutoresetMode:
    if isinstance(mode, AutoresetMode):
        return mode
    names = {m.name.lower(): m for m in AutoresetMode}
    if mode not in names:
        raise ConfigError(
            f"autoreset_mode must be one of {', '.join(names)}, not {shown(mode)}.{near(str(mode), names)}"
        )
    return names[mode]


def _reset_mask(options: dict[str, Any] | None, num_envs: int) -> Bools:
    mask = (options or {}).get("reset_mask")
    if mask is None:
        return np.ones(num_envs, dtype=np.bool_)
    try:
        mask = np.asarray(mask)
    except ValueError:
        mask = np.asarray(None)
    if mask.dtype != np.bool_ or mask.shape != (num_envs,) or not mask.any():
        raise ConfigError(f"options['reset_mask'] must be {num_envs} booleans, at least one of them True.")
    return np.asarray(mask, dtype=np.bool_)


def _masked(info: dict[str, Any], rows: Bools) -> dict[str, Any]:
    """Add Gymnasium's `_key` masks: which environments have the key."""
    named = {key: value for key, value in info.items() if not key.startswith("_")}
    return named | {f"_{key}": rows.copy() for key in named}


def _column(mask: Bools, like: np.ndarray) -> np.ndarray:
    column: Bools = mask.reshape(-1, *([1] * (like.ndim - 1)))
    return column
