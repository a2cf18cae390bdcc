"""Conversion of networks to arrays and back, for policy files. Needs torch, not tianshou."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from recsim_llm.policies.rl.item_vectors import ItemStart
from recsim_llm.policies.rl.networks.nets import Scorer, weights_of
from recsim_llm.policies.rl.settings import NetSettings

Arrays = Mapping[str, NDArray[Any]]


def packed_weights(nets: Mapping[str, nn.Module]) -> dict[str, NDArray[Any]]:
    """Return the weights of the networks that a policy acts with, named `net.NETWORK.WEIGHT`."""
    return {f"net.{which}.{name}": array for which, net in nets.items() for name, array in weights_of(net).items()}


def load_networks(fitted: Arrays, settings: NetSettings, num_items: int) -> dict[str, nn.Module]:
    """Rebuild the networks from the arrays of `packed_weights`."""
    names = sorted({name.split(".")[1] for name in fitted if name.startswith("net.")})
    return {name: _network(fitted, f"net.{name}.", settings, num_items) for name in names}


def _network(fitted: Arrays, prefix: str, settings: NetSettings, num_items: int) -> nn.Module:
    weights = {name.removeprefix(prefix): value for name, value in fitted.items() if name.startswith(prefix)}
    likeness = weights["likeness"]
    vectors = np.zeros((num_items, settings.embedding_size), dtype=np.float32)
    empty = ItemStart(0.0, np.zeros(num_items, dtype=np.float32), vectors, np.zeros_like(likeness))
    with torch.random.fork_rng(devices=[]):
        net = Scorer(empty, settings, quantiles=int(getattr(settings, "quantiles", 0)))
    net.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in weights.items()})
    return net.eval()
