"""The base class of RL policies: options, file format, and pages of the best-scored items. Acting imports torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recsim_llm.checked import check_known, check_value
from recsim_llm.data.dataset import Catalogue, Ratings
from recsim_llm.errors import ConfigError, MissingExtraError
from recsim_llm.option_list import ListedOption, listed_options
from recsim_llm.policies.ranking import MinRating, RankingPolicy, TasteOptions, check_page_size
from recsim_llm.policies.rl.item_vectors import ItemStart, item_start
from recsim_llm.policies.rl.networks.states import pack
from recsim_llm.policies.rl.settings import NetSettings
from recsim_llm.policies.sparse_rows import Scores, interactions
from recsim_llm.types import Floats32, Observation
from recsim_llm.untrusted import parse_json

if TYPE_CHECKING:
    from torch import nn

_ROWS = 32  # fixed block of users: the bits of a product may depend on its number of rows

Arrays = Mapping[str, NDArray[Any]]


class RLPolicy(RankingPolicy):
    """A policy that ranks by the scores of a trained network.

    Attributes:
        settings_class: Dataclass of its options.
    """

    reads_log: ClassVar[bool] = True
    settings_class: ClassVar[type[NetSettings]]

    def __init__(self, page_size: int, seed: int, known: sp.csr_array, fitted: Arrays) -> None:
        super().__init__(page_size, seed, known, fitted)
        self._nets: dict[str, nn.Module] | None = None

    @classmethod
    def options(cls) -> dict[str, Any]:
        """Return names and defaults of its options."""
        return cls.settings_class().as_options()

    @classmethod
    def listed_options(cls) -> list[ListedOption]:
        """See `policies.policy_protocol.ListedPolicy`."""
        return [*listed_options(cls.settings_class), *listed_options(TasteOptions)]

    @classmethod
    def check_options(cls, options: Mapping[str, Any]) -> None:
        """See `policies.policy_protocol.FittedPolicy`."""
        # The networks read stars, so `min_rating` is not a setting; `fit` applies it by dropping ratings beforehand.
        check_value(f"Policy '{cls.name}': min_rating", options.get("min_rating", 0.0), MinRating)
        cls.settings({name: value for name, value in options.items() if name != "min_rating"})

    @classmethod
    def settings(cls, options: dict[str, Any]) -> NetSettings:
        """Return checked settings.

        Raises:
            ConfigError: An unknown option, or an invalid value.
        """
        check_known(options, [*cls.options(), "min_rating"], f"Policy '{cls.name}'")
        return cls.settings_class.of(options)

    @classmethod
    def around(
        cls, weights: Arrays, settings: NetSettings, log: Ratings, page_size: int, seed: int, min_rating: float = 0.0
    ) -> Self:
        """Return a policy with trained weights.

        Args:
            weights: Arrays from `packed_weights`.
            settings: Settings of the network.
            log: Ratings whose items are not shown to their users again.
            page_size: K.
            seed: Stored in the file.
            min_rating: Must be 0, because these policies read stars.
        """
        check_page_size(page_size, log.num_items)
        return cls(page_size, seed, interactions(log), fitted_arrays(weights, settings))

    @property
    def trained(self) -> NetSettings:
        """The settings with which its network was trained."""
        return self.settings_class.of(parse_json(str(self.fitted["config"]), "What the policy was trained with"))

    def scores(self, observation: Observation, taste: sp.csr_array) -> Scores:
        """(B, N) scores of the network.

        Raises:
            MissingExtraError: `torch` is not installed.
        """
        rows = pack(observation, self.page_size)
        return np.concatenate([self._scores(rows[i : i + _ROWS]) for i in range(0, len(rows), _ROWS)])

    def _scores(self, rows: Floats32) -> Scores:
        torch = import_torch(f"The policy '{self.name}'")
        full = np.zeros((_ROWS, rows.shape[1]), dtype=np.float32)
        full[: len(rows)] = rows
        with torch.no_grad():
            scores = self.network_scores(self._networks(), torch.from_numpy(full))
        return np.asarray(scores.numpy()[: len(rows)])

    def network_scores(self, nets: Mapping[str, Any], rows: Any) -> Any:
        """Return the (B, N) scores to rank by."""
        return nets["main"].scores(rows)

    def _networks(self) -> dict[str, nn.Module]:
        if self._nets is None:
            from recsim_llm.policies.rl.networks.weights import load_networks

            self._nets = load_networks(self.fitted, self.trained, self.known.shape[1])
        return self._nets


class OnlinePolicy(RLPolicy):
    """A policy that is trained in an environment, not from the log."""

    refits: ClassVar[bool] = False

    @classmethod
    def learn_from_log(cls, log: Ratings, catalogue: Catalogue, seed: int, **options: Any) -> Arrays:
        """Refuse: this policy is not learned from a log.

        Raises:
            ConfigError: Always; the message says how to train.
        """
        raise ConfigError(
            f"The policy '{cls.name}' learns by acting: recsim-llm train --policy {cls.name} --out FILE.npz, and then "
            f"--policy FILE.npz."
        )


def start_of(log: Ratings, catalogue: Catalogue, settings: NetSettings, seed: int) -> ItemStart:
    """Return the initial item vectors of a network."""
    return item_start(log, catalogue, settings.embedding_size, seed, settings.pretrained)


def fitted_arrays(weights: Arrays, settings: NetSettings) -> dict[str, NDArray[Any]]:
    """Return the arrays of a policy file: weights, and the settings as JSON."""
    return {**weights, "config": np.array(json.dumps(settings.as_options()))}


def import_torch(feature: str) -> Any:
    """Import torch.

    Raises:
        MissingExtraError: It is not installed.
    """
    try:
        import torch
    except ImportError as error:
        raise MissingExtraError("torch", "rl", feature) from error
    return torch


def need_tianshou(feature: str) -> None:
    """Check that tianshou can be imported.

    Raises:
        MissingExtraError: It is not installed.
    """
    try:
        import tianshou  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("tianshou", "rl", feature) from error
