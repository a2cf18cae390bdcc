"""SQN where the answer is known: a planted order of items is found, none is not, and training ends by itself."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("tianshou")

from recsim_llm.data.dataset import Catalogue, Ratings  # noqa: E402
from recsim_llm.errors import UnconvergedWarning  # noqa: E402
from recsim_llm.policies import make_policy  # noqa: E402
from recsim_llm.policies.rl.item_vectors import item_start  # noqa: E402
from recsim_llm.policies.rl.offline.offline_data import log_episodes  # noqa: E402
from recsim_llm.policies.rl.offline.offline_training import _held_out, fit_network  # noqa: E402
from recsim_llm.policies.rl.settings import SQNSettings  # noqa: E402
from recsim_llm.testing.policy_contract import observe  # noqa: E402
from recsim_llm.types import Item  # noqa: E402

pytestmark = pytest.mark.usefixtures("uncompiled")

FILMS = Catalogue(tuple(Item(i, f"film {i}") for i in range(24)), tuple(map(str, range(24))))


def planted(shuffled: bool, people: int = 120, items: int = 24, length: int = 9) -> Ratings:
    """A log in which item i is always followed by i + 7, modulo the number of items; or each log in an order by lot.

    Everybody begins somewhere else. Shuffled, every person's items are renamed by lot too: nothing follows anything.
    """
    rng = np.random.default_rng(3)
    rows = (rng.integers(0, items, people)[:, None] + 7 * np.arange(length)) % items
    if shuffled:
        rows = np.array([rng.permutation(items)[:length] for _ in range(people)])
    stars = rng.integers(1, 6, people * length).astype(np.float32)
    users = np.repeat(np.arange(people), length)
    return Ratings(users, rows.ravel(), stars, np.tile(np.arange(length), people), people, items)


@pytest.mark.parametrize("shuffled", [False, True])
def test_the_supervised_head_finds_what_follows_where_something_does(shuffled: bool) -> None:
    """Known answer: with a planted pattern nearly all next items of strangers are found, with none a few by chance."""
    options = {"pretrained": False, "learning_rate": 0.01, "check_every": 25, "patience": 2}
    with pytest.warns(UnconvergedWarning, match="the network as it began") if shuffled else nullcontext():
        policy: Any = make_policy("sqn", planted(shuffled), FILMS, 1, **options)
    assert policy.trained.head == "supervised"
    starts = np.arange(24)
    history = (starts[:, None] + 7 * np.arange(4)) % 24
    observation = observe(200 + starts, history, np.full_like(history, 4))
    observation["page"][:] = 4
    found = float((policy.act(observation)[:, 0] == (starts + 28) % 24).mean())
    best = policy.fitted["held_out_loss"][:, 1].min()
    # By chance: 1 of 20 items that are not in the history; ln 24 nats for the first item, ln 16 for the last.
    assert (found > 0.9 and best < 1.0) if not shuffled else (found < 0.3 and best > 2.5)


@pytest.mark.filterwarnings("ignore::recsim_llm.errors.UnconvergedWarning")
def test_sqn_ends_when_the_loss_of_people_apart_rises_and_keeps_the_best() -> None:
    """On noise the loss of people apart soon rises: training ends there, far from its ceiling."""
    log = planted(shuffled=True)
    start = item_start(log, FILMS, 8, 0, False)
    settings = SQNSettings(embedding_size=8, check_every=20, patience=3, learning_rate=0.02, updates=2_000)
    episodes = log_episodes(log, 10)
    fitted = fit_network("sqn", start, settings, episodes, 5)
    updates, losses = fitted["held_out_loss"].T
    assert updates[-1] < 2_000
    assert len(losses) - 1 - losses.argmin() == 3
    again = fit_network("sqn", start, replace(settings, updates=int(max(updates[losses.argmin()], 1))), episodes, 5)
    assert all((fitted[name] == again[name]).all() for name in fitted if name.startswith("net."))
    apart = _held_out(episodes, 0.1, 5)
    assert apart.sum() == 12
    with pytest.warns(UnconvergedWarning, match="all of its 20 updates"):
        fit_network("sqn", start, replace(settings, updates=20), episodes, 5)


def test_people_apart_are_some_and_never_all() -> None:
    for people, share, apart in ((1, 0.5, 0), (2, 0.01, 1), (2, 0.99, 1), (100, 0.1, 10)):
        log = log_episodes(planted(True, people), 4)
        assert _held_out(log, share, 0).sum() == apart
    # A person with two sessions is apart with both.
    twice = replace(log_episodes(planted(True, 40), 4), users=np.repeat(np.arange(20), 2))
    chosen = _held_out(twice, 0.2, 0)
    assert (chosen[::2] == chosen[1::2]).all()
    assert chosen.sum() == 8
