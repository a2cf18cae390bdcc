"""The page environment (slates of K) and the item environment (K = 1) for one user. See `vector` for batches."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, Literal, cast

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from recsim_llm.agents.population import Population, SocialPopulation, make_population
from recsim_llm.agents.user_model import UserModel
from recsim_llm.certificate import failure
from recsim_llm.checked import Seed, check_known, check_value, shown
from recsim_llm.environments.render import draw_page, page_text
from recsim_llm.environments.rewards import RewardFunction
from recsim_llm.environments.sessions import (
    Duplicates,
    Outcome,
    PageRules,
    Sessions,
    draw_users,
    page_rows,
    session_keys,
    whole_items,
)
from recsim_llm.errors import ConfigError, InvalidActionError, SessionEndedError, UncertifiedWarning
from recsim_llm.language.protocol import LLM
from recsim_llm.types import EMPTY, Bools, Ints, Observation

Obs = dict[str, np.ndarray]
_ONE = np.zeros(1, dtype=np.int64)


def observation_space(num_users: int, num_items: int, history_length: int, top: float) -> spaces.Dict:
    """The space of one session's `types.Observation`: all Boxes, so that no library one-hot encodes item ids."""
    H = history_length
    return spaces.Dict(
        {
            "user": spaces.Box(0, num_users - 1, (1,), np.int64),
            "page": spaces.Box(0, np.iinfo(np.int32).max, (1,), np.int64),
            "history_items": spaces.Box(EMPTY, num_items - 1, (H,), np.int64),
            "history_ratings": spaces.Box(0.0, top, (H,), np.float32),
            "history_mask": spaces.Box(0, 1, (H,), np.int8),
        }
    )


def step_info(sessions: Sessions, outcome: Outcome | None, rows: Ints | None = None) -> dict[str, np.ndarray]:
    """Return the info of B sessions: the same keys after every reset and step, arrays with a leading B.

    Args:
        sessions: The sessions.
        outcome: The latest step; None after a reset.
        rows: (B,) ascending handles, including all that stepped; other sessions are not computed. None: all.

    Returns:
        user; shown (K items, EMPTY where empty); watched (K); ratings (K, stars); watch_probability (K) and
        leave_probability, the hidden state of the user, for audits only; left; certified, whether these users passed
        their certificate on this machine (docs/certificate.md).
    """
    users = sessions.users if rows is None else sessions.users[rows]
    B, K = len(users), sessions.rules.page_size
    info: dict[str, np.ndarray] = {
        "user": users.copy(),
        "shown": np.full((B, K), EMPTY, dtype=np.int64),
        "watched": np.zeros((B, K), dtype=np.bool_),
        "ratings": np.zeros((B, K)),
        "watch_probability": np.zeros((B, K)),
        "leave_probability": np.zeros(B),
        "left": np.zeros(B, dtype=np.bool_),
        "certified": np.full(B, sessions.certified),
    }
    if outcome is not None:
        at = outcome.sessions if rows is None else np.searchsorted(rows, outcome.sessions)
        info["user"][at] = outcome.users
        info["shown"][at] = outcome.pages
        info["watched"][at] = outcome.responses.watched_BK
        info["ratings"][at] = outcome.responses.ratings_BK
        info["watch_probability"][at] = outcome.reaction.watch_BK
        info["leave_probability"][at] = outcome.leave
        info["left"][at] = outcome.left
    return info


