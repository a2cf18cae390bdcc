"""Reinforcement-learning policies: online (DQN, A2C, PPO) and from logs (SQN, BCQ, CQL, CRR, DORL).

Importing this package imports neither torch nor tianshou; fitting, training and acting do.
"""

from recsim_llm.policies.rl.offline.dorl import DORL
from recsim_llm.policies.rl.offline.offline_policies import BCQ, CQL, CRR, SQN
from recsim_llm.policies.rl.online import A2C, DQN, PPO

RL_POLICIES = (DQN, A2C, PPO, SQN, BCQ, CQL, CRR, DORL)

__all__ = ["A2C", "BCQ", "CQL", "CRR", "DORL", "DQN", "PPO", "RL_POLICIES", "SQN"]
