"""SQN, BCQ, CQL and CRR: policies trained on training ratings or on collected sessions."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from recsim_llm.data.dataset import Catalogue, Ratings
from recsim_llm.policies.rl.offline.offline_data import OfflineLog, log_episodes
from recsim_llm.policies.rl.rl_policy import RLPolicy, fitted_arrays, import_torch, need_tianshou, start_of
from recsim_llm.policies.rl.settings import (
    BCQSettings,
    CQLSettings,
    CRRSettings,
    NetSettings,
    OfflineSettings,
    SQNSettings,
)
from recsim_llm.seeding import Stream, mix_one

HISTORY = 50
"""Length of the histories made from training ratings: the default history length of environments."""

Arrays = Mapping[str, NDArray[Any]]


class OfflinePolicy(RLPolicy):
    """A policy that learns from logged steps."""

    @classmethod
    def learn_from_log(cls, log: Ratings, catalogue: Catalogue, seed: int, **options: Any) -> Arrays:
        """Train the network on the log's sequences, or on the data set that the option `data` names.

        Raises:
            ConfigError: An invalid setting.
            DataError: The offline data set is damaged or belongs to another catalogue.
            MissingExtraError: torch or tianshou is not installed.
        """
        settings = cls.settings(options)
        assert isinstance(settings, OfflineSettings)
        episodes = OfflineLog.load(Path(settings.data), len(catalogue)) if settings.data else log_episodes(log, HISTORY)
        import_torch(f"Fitting the policy '{cls.name}'")
        need_tianshou(f"Fitting the policy '{cls.name}'")
        from recsim_llm.policies.rl.offline.offline_training import fit_network

        # Sorted, so that the order of the log's rows does not change even the last bit of a sum.
        rows = log.take(_order(log))
        start = start_of(rows, catalogue, settings, seed)
        weights = fit_network(cls.name, start, settings, episodes, mix_one(seed, int(Stream.POLICY)) % 2**31)
        return fitted_arrays(weights, settings)


def _order(log: Ratings) -> NDArray[Any]:
    return np.lexsort((log.items, log.times, log.users))


class SQN(OfflinePolicy):
    """Self-supervised Q-learning (Xin et al., SIGIR 2020) on tianshou; see docs/policies/sqn.md."""

    name: ClassVar[str] = "sqn"
    settings_class: ClassVar[type[NetSettings]] = SQNSettings

    def network_scores(self, nets: Mapping[str, Any], rows: Any) -> Any:
        """Return the scores of the head that the option `head` names."""
        settings = self.trained
        assert isinstance(settings, SQNSettings)
        return nets["imitator" if settings.head == "supervised" else "main"].scores(rows)


class BCQ(OfflinePolicy):
    """Discrete batch-constrained Q-learning (Fujimoto et al. 2019) on tianshou; see docs/policies/bcq.md."""

    name: ClassVar[str] = "bcq"
    settings_class: ClassVar[type[NetSettings]] = BCQSettings

    def network_scores(self, nets: Mapping[str, Any], rows: Any) -> Any:
        """Return Q-values for items that the imitator finds likely enough; the others follow in its order."""
        torch, settings = import_torch("The policy 'bcq'"), self.trained
        assert isinstance(settings, BCQSettings)
        worth, likely = nets["main"].scores(rows), nets["imitator"].forward(rows)[0]
        share = likely - likely.max(dim=1, keepdim=True).values
        allowed = share >= (math.log(settings.threshold) if settings.threshold > 0 else -math.inf)
        floor = worth.min(dim=1, keepdim=True).values
        return torch.where(allowed, worth, floor + share - 1.0)


class CQL(OfflinePolicy):
    """Discrete conservative Q-learning (Kumar et al. 2020) on tianshou; see docs/policies/cql.md."""

    name: ClassVar[str] = "cql"
    settings_class: ClassVar[type[NetSettings]] = CQLSettings

    def network_scores(self, nets: Mapping[str, Any], rows: Any) -> Any:
        """Return the mean of the quantiles."""
        return nets["main"].scores(rows).mean(dim=2)


class CRR(OfflinePolicy):
    """Discrete critic-regularised regression (Wang et al. 2020) on tianshou; see docs/policies/crr.md."""

    name: ClassVar[str] = "crr"
    settings_class: ClassVar[type[NetSettings]] = CRRSettings