class PageEnv(gym.Env[Obs, np.ndarray]):
    """A person looks at pages of K recommended items, watches and rates some, and leaves or asks for the next page.

    ## Description
    One episode is one session of one user. The policy fills a page; the user model says with which probability the user
    watches each item, how it would be rated, and with which probability the user leaves; the environment draws what
    happens. The default is a synthetic world with invented titles, whose true tastes are known.

    ## Action Space
    `MultiDiscrete([N] * K)`: item ids. A repeated item is handled as `duplicates` specifies.

    ## Observation Space
    A Dict of arrays: `user` (1), `page` (1), `history_items` (H), `history_ratings` (H), `history_mask` (H); see
    `recsim_llm.types.Observation`. The history starts with the user's latest logged ratings.

    ## Starting State
    A user drawn uniformly, or `options={"user": id}`.

    ## Reward
    `reward="rating"`: sum of the stars of watched items. `reward="watch"`: their number. Or a function of Responses,
    given or named as `module:function` (docs/plugins.md).

    ## Episode End
    Terminated when the user leaves; truncated after `max_pages` pages.

    ## Information
    Fixed keys, see `step_info`. `action_masks()` tells which items were not watched yet in this session.

    ## Arguments
    `dataset`: name or folder. `user_model`: "statistical", "llm", or an object. `llm`: backend for LLM users.
    `page_size`, `max_pages`, `history_length`, `duplicates`, `reward`: see `sessions.PageRules`.

    ## References
    RecSim (Ie et al. 2019) for the words; Agent4Rec (Zhang et al., SIGIR 2024) for page, watch, rate, exit.

    ## Version History
    v0: first release.
    """

    metadata: dict[str, Any] = {"render_modes": ["ansi", "rgb_array"], "render_fps": 1}

    def __init__(
        self,
        dataset: str = "synthetic",
        user_model: str | UserModel = "statistical",
        llm: str | LLM | None = None,
        page_size: int = 10,
        max_pages: int = 10,
        history_length: int = 50,
        duplicates: Duplicates = "drop",
        reward: str | RewardFunction = "rating",
        render_mode: str | None = None,
    ) -> None:
        check_value("render_mode", render_mode, Literal["ansi", "rgb_array"] | None)
        self.render_mode = render_mode
        self.population = self._population(dataset, user_model, llm)
        warn_if_uncertified(self.population, user_model)
        rules = PageRules(page_size, max_pages, history_length, duplicates, reward)
        users = self.population.users
        self.sessions = Sessions(1, users, rules, self.population.log, self.population.certified)
        self.observation_space = cast(
            spaces.Space[Obs],
            observation_space(users.num_users, users.num_items, history_length, float(users.rating_levels[-1])),
        )
        self.action_space = cast(spaces.Space[np.ndarray], self._action_space(users.num_items, page_size))
        self._base: np.ndarray | None = None
        self._episode = 0
        self._last: Outcome | None = None

    def _population(self, dataset: str, user_model: str | UserModel, llm: str | LLM | None) -> Population:
        return make_population(dataset, user_model, llm)

    def _action_space(self, num_items: int, page_size: int) -> spaces.Space[Any]:
        return spaces.MultiDiscrete([num_items] * page_size)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Obs, dict[str, Any]]:
        """Begin a session.

        Args:
            seed: Starts the environment's sequence of sessions anew.
            options: `{"user": id}` chooses who visits.

        Raises:
            ConfigError: An unknown option, or a user outside the population.
        """
        check_value("seed", seed, Seed | None)
        check_reset(options, known=("user",))
        super().reset(seed=seed)
        if seed is not None or self._base is None:
            self._base, self._episode = np.array([draw_base_key(self.np_random)], dtype=np.uint64), 0
        else:
            self._episode += 1
        episodes = np.array([self._episode])
        users = chosen_users(options, 1, self.population.users.num_users)
        if users is None:
            users = draw_users(self._base, episodes, self.population.users.num_users)
        self.sessions.begin(_ONE, users, session_keys(self._base, users, episodes))
        self._last = None
        return first_row(self.sessions.observation()), _first(step_info(self.sessions, None))

    def step(self, action: np.ndarray) -> tuple[Obs, float, bool, bool, dict[str, Any]]:
        """Show one page; see `gymnasium.Env.step`.

        Raises:
            SessionEndedError: The session has ended or not begun.
            InvalidActionError: The page is not admissible.
        """
        if self.sessions.ended[0]:
            raise SessionEndedError("This session has ended (or not begun): call reset() before step().")
        outcome = self.sessions.step(_ONE, page_rows(action, 1, self.sessions.rules.page_size))
        self._last = outcome
        info = _first(step_info(self.sessions, outcome))
        observation = first_row(self.sessions.observation())
        return observation, float(outcome.rewards[0]), bool(outcome.left[0]), bool(outcome.truncated[0]), info

    def action_masks(self) -> Bools:
        """Return the admissible actions: K * N booleans, flat, False for items already watched in this session.

        The format of SB3-contrib's maskable policies. It cannot forbid an item twice on one page: see `duplicates`.
        """
        return np.tile(self.sessions.action_mask()[0], self.sessions.rules.page_size)

    def render(self) -> Any:
        """The last page as the user saw it: text ("ansi") or an image, (height, width, 3) uint8 ("rgb_array")."""
        if self.render_mode is None:
            gym.logger.warn("render() needs a render_mode: gymnasium.make(id, render_mode='ansi')")
            return None
        catalogue = self.population.dataset.catalogue
        user = self.population.dataset.people[int(self.sessions.users[0])]
        if self.render_mode == "ansi":
            return page_text(catalogue, user, self._last)
        return draw_page(catalogue, user, self._last, self.sessions.rules.page_size)


