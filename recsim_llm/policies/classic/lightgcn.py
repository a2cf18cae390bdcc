"""LightGCN: embeddings propagated over the user-item graph (He et al., SIGIR 2020), with `torch_geometric`."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recsim_llm.checked import Count, NotNegative
from recsim_llm.errors import MissingExtraError
from recsim_llm.policies.ranking import Epochs, RankingPolicy, Rate, Size
from recsim_llm.policies.sparse_rows import Scores, or_popular, sparse_times
from recsim_llm.seeding import Stream, mix_one
from recsim_llm.types import Observation

if TYPE_CHECKING:
    from torch import Tensor


class LightGCN(RankingPolicy):
    """Scores are products of propagated vectors of users and items.

    For each page a user's vector is propagated again from the items liked so far: layer k + 1 of a user is 1/sqrt(n)
    times the sum of layer k of their n items, each divided by the square root of the item's number of raters. For users
    of the log who liked nothing since, this equals the trained vector; for unknown users it is the (scaled) mean of
    their items. Item vectors do not change after training. Users without any liked item are shown popular items.
    """

    name = "lightgcn"

    @classmethod
    def learn_from(
        cls,
        known: sp.csr_array,
        seed: int,
        embedding_size: Size = 64,
        layers: Size = 2,
        reg: NotNegative = 1e-4,
        learning_rate: Rate = 0.02,
        batch_size: Count = 8192,
        epochs: Epochs = 60,
    ) -> Mapping[str, NDArray[Any]]:
        """Return the final item vectors, the sums of their layers, and the users' own vectors.

        Args:
            known: (U, N) interactions.
            seed: Seed for initial vectors, batch order and negatives.
            embedding_size: D, at least 1.
            layers: Layers of propagation, at least 1.
            reg: Penalty on squares of the layer-0 vectors, at least 0.
            learning_rate: Of Adam, above 0.
            batch_size: Interactions per step, each with one negative drawn from all items; at least 1.
            epochs: Passes over the interactions, at least 1.

        Raises:
            ConfigError: A value outside these ranges.
            MissingExtraError: `torch` or `torch_geometric` is not installed.
        """
        model_class = _model_class()
        import torch

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(mix_one(seed, Stream.POLICY))
            net = model_class(sum(known.shape), embedding_size, layers, normalize=False)
            graph = _graph(known)
            _train(net, graph, known, reg, learning_rate, batch_size, epochs)
            with torch.no_grad():
                return _kept(net, graph, known)

    def scores(self, observation: Observation, taste: sp.csr_array) -> Scores:
        """(B, N) products of propagated vectors."""
        users, own = observation["user"][:, 0], self.fitted["user"]  # (B,), (U, D)
        inside = (users >= 0) & (users < len(own))
        start = np.where(inside[:, None], own[np.where(inside, users, 0)], np.float32(0)) if len(own) else np.float32(0)
        liked = np.maximum(np.diff(taste.indptr), 1).astype(np.float32)  # (B,) degree of each user
        states = start + sparse_times(taste, self.fitted["neighbour"]) / np.sqrt(liked)[:, None]
        return or_popular(sparse_times(sp.csr_array(states), self.fitted["item"].T.copy()), taste, self.popularity)


def _train(
    net: Any, graph: Tensor, known: sp.csr_array, reg: float, learning_rate: float, batch_size: int, epochs: int
) -> None:
    import torch

    num_users, num_items = known.shape
    pairs = known.tocoo()
    users, items = torch.from_numpy(pairs.row.astype(np.int64)), torch.from_numpy(pairs.col.astype(np.int64))
    optimiser = torch.optim.Adam(net.parameters(), lr=learning_rate)
    for _ in range(epochs if len(users) else 0):
        for rows in torch.split(torch.randperm(len(users)), batch_size):
            # Items follow the users in the graph, so item i is node U + i; the third is the negative.
            nodes = (users[rows], num_users + items[rows], num_users + torch.randint(num_items, (len(rows),)))
            vectors = net.get_embedding(graph)
            user, good, bad = (vectors[which] for which in nodes)
            loss = torch.nn.functional.softplus((user * (bad - good)).sum(-1)).mean()
            start = sum(net.embedding(which).pow(2).sum() for which in nodes)
            optimiser.zero_grad()
            (loss + reg * start / (2 * len(rows))).backward()
            optimiser.step()


def _kept(net: Any, graph: Tensor, known: sp.csr_array) -> dict[str, NDArray[Any]]:
    """Return the arrays for serving: final item vectors, each item's message to its users, and the users' own part."""
    num_users = known.shape[0]
    layer = net.embedding.weight
    passed = layer.new_zeros(known.shape[1], layer.shape[1])
    degree = np.maximum(np.bincount(known.indices, minlength=known.shape[1]), 1).astype(np.float32)
    for conv, share in zip(net.convs, net.alpha[1:], strict=True):
        passed = passed + share * layer[num_users:]  # (N, D) weighted sum over the layers so far
        layer = conv(layer, graph)
    final = net.get_embedding(graph)
    return {
        "item": final[num_users:].numpy().copy(),
        "neighbour": passed.numpy() / np.sqrt(degree)[:, None],
        "user": (net.alpha[0] * net.embedding.weight[:num_users]).numpy().copy(),
    }


def _graph(known: sp.csr_array) -> Tensor:
    """(U + N, U + N) symmetric adjacency, each edge 1/sqrt(degree of its user x degree of its item)."""
    import torch

    people, items = (np.maximum(np.asarray(known.sum(axis=axis)), 1).astype(np.float64) for axis in (1, 0))
    scaled = sp.diags_array(people**-0.5) @ known @ sp.diags_array(items**-0.5)
    both = sp.csr_array(sp.block_array([[None, scaled], [scaled.T, None]])).astype(np.float32)
    both.sort_indices()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta", UserWarning)
        return torch.sparse_csr_tensor(
            torch.from_numpy(both.indptr.astype(np.int64)),
            torch.from_numpy(both.indices.astype(np.int64)),
            torch.from_numpy(both.data),
            both.shape,
            check_invariants=True,
        )


def _model_class() -> Any:
    try:
        with warnings.catch_warnings():
            # Its import calls a torch function that is deprecated.
            warnings.simplefilter("ignore", DeprecationWarning)
            from torch_geometric.nn import LightGCN as model_class
    except ImportError as error:
        raise MissingExtraError("torch_geometric", "graph", "Fitting the policy 'lightgcn'") from error
    return model_class
