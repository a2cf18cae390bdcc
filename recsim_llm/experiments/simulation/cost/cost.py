"""Upper bound on the cost of a simulation, before a model is loaded or paid for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from recsim_llm.agents.named_users import WRAPPERS, inner_name
from recsim_llm.agents.user_model import UserModel
from recsim_llm.experiments.simulation.arm_files import fit, policy_names
from recsim_llm.experiments.simulation.config import SimulationConfig
from recsim_llm.experiments.simulation.interventions.interventions import Intervention
from recsim_llm.experiments.simulation.simulate import arms
from recsim_llm.experiments.simulation.trajectory import assemble, stream, wide_page
from recsim_llm.language import make_llm
from recsim_llm.language.wrappers.prefix_cache import PrefixMeter
from recsim_llm.runs import RecordingLLM
from recsim_llm.spec import first_name
from recsim_llm.types import Completion, Usage


class NobodyLeaves:
    """A population whose users answer as `users` do, but never leave: for the upper bound on cost."""

    def __init__(self, users: UserModel) -> None:
        self._users = users

    def __getattr__(self, name: str) -> Any:
        return getattr(self._users, name)

    def observe(self, sessions: Any, pages: Any, responses: Any) -> Any:
        """Return zero probability of leaving; the users still remember, and are still asked."""
        return np.zeros_like(self._users.observe(sessions, pages, responses))


class CostEstimate(NamedTuple):
    """The most that one run can cost.

    Attributes:
        policy: Name of the run.
        calls: LLM calls.
        tokens: Prompt tokens.
        repeated: Prompt tokens that a prefix cache of a million tokens would serve.
    """

    policy: str
    calls: int = 0
    tokens: int = 0
    repeated: int = 0


def dry_run(config: SimulationConfig) -> Iterator[CostEstimate]:
    """Estimate the most that each policy's run can cost.

    The simulation is run with a model that answers everything uniformly, and nobody leaves before the last page. Tokens
    are estimated as characters / 4. Identical prompts of one round count once; answers already in a cache count.
    In a society, people wake as in the run itself, but what they decide to do is unknown without the model.
    """
    config.check()
    config = config.chosen
    plans = arms(config)
    for name in config.policies:
        for suffix, interventions in plans.items():
            if not (config.asks_llm or config.policies_ask_llm):
                yield CostEstimate(f"{name}{suffix}")
                continue
            usage = _dry_arm(replace(config, policies=(name,)), interventions)
            yield CostEstimate(f"{name}{suffix}", usage.calls, usage.prompt_tokens, usage.repeated_tokens)


def _dry_arm(config: SimulationConfig, interventions: tuple[Intervention, ...]) -> Usage:
    if first_name(config.user_model) in WRAPPERS:
        # Upper bound: everything is asked, as if no weight were 0.
        config = replace(config, user_model=inner_name(config.user_model))
    recorder = RecordingLLM(PrefixMeter(make_llm("uniform")), dict[bytes, Completion]())
    cast = assemble(config, recorder if config.asks_llm else None)
    stay = replace(cast.population, users=NobodyLeaves(cast.population.users))
    wide = replace(config, page_size=wide_page(config, interventions))
    policies = {name: fit(wide, cast.population, name, recorder) for name in policy_names(config, interventions)}
    for _ in stream(config, replace(cast, population=stay), policies, interventions):
        recorder.drain()
    return recorder.usage
