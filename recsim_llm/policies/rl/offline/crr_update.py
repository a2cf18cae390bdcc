"""The update of discrete CRR as in the paper, based on tianshou's class. Needs torch and tianshou."""

from __future__ import annotations

from typing import Any

import torch
from tianshou.algorithm import DiscreteCRR
from tianshou.algorithm.imitation.discrete_crr import DiscreteCRRTrainingStats
from torch.distributions import Categorical
from torch.nn import functional


class DetachedCRR(DiscreteCRR):
    """tianshou's DiscreteCRR with detached action weights: the actor's loss has no gradient through the critic.

    tianshou 2.0.1 lets the gradient of the actor's loss flow through the weight exp(advantage / beta) into the critic,
    which then learns that logged actions are bad, because that makes the loss small (and overflows where an advantage
    is large). In the paper (Wang et al., NeurIPS 2020, equation 3) the weight is a constant factor per logged action.
    """

    def _update_with_batch(self, batch: Any) -> DiscreteCRRTrainingStats:
        if self._target and self._iter % self._freq == 0:
            self._update_lagged_network_weights()
        values = self.critic(batch.obs)  # (B, N)
        actions = torch.as_tensor(batch.act, dtype=torch.int64)[:, None]
        logged = values.gather(1, actions)  # (B, 1) values of the logged actions
        critic_loss = 0.5 * functional.mse_loss(logged, self._targets(batch))
        chances = Categorical(logits=self.policy.actor(batch.obs)[0])
        weight = self._weights(values, logged, chances)
        actor_loss = -(chances.logits.gather(1, actions) * weight).mean()  # normalised: log-probabilities
        cql_loss = (values.logsumexp(1, keepdim=True) - logged).mean()
        loss = actor_loss + critic_loss + self._min_q_weight * cql_loss
        self.optim.step(loss)
        self._iter += 1
        return DiscreteCRRTrainingStats(
            loss=loss.item(), actor_loss=actor_loss.item(), critic_loss=critic_loss.item(), cql_loss=cql_loss.item()
        )

    def _weights(self, values: torch.Tensor, logged: torch.Tensor, chances: Categorical) -> torch.Tensor:
        """(B, 1) exp(advantage / beta), clipped at the upper bound."""
        with torch.no_grad():
            advantage = logged - (values * chances.probs).sum(dim=1, keepdim=True)
            weights: torch.Tensor = (advantage / self._beta).exp().clamp(0, self._ratio_upper_bound)
        return weights

    def _targets(self, batch: Any) -> torch.Tensor:
        """(B, 1) reward plus discounted value of the next state under the lagged actor.

        The next value is 0 for a user who left, but not for a truncated session (tianshou treats both as the
        end).
        """
        with torch.no_grad():
            following = Categorical(logits=self.actor_old(batch.obs_next)[0])
            expected = (self.critic_old(batch.obs_next) * following.probs).sum(dim=1, keepdim=True)
            expected[torch.as_tensor(batch.terminated) > 0] = 0.0
            rewards = torch.as_tensor(batch.rew, dtype=expected.dtype)[:, None]
            targets: torch.Tensor = rewards + self.discounted_return_computation.gamma * expected
        return targets
