"""GRU4Rec: NumPy serves what torch trained, and order decides."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from worlds import make_catalogue, make_log, make_observation

from recsim_llm.errors import ConfigError
from recsim_llm.policies import POLICIES
from recsim_llm.policies.sequential.gru4rec import GRU4Rec, last_states
from recsim_llm.testing.policy_contract import PolicyContract

torch = pytest.importorskip("torch")

from recsim_llm.policies.sequential import sequence_nets  # noqa: E402 - needs torch

SMALL = {"embedding_size": 8, "length": 6, "epochs": 3}
ITEMS = 12


@pytest.fixture(autouse=True)
def _registered(monkeypatch):
    monkeypatch.setitem(POLICIES, "gru4rec", GRU4Rec)


class TestGRU4Rec(PolicyContract):
    name = "gru4rec"
    options = SMALL


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_numpy_serves_what_torch_trained_whoever_else_is_served(seed):
    rng = np.random.default_rng(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = sequence_nets.GRUNet(ITEMS, 8, 0.3).eval()
    items = rng.integers(0, ITEMS, (9, 7))
    for row in items:
        row[: rng.integers(0, 7)] = -1
    weights = {name: value.numpy() for name, value in net.state_dict().items()}
    with torch.no_grad():
        expected = net(torch.from_numpy(items + 1))[:, -1].numpy()
    together = last_states(weights, items)
    np.testing.assert_allclose(together, expected, atol=1e-5)
    for row in range(9):
        np.testing.assert_array_equal(last_states(weights, items[row : row + 1])[0], together[row])


def test_every_place_of_a_padded_piece_has_the_state_of_the_unpadded_one():
    net = sequence_nets.GRUNet(ITEMS, 8, 0.0).eval()
    with torch.no_grad():
        padded = net(torch.tensor([[0, 0, 0, 3, 5, 2]]))[0, 3:]
        torch.testing.assert_close(padded, net(torch.tensor([[3, 5, 2]]))[0])


def test_the_next_item_is_learned_and_order_decides():
    starts = np.random.default_rng(0).integers(0, ITEMS, 30).tolist()
    pairs = [(u, (start + step) % ITEMS, 5.0) for u, start in enumerate(starts) for step in range(7)]
    options = SMALL | {"epochs": 80, "learning_rate": 0.02, "dropout": 0.0}
    policy = GRU4Rec.fit(make_log(pairs, 30, ITEMS), make_catalogue(ITEMS), 1, **options)
    histories = [[(i, 5.0), ((i + 1) % ITEMS, 5.0)] for i in range(ITEMS)]
    pages = policy.act(make_observation([100] * ITEMS, histories))
    assert (pages[:, 0] == (np.arange(ITEMS) + 2) % ITEMS).mean() > 0.9
    there, back = policy.act(make_observation([100, 100], [[(3, 5.0), (8, 5.0)], [(8, 5.0), (3, 5.0)]]))
    assert (there[0], back[0]) == (9, 4)


def test_values_that_cannot_work_are_refused():
    for option in ({"embedding_size": 0}, {"loss": "hinge"}, {"dropout": 1.5}):
        with pytest.raises(ConfigError, match=next(iter(option))):
            GRU4Rec.fit(make_log([], 2, ITEMS), make_catalogue(ITEMS), 1, **option)
