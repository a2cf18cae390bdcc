"""LongTerm-v0: the setting of BiLLP and EasyRL4Rec, with one item (or page) per turn until the user quits."""

from __future__ import annotations

from typing import Any

from gymnasium import spaces
from gymnasium.vector import AutoresetMode

from recsim_llm.agents.long_term.long_term_population import RULE, make_long_term
from recsim_llm.agents.long_term.quit_rule import QuitRule
from recsim_llm.agents.population import Population
from recsim_llm.agents.user_model import UserModel
from recsim_llm.environments.page import PageEnv
from recsim_llm.environments.rewards import RewardFunction
from recsim_llm.environments.sessions import long_history
from recsim_llm.environments.vector import PageVectorEnv
from recsim_llm.language.protocol import LLM


class LongTermEnv(PageEnv):
    """A user watches one recommended item after the other, and leaves when bored or displeased.

    ## Description
    The setting of BiLLP (Shi et al., SIGIR 2024) and EasyRL4Rec (Yu et al., SIGIR 2024): every shown item is watched,
    its rating is the reward, and the user leaves when an item is too similar to one of the last N, or rated low. A
    policy must trade off the reward now against later rewards.

    ## Action Space
    `Discrete(N)`; `MultiDiscrete([N] * K)` with `page_size=K` above 1.

    ## Observation Space
    As in `PageEnv`.

    ## Starting State
    As in `PageEnv`: the history starts with the user's latest logged ratings. The window of the quit rule is empty.

    ## Reward
    The rating in stars (of a page: their sum), drawn; with the rule's `ratings="expected"` it is deterministic.

    ## Episode End
    Terminated when the quit rule holds (`quit_rule.QuitRule`); truncated after `max_pages`. The reward of the
    turn that makes a person leave is given; BiLLP's tables leave it out, EasyRL4Rec's count it
    (`docs/long_term_study.md`).

    ## Information
    As in `PageEnv`; `leave_probability` is 1 where the rule held.

    ## Arguments
    `dataset`, `user_model`, `llm`, `reward`: as in `PageEnv`; `user_model` may be any population.
    `history_length`: as in `PageEnv`; default: long enough for a whole session, and at least 50.
    `rule`: a `QuitRule`, or a string such as "window?window=7&nearest=0.28"; the published form, in which users differ
    only in taste: "window?ratings=expected&tolerance=common&repetition=none".
    `max_pages`: EasyRL4Rec 30, BiLLP 50 to 70.
    `page_size`: items per turn.

    ## References
    BiLLP, arXiv 2403.00843; EasyRL4Rec, arXiv 2402.15164. Deviations: see `QuitRule`; the window is never cut short
    early in an episode, as EasyRL4Rec's is.

    ## Version History
    v0: first release.
    """

    def __init__(
        self,
        dataset: str = "synthetic",
        user_model: str | UserModel = "statistical",
        llm: str | LLM | None = None,
        rule: str | QuitRule = RULE,
        max_pages: int = 30,
        page_size: int = 1,
        history_length: int | None = None,
        reward: str | RewardFunction = "rating",
        render_mode: str | None = None,
    ) -> None:
        self._rule = rule
        history = long_history(max_pages, page_size) if history_length is None else history_length
        super().__init__(dataset, user_model, llm, page_size, max_pages, history, "drop", reward, render_mode)

    def _population(self, dataset: str, user_model: str | UserModel, llm: str | LLM | None) -> Population:
        return make_long_term(dataset, user_model, llm, self._rule)

    def _action_space(self, num_items: int, page_size: int) -> spaces.Space[Any]:
        return spaces.Discrete(num_items) if page_size == 1 else super()._action_space(num_items, page_size)


class LongTermVectorEnv(PageVectorEnv):
    """B sessions of `LongTermEnv` side by side; arguments as there and in `PageVectorEnv`."""

    def __init__(
        self,
        num_envs: int = 1,
        dataset: str = "synthetic",
        user_model: str | UserModel = "statistical",
        llm: str | LLM | None = None,
        rule: str | QuitRule = RULE,
        max_pages: int = 30,
        page_size: int = 1,
        history_length: int | None = None,
        reward: str | RewardFunction = "rating",
        autoreset_mode: str | AutoresetMode = AutoresetMode.NEXT_STEP,
        max_episode_steps: int | None = None,
        render_mode: str | None = None,
    ) -> None:
        self._rule = rule
        history = long_history(max_pages, page_size) if history_length is None else history_length
        super().__init__(
            num_envs, dataset, user_model, llm, page_size, max_pages, history, "drop", reward,
            autoreset_mode, max_episode_steps, render_mode,
        )  # fmt: skip

    def _population(self, dataset: str, user_model: str | UserModel, llm: str | LLM | None) -> Population:
        return make_long_term(dataset, user_model, llm, self._rule)

    def _single_action_space(self, num_items: int, page_size: int) -> spaces.Space[Any]:
        return spaces.Discrete(num_items) if page_size == 1 else super()._single_action_space(num_items, page_size)