class ItemEnv(PageEnv):
    """The page environment with one item a page, and `Discrete(N)` actions: for DQN and single-item baselines.

    Everything else is as in `PageEnv`.
    """

    def __init__(
        self,
        dataset: str = "synthetic",
        user_model: str | UserModel = "statistical",
        llm: str | LLM | None = None,
        max_pages: int = 50,
        history_length: int = 50,
        reward: str | RewardFunction = "rating",
        render_mode: str | None = None,
    ) -> None:
        super().__init__(dataset, user_model, llm, 1, max_pages, history_length, "allow", reward, render_mode)

    def _action_space(self, num_items: int, page_size: int) -> spaces.Space[Any]:
        return spaces.Discrete(num_items)


def warn_if_uncertified(population: Population | SocialPopulation, user_model: object) -> None:
    """Warn if a population has no certificate or failed it; Python shows a warning once per code location."""
    if population.certified:
        return
    certificate = population.certificate
    name = user_model if isinstance(user_model, str) else type(user_model).__name__
    users = f"'{name}' users of '{population.dataset.name}'"
    command = f"recsim-llm certify --dataset {population.dataset.name} --user-model {name}"
    if certificate is not None and not certificate.shortfall:
        text = (
            f"{users} were compared with real people and {failure(certificate)}: what a policy "
            "earns from them need not hold for people. Take users that pass, or improve these and measure them again; "
            f"this prints every gate: {certificate.notes.get('command', command)}"
        )
    else:
        how = f"Measure it with: {command}" if isinstance(user_model, str) else "See docs/certificate.md."
        if certificate is not None:
            how = f"{certificate.shortfall} {how}"
        text = f"Nobody has measured how faithful {users} are to real people. {how}"
    warnings.warn(text, UncertifiedWarning, stacklevel=3)


def draw_base_key(rng: np.random.Generator) -> int:
    """Draw the key of an environment's whole sequence of sessions."""
    return int(rng.integers(0, 2**64, dtype=np.uint64))


def chosen_users(options: dict[str, Any] | None, count: int, num_users: int) -> Ints | None:
    """Return the users that the options of `reset` choose, or None.

    Raises:
        ConfigError: An unknown option, a wrong number of users, or a user outside the population.
    """
    if not options or options.get("user") is None:
        return None
    try:
        users = np.atleast_1d(whole_items(options["user"]))
    except InvalidActionError:
        raise ConfigError(f"options['user'] must hold user ids, whole numbers, not {shown(options['user'])}.") from None
    if users.shape != (count,):
        raise ConfigError(f"options['user'] must hold {count} user ids, not an array of shape {users.shape}.")
    if users.min() < 0 or users.max() >= num_users:
        raise ConfigError(f"options['user'] must be within 0..{num_users - 1}, got {users.min()}..{users.max()}.")
    return users


def check_reset(options: object, known: Sequence[str]) -> None:
    """Check that the options of `reset` are a dict with known names.

    Raises:
        ConfigError: They are not.
    """
    if options is not None and not isinstance(options, dict):
        raise ConfigError(f"options must be a dict with keys among {', '.join(known) or 'none'}, not {shown(options)}.")
    check_known(options or (), known, "reset(options=...)")


def first_row(observation: Observation) -> Obs:
    """Return the observation of session 0 only."""
    return {key: cast(np.ndarray, value)[0] for key, value in observation.items()}


def _first(info: dict[str, np.ndarray]) -> dict[str, Any]:
    return {key: value[0].item() if value.ndim == 1 else value[0] for key, value in info.items()}
