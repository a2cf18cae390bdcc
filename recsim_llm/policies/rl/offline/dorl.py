"""DORL: A2C with users learned from the log, with a bonus for high entropy of the log (Gao et al., SIGIR 2023)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from recsim_llm.data.dataset import Catalogue, Ratings
from recsim_llm.errors import ConfigError
from recsim_llm.policies.ranking import check_page_size
from recsim_llm.policies.rl.offline.imagined import Exits
from recsim_llm.policies.rl.rl_policy import RLPolicy, fitted_arrays, import_torch, need_tianshou
from recsim_llm.policies.rl.settings import DORLSettings, NetSettings
from recsim_llm.seeding import Stream, mix_one

NEEDS_TASK = (
    "exit=task trains with the exit rule of the setting that the policy is for, and there is none here: give one "
    "(simulate --quit window, a study), or take exit=learned."
)


class DORL(RLPolicy):
    """Debiased offline RL; see docs/policies/dorl.md.

    With exit=learned, the default, it uses only the log, like the other offline policies; with exit=task it is given
    the exit rule, which no log contains, as in EasyRL4Rec. Deviations from DORL's code: ratings and variances come from
    five matrix factorisations of the ratings, not from five DeepFMs; a category is an item's first genre; an entropy is
    divided by that of the uniform distribution over all categories, not over those that were seen to follow; and a
    category that was always followed by the same one has entropy 0, not 1.
    """

    name: ClassVar[str] = "dorl"
    settings_class: ClassVar[type[NetSettings]] = DORLSettings

    @classmethod
    def learn_from_log(
        cls, log: Ratings, catalogue: Catalogue, seed: int, **options: Any
    ) -> Mapping[str, NDArray[Any]]:
        """Learn users from the log, and train A2C with them.

        Raises:
            ConfigError: An invalid setting, or exit=task, for which `for_task` is needed.
            MissingExtraError: torch or tianshou is not installed.
        """
        return cls._trained(log, catalogue, seed, options, None)

    @classmethod
    def for_task(
        cls, exits: Exits, log: Ratings, catalogue: Catalogue, page_size: int, seed: int = 0, **options: Any
    ) -> Self:
        """Fit with exit=task.

        Args:
            exits: The exit rule of the task.
            log: Training ratings.
            catalogue: The items.
            page_size: K.
            seed: Seed for fitting.
            options: As in `fit`, except `min_rating`, which must be 0.

        Raises:
            ConfigError: An invalid setting.
            MissingExtraError: torch or tianshou is not installed.
        """
        check_page_size(page_size, len(catalogue))
        cls.check_options(options)
        if options.pop("min_rating", 0.0):
            raise ConfigError("Policy 'dorl': min_rating must be 0 with exit=task: stars are what people leave by.")
        options = {**options, "exit": "task"}
        fitted = cls._trained(log, catalogue, seed, options, exits)
        return cls.around(fitted, cls.settings(options), log, page_size, seed)

    @classmethod
    def _trained(
        cls, log: Ratings, catalogue: Catalogue, seed: int, options: dict[str, Any], task: Exits | None
    ) -> dict[str, NDArray[Any]]:
        settings = cls.settings(options)
        assert isinstance(settings, DORLSettings)
        if settings.exit == "task" and task is None:
            raise ConfigError(f"Policy 'dorl': {NEEDS_TASK}")
        import_torch("Fitting the policy 'dorl'")
        need_tianshou("Fitting the policy 'dorl'")
        from recsim_llm.policies.rl.offline.dorl_training import fit_dorl

        rows = log.take(np.lexsort((log.items, log.times, log.users)))
        weights = fit_dorl(rows, catalogue, settings, mix_one(seed, int(Stream.POLICY)) % 2**31, task)
        return fitted_arrays(weights, settings)
