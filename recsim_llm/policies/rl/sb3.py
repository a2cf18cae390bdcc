"""Our networks for Stable-Baselines3 models: item ids are embedded, not read as numbers.

    from stable_baselines3 import PPO
    from recsim_llm.policies.rl.sb3 import HistoryPolicy, networks

    people = env.unwrapped.population
    model = PPO(HistoryPolicy, env, policy_kwargs=networks(people.log, people.dataset.catalogue))

Needs torch and stable_baselines3: `pip install 'recsim-llm[sb3]'`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from gymnasium import spaces
from torch import Tensor, nn

from recsim_llm.data.dataset import Catalogue, Ratings
from recsim_llm.errors import ConfigError, MissingExtraError
from recsim_llm.policies.rl.item_vectors import ItemStart, item_start
from recsim_llm.policies.rl.networks.nets import Scorer, Tracker, Value
from recsim_llm.policies.rl.settings import A2CSettings, NetSettings

try:
    from stable_baselines3.common.policies import MultiInputActorCriticPolicy
    from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
except ImportError as error:
    raise MissingExtraError("stable_baselines3", "sb3", "Policies for Stable-Baselines3") from error

_PARTS = ("history_items", "history_ratings", "history_mask", "page")


def networks(
    log: Ratings, catalogue: Catalogue, settings: NetSettings | None = None, seed: int = 0
) -> dict[str, dict[str, Any]]:
    """Return the `policy_kwargs` for `HistoryPolicy`, or for `MultiInputPolicy` with `HistoryFeatures`.

    Args:
        log: Training ratings, for the initial item vectors (`pretrained=False` in the settings: random ones).
        catalogue: The items of the environment.
        settings: Sizes and kinds of the networks; None: those of our A2C.
        seed: Seed for random vectors.

    Returns:
        Keyword arguments, with `features_extractor_kwargs`.
    """
    chosen = settings or A2CSettings()
    start = item_start(log, catalogue, chosen.embedding_size, seed, chosen.pretrained)
    return {"features_extractor_kwargs": {"start": start, "settings": chosen}}


def rows_of(observation: Mapping[str, Tensor]) -> Tensor:
    """Return (B, 1 + 2 H) rows of an environment with one item per page: `states.pack` for tensors."""
    held = observation["history_mask"] > 0
    items = torch.where(held, observation["history_items"].float(), -1.0)
    stars = torch.where(held, observation["history_ratings"].float(), 0.0)
    return torch.cat([observation["page"].float(), items, stars], dim=1)


def _check(space: spaces.Space[Any], start: ItemStart) -> int:
    """Check that the space belongs to our environments and this catalogue; return H."""
    if not isinstance(space, spaces.Dict) or not set(_PARTS) <= set(space.spaces):
        raise ConfigError(f"These networks read {', '.join(_PARTS)}; the observation space is {space}.")
    history = space["history_items"]
    assert isinstance(history, spaces.Box)
    items = int(history.high.max()) + 1
    if items != len(start.bias):
        raise ConfigError(
            f"The environment has {items} items, and the vectors are of {len(start.bias)}: give networks() the log "
            "and catalogue of env.unwrapped.population."
        )
    return int(history.shape[0])


class HistoryFeatures(BaseFeaturesExtractor):
    """Extracts the (B, S) state of our networks (`nets.Tracker`), for any algorithm with "MultiInputPolicy".

    The state holds the user's taste by stars, the latest items of the session one by one, and the number of items
    shown. Nothing is masked; only `HistoryPolicy`, which scores items, excludes the items shown.

    Args:
        space: Observation space.
        start: Initial item vectors (`networks`).
        settings: Settings of the networks.

    Raises:
        ConfigError: The space belongs to another environment or catalogue.
    """

    def __init__(self, space: spaces.Dict, start: ItemStart, settings: NetSettings) -> None:
        _check(space, start)
        tracker = Tracker(start, settings)
        super().__init__(space, tracker.size)
        self.tracker = tracker

    def forward(self, observation: Mapping[str, Tensor]) -> Tensor:
        """Return the features of a batch."""
        state: Tensor = self.tracker(rows_of(observation))[1]
        return state


class _Rows(BaseFeaturesExtractor):
    """Passes (B, 1 + 2 H) rows on: the networks behind it embed the items themselves."""

    def __init__(self, space: spaces.Dict, start: ItemStart, settings: NetSettings) -> None:
        super().__init__(space, 1 + 2 * _check(space, start))

    def forward(self, observation: Mapping[str, Tensor]) -> Tensor:
        return rows_of(observation)


class _Scores(nn.Module):
    """Computes (B, N) logits of rows; items of the history are excluded."""

    def __init__(self, scorer: Scorer) -> None:
        super().__init__()
        self.scorer = scorer

    def forward(self, rows: Tensor) -> Tensor:
        scores: Tensor = self.scorer(rows)[0]
        return scores


class HistoryPolicy(MultiInputActorCriticPolicy):
    """Actor (`nets.Scorer`) and critic (`nets.Value`) for SB3's PPO and A2C, with one item per page.

    The actor scores items by their vectors; items of the history have negligible probability and are not shown again.
    Arguments are SB3's; `policy_kwargs=networks(log, catalogue)`.

    Raises:
        ConfigError: The space belongs to another environment or catalogue, or `policy_kwargs` are missing.
    """

    def __init__(self, space: spaces.Dict, actions: spaces.Space[Any], schedule: Any, **options: Any) -> None:
        if not isinstance(actions, spaces.Discrete):
            raise ConfigError(f"HistoryPolicy shows one item a page: page_size=1; the action space is {actions}.")
        if "features_extractor_kwargs" not in options:
            raise ConfigError("HistoryPolicy needs to know the items: policy_kwargs=networks(log, catalogue).")
        fixed = {"net_arch": [], "ortho_init": False, "features_extractor_class": _Rows}
        super().__init__(space, actions, schedule, **{**options, **fixed})

    def _build(self, lr_schedule: Any) -> None:
        super()._build(lr_schedule)
        start, settings = self.features_extractor_kwargs["start"], self.features_extractor_kwargs["settings"]
        self.action_net = _Scores(Scorer(start, settings))
        self.value_net = Value(start, settings)  # type: ignore[assignment]  # SB3 knows linear ones alone
        self.optimizer = self.optimizer_class(self.parameters(), lr=lr_schedule(1), **self.optimizer_kwargs)  # type: ignore[call-arg]
