"""DORL: A2C among people learned from the log, with a bonus where the log is varied (Gao et al., SIGIR 2023)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from recsim_llm.data.dataset import Catalogue, Ratings
from recsim_llm.policies.rl.policy import RLPolicy, fitted_arrays, import_torch, need_tianshou
from recsim_llm.policies.rl.settings import DORLSettings, NetSettings
from recsim_llm.seeding import Stream, mix_one


class DORL(RLPolicy):
    """Debiased offline RL; see docs/policies/dorl.md."""

    name: ClassVar[str] = "dorl"
    settings_class: ClassVar[type[NetSettings]] = DORLSettings

    @classmethod
    def learn_from_log(
        cls, log: Ratings, catalogue: Catalogue, seed: int, **options: Any
    ) -> Mapping[str, NDArray[Any]]:
        """Learn people from the log, and train A2C among them.

        Raises:
            ConfigError: A setting that cannot work.
            MissingExtraError: torch or tianshou is not installed.
        """
        settings = cls.settings(options)
        assert isinstance(settings, DORLSettings)
        import_torch("Fitting the policy 'dorl'")
        need_tianshou("Fitting the policy 'dorl'")
        from recsim_llm.policies.rl.dorl_training import fit_dorl

        rows = log.take(np.lexsort((log.items, log.times, log.users)))
        weights = fit_dorl(rows, catalogue, settings, mix_one(seed, int(Stream.POLICY)) % 2**31)
        return fitted_arrays(weights, settings)
