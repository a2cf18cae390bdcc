"""SASRec and its sequences: NumPy serves what torch trained; order decides; loss and windows equal slow references."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from worlds import make_catalogue, make_log, make_observation

from recsim_llm.errors import ConfigError, MissingExtraError
from recsim_llm.policies import POLICIES
from recsim_llm.policies.sequential.sasrec import SASRec, last_states
from recsim_llm.policies.sequential.sequences import logged_sequences, recent_items, split_sequences, windows
from recsim_llm.testing.policy_contract import PolicyContract

torch = pytest.importorskip("torch")

from recsim_llm.policies.sequential import sequence_nets  # noqa: E402 - needs torch

SMALL = {"embedding_size": 8, "length": 6, "blocks": 1, "epochs": 3}
ITEMS = 12


@pytest.fixture(autouse=True)
def _registered(monkeypatch):
    monkeypatch.setitem(POLICIES, "sasrec", SASRec)


class TestSASRec(PolicyContract):
    name = "sasrec"
    options = SMALL


class TestSASRecOfThePaper(PolicyContract):
    name = "sasrec"
    options = SMALL | {"loss": "bce", "heads": 2}


def cycle(users=30, seed=0):
    """People who walk around a circle of items, from anywhere: the next item is the last one plus 1."""
    starts = np.random.default_rng(seed).integers(0, ITEMS, users).tolist()
    return make_log(
        [(u, (start + step) % ITEMS, 5.0) for u, start in enumerate(starts) for step in range(7)], users, ITEMS
    )


def fit(log=None, **options):
    return SASRec.fit(log or cycle(), make_catalogue(ITEMS), 1, **{**SMALL, **options})


@pytest.mark.parametrize("options", [{}, {"loss": "bce", "epochs": 200}])
def test_the_next_item_is_learned(options):
    policy = fit(**{"epochs": 60, "learning_rate": 0.01, "dropout": 0.0} | options)
    histories = [[(i, 5.0), ((i + 1) % ITEMS, 5.0)] for i in range(ITEMS)]
    pages = policy.act(make_observation([100] * ITEMS, histories))
    assert (pages[:, 0] == (np.arange(ITEMS) + 2) % ITEMS).mean() > 0.9


def test_order_decides():
    policy = fit(epochs=60, learning_rate=0.01, dropout=0.0)
    there, back = policy.act(make_observation([100, 100], [[(3, 5.0), (8, 5.0)], [(8, 5.0), (3, 5.0)]]))
    assert (there[0], back[0]) == (9, 4)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 3), st.sampled_from([1, 2, 4]))
def test_numpy_serves_what_torch_trained(seed, blocks, heads):
    rng = np.random.default_rng(seed)
    net, items = some_net(seed, blocks, heads), some_items(rng)
    with torch.no_grad():
        expected = net(torch.from_numpy(items + 1))[:, -1].numpy()
    np.testing.assert_allclose(last_states(arrays(net, heads), items), expected, atol=2e-5)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([8, 24, 64]))
def test_a_state_does_not_depend_on_the_others_to_the_last_bit(seed, size):
    rng = np.random.default_rng(seed)
    weights, items = arrays(some_net(seed, 2, 2, size), 2), some_items(rng)
    together = last_states(weights, items)
    some = rng.permutation(len(items))[: rng.integers(1, len(items) + 1)]
    np.testing.assert_array_equal(last_states(weights, items[some]), together[some])


def test_the_future_is_not_seen():
    net, items = some_net(1, 2, 1), torch.arange(1, 9)[None]
    changed = items.clone()
    changed[0, 5:] = 1
    with torch.no_grad():
        torch.testing.assert_close(net(items)[:, :5], net(changed)[:, :5])
        assert not torch.allclose(net(items)[:, 5], net(changed)[:, 5])


def test_the_softmax_loss_equals_a_slow_reference():
    net = some_net(3, 1, 1)
    tokens = torch.tensor([[0, 0, 0, 2, 5, 7], [1, 2, 3, 4, 5, 6]])
    with torch.no_grad():
        states, vectors = net(tokens[:, :-1]), net.items.weight[1:]
        terms = [
            -torch.log_softmax(vectors @ states[row, place], 0)[tokens[row, place + 1] - 1]
            for row in range(2)
            for place in range(5)
            if tokens[row, place] > 0
        ]
        assert len(terms) == 7
        torch.testing.assert_close(sequence_nets._softmax_loss(net, tokens), torch.stack(terms).mean())


def some_net(seed, blocks, heads, size=8):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = sequence_nets.SASRecNet(ITEMS, size, 8, blocks, heads, 0.3).eval()
        for weight in net.parameters():  # also those that begin as 0 or 1
            weight.data += 0.3 * torch.randn_like(weight)
    return net


def arrays(net, heads):
    return {name: value.numpy() for name, value in net.state_dict().items()} | {"heads": np.array(heads)}


def some_items(rng):
    items = rng.integers(0, ITEMS, (9, 8))
    for row in items:
        row[: rng.integers(0, 9)] = -1
    return items


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 15), max_size=5), st.integers(1, 6))
def test_windows_ask_for_every_item_but_the_first_once(lengths, length):
    sequences = [np.arange(100 * u, 100 * u + n) for u, n in enumerate(lengths)]
    pieces = windows(sequences, length + 1)
    asked = [(int(a), int(b)) for row in pieces for a, b in zip(row, row[1:], strict=False) if a >= 0]
    assert sorted(asked) == [(int(a), int(a) + 1) for s in sequences for a in s[:-1]]
    assert pieces.shape[1] == length + 1


def test_logged_sequences_are_sorted_by_time_whatever_the_order_of_rows():
    log = make_log([(1, 4, 5.0), (0, 3, 5.0), (1, 2, 1.0), (1, 9, 5.0)], 3, ITEMS)
    for rows in (np.arange(4), np.arange(4)[::-1]):
        assert [s.tolist() for s in split_sequences(logged_sequences(log.take(rows)))] == [[3], [4, 2, 9], []]


@pytest.mark.parametrize(
    ("history", "length", "expected"),
    [
        ([], 4, [-1, 4, 2, 9]),
        ([(2, 5.0), (9, 5.0), (7, 5.0)], 5, [-1, 4, 2, 9, 7]),  # begins with logged ratings: not twice
        ([(7, 0.0), (5, 2.0), (8, 4.0)], 4, [4, 2, 9, 8]),  # not watched; not liked
        ([(7, 4.0), (8, 4.0), (1, 4.0)], 2, [8, 1]),
        ([(4, 4.0)], 3, [2, 9, 4]),  # watched again: it is the latest
    ],
)
def test_the_history_follows_the_log(history, length, expected):
    sequences = logged_sequences(make_log([(1, 4, 5.0), (1, 2, 5.0), (1, 9, 5.0)], 3, ITEMS))
    assert recent_items(make_observation([1], [history]), sequences, length, 3.0)[0].tolist() == expected


def test_what_was_not_liked_is_not_read():
    log = make_log([(0, 3, 5.0), (0, 8, 1.0)], 1, ITEMS)
    assert fit(log, min_rating=3.0).fitted["sequence_items"].tolist() == [3]
    assert fit(log).fitted["sequence_items"].tolist() == [3, 8]


def test_a_saved_policy_acts_without_torch(monkeypatch, tmp_path):
    policy, observation = fit(), make_observation([0, 90], [[], [(4, 5.0)]])
    policy.save(tmp_path / "policy.npz")
    pages = policy.act(observation)
    monkeypatch.setitem(sys.modules, "torch", None)
    np.testing.assert_array_equal(SASRec.load(tmp_path / "policy.npz").act(observation), pages)
    with pytest.raises(MissingExtraError, match="sequential"):
        fit()


def test_torchs_own_luck_is_left_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    fit()
    torch.testing.assert_close(torch.rand(3), expected)


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ({"embedding_size": 0}, "embedding_size"),
        ({"embedding_size": 9, "heads": 2}, "multiple of heads"),
        ({"length": 0}, "length"),
        ({"blocks": 0}, "blocks"),
        ({"dropout": 1.0}, "dropout"),
        ({"learning_rate": 0}, "learning_rate"),
        ({"batch_size": 0}, "batch_size"),
        ({"epochs": 0}, "epochs"),
        ({"loss": "hinge"}, "loss must be one of softmax, bce, not 'hinge'"),
    ],
)
def test_values_that_cannot_work_are_refused(option, words):
    with pytest.raises(ConfigError, match=words):
        fit(**option)
