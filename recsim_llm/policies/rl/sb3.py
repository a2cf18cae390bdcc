"""Stable-Baselines3 models with the networks of our own policies: item ids are looked up, not read as numbers.

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
    """The `policy_kwargs` that `HistoryPolicy` needs, and `MultiInputPolicy` with `HistoryFeatures`.

    Args:
        log: Training ratings, from which item vectors begin (`pretrained=False` in the settings: random ones).
        catalogue: The items of the environment.
        settings: Sizes and kinds of the networks; None: those of our A2C.
        seed: Of random vectors.

    Returns:
        Keyword arguments, with `features_extractor_kwargs`.
    """
    chosen = settings or A2CSettings()
    start = item_start(log, catalogue, chosen.embedding_size, seed, chosen.pretrained)
    return {"features_extractor_kwargs": {"start": start, "settings": chosen}}


def rows_of(observation: Mapping[str, Tensor]) -> Tensor:
    """(B, 1 + 2 H) rows of an environment with one item a page, as `states.pack` makes them of arrays."""
    held = observation["history_mask"] > 0
    items = torch.where(held, observation["history_items"].float(), -1.0)
    stars = torch.where(held, observation["history_ratings"].float(), 0.0)
    return torch.cat([observation["page"].float(), items, stars], dim=1)


def _check(space: spaces.Space[Any], start: ItemStart) -> int:
    """H, after a check that the space is that of our environments and of this catalogue."""
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
    """(B, S) state of our networks (`nets.Tracker`), for any algorithm with "MultiInputPolicy".

    What a person likes, by stars; the latest items of the session one by one; how many it has shown. It masks nothing:
    which items were shown is for `HistoryPolicy`, which scores items.

    Args:
        space: Of observations.
        start: What is known of items (`networks`).
        settings: Of the networks.

    Raises:
        ConfigError: The space is of another environment or catalogue.
    """

    def __init__(self, space: spaces.Dict, start: ItemStart, settings: NetSettings) -> None:
        _check(space, start)
        tracker = Tracker(start, settings)
        super().__init__(space, tracker.size)
        self.tracker = tracker

    def forward(self, observation: Mapping[str, Tensor]) -> Tensor:
        """Features of a batch."""
        state: Tensor = self.tracker(rows_of(observation))[1]
        return state


class _Rows(BaseFeaturesExtractor):
    """(B, 1 + 2 H) rows: the networks behind it look items up themselves."""

    def __init__(self, space: spaces.Dict, start: ItemStart, settings: NetSettings) -> None:
        super().__init__(space, 1 + 2 * _check(space, start))

    def forward(self, observation: Mapping[str, Tensor]) -> Tensor:
        return rows_of(observation)


class _Scores(nn.Module):
    """(B, N) logits of rows; what the history holds is out of the question."""

    def __init__(self, scorer: Scorer) -> None:
        super().__init__()
        self.scorer = scorer

    def forward(self, rows: Tensor) -> Tensor:
        scores: Tensor = self.scorer(rows)[0]
        return scores


class HistoryPolicy(MultiInputActorCriticPolicy):
    """For SB3's PPO and A2C: our actor (`nets.Scorer`) and critic (`nets.Value`), where a page is one item.

    The actor scores items by their vectors, and what the history holds has no probability to speak of: it is not shown
    again. Arguments are SB3's; `policy_kwargs=networks(log, catalogue)`.

    Raises:
        ConfigError: The space is of another environment or catalogue, or `policy_kwargs` are missing.
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
