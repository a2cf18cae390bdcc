"""DQN, A2C and PPO: policies trained online in an environment (`recsim-llm train`)."""

from __future__ import annotations

from typing import ClassVar

from recsim_llm.policies.rl.rl_policy import OnlinePolicy
from recsim_llm.policies.rl.settings import A2CSettings, DQNSettings, NetSettings, PPOSettings


class DQN(OnlinePolicy):
    """Double deep Q-learning (Mnih et al. 2013; van Hasselt et al. 2016) on tianshou; see docs/policies/dqn.md."""

    name: ClassVar[str] = "dqn"
    settings_class: ClassVar[type[NetSettings]] = DQNSettings


class A2C(OnlinePolicy):
    """Advantage actor-critic (Mnih et al. 2016) on tianshou; see docs/policies/a2c.md."""

    name: ClassVar[str] = "a2c"
    settings_class: ClassVar[type[NetSettings]] = A2CSettings


class PPO(OnlinePolicy):
    """Proximal policy optimisation (Schulman et al. 2017) on tianshou; see docs/policies/ppo.md."""

    name: ClassVar[str] = "ppo"
    settings_class: ClassVar[type[NetSettings]] = PPOSettings
