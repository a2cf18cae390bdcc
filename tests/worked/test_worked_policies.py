"""Recommenders on catalogues so small that every score is worked out on paper from the published formula."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

from benchmarks.sequential import gains
from recsim_llm.data.dataset import Catalogue, Ratings
from recsim_llm.errors import ConfigError
from recsim_llm.experiments.training.offline_log import d3rlpy_arrays, joined
from recsim_llm.policies.classic.bm25 import BM25
from recsim_llm.policies.classic.ease import EASE
from recsim_llm.policies.classic.item_knn import ItemKNN
from recsim_llm.policies.classic.popularity import LivePopularity, Popularity
from recsim_llm.policies.classic.random import RandomPolicy
from recsim_llm.policies.feedback import Feedback
from recsim_llm.policies.ranking import best_items
from recsim_llm.policies.rl.offline.offline_data import log_episodes
from recsim_llm.types import EMPTY, Completion, Item, Observation, Prompt


def catalogue(*titles: str) -> Catalogue:
    return Catalogue(
        tuple(Item(i, title) for i, title in enumerate(titles)), tuple(f"raw{i}" for i in range(len(titles)))
    )


def log_of(rated: list[list[int]], num_items: int, stars: float = 5.0) -> Ratings:
    """A log in which each person rated these items, in this order."""
    users = np.repeat(np.arange(len(rated)), [len(items) for items in rated])
    items = np.array([item for one in rated for item in one], dtype=np.int64)
    return Ratings(users, items, np.full(len(items), stars, np.float32), np.arange(len(items)), len(rated), num_items)


def seen(user: int, history: list[tuple[int, float]] | None = None, page: int = 0) -> Observation:
    """One person, with (item, stars) from old to new; 0 stars: shown and not watched."""
    entries = history or []
    items, stars = np.full((1, 6), EMPTY, dtype=np.int64), np.zeros((1, 6), dtype=np.float32)
    for place, (item, given) in enumerate(reversed(entries), start=1):
        items[0, -place], stars[0, -place] = item, given
    return {
        "user": np.array([[user]]), "page": np.array([[page]]), "history_items": items, "history_ratings": stars,
        "history_mask": (items != EMPTY).astype(np.int8),
    }  # fmt: skip


def row(*values: float) -> sp.csr_array:
    return sp.csr_array(np.array([values], dtype=np.float32))


def test_the_best_items_with_ties_and_exclusion() -> None:
    scores = np.array([[1.0, 3, 3, 2, 3]])
    nobody, known = np.zeros((1, 5), dtype=np.bool_), np.array([[False, True, False, False, False]])
    assert best_items(scores, nobody, 2).tolist() == [[1, 2]]  # three are equal: lower ids first
    assert best_items(scores, nobody, 4).tolist() == [[1, 2, 4, 3]]
    assert best_items(scores, known, 3).tolist() == [[2, 4, 3]]
    assert best_items(scores, known, 5).tolist() == [[2, 4, 3, 0, 1]]  # what is known only fills the page
    assert best_items(scores, ~nobody, 2).tolist() == [[1, 2]]  # everything is known: by score again
    assert best_items(np.array([[-1.0, -5], [2, 9]]), np.zeros((2, 2), dtype=np.bool_), 1).tolist() == [[0], [1]]
    with pytest.raises(ConfigError, match="finite"):
        best_items(np.array([[np.nan, 1.0]]), np.zeros((1, 2), dtype=np.bool_), 1)


def test_what_was_rated_or_shown_is_not_shown_again() -> None:
    """Counts 3 2 1 1. Anna rated 0, was shown 2 and did not watch it: 1, then 3, then 0 (the more popular), then 2."""
    policy = Popularity.fit(log_of([[0], [0, 1], [0, 1, 2, 3]], 4), catalogue(*"abcd"), 4)
    assert policy.act(seen(0, [(2, 0.0)])).tolist() == [[1, 3, 0, 2]]
    assert policy.act(seen(7)).tolist() == [[0, 1, 2, 3]]  # a stranger


def test_ease_of_two_items() -> None:
    """Steck 2019. X'X = [[3, 2], [2, 2]], and 1 on the diagonal: P = [[3, -2], [-2, 4]] / 8.

    B01 = 2 / 4, B10 = 2 / 3: who has the first likes the second by a half, the other way round by two thirds.
    """
    policy = EASE.fit(log_of([[0, 1], [0], [0, 1]], 2), catalogue("a", "b"), 1, reg=1.0)
    assert policy.fitted["weights"] == pytest.approx(np.array([[0, 0.5], [2 / 3, 0]]))
    assert policy.scores(seen(1), row(1, 0)) == pytest.approx(np.array([[0, 0.5]]))
    assert policy.scores(seen(1), row(1, 1)) == pytest.approx(np.array([[2 / 3, 0.5]]))


def test_item_knn_of_three_items() -> None:
    """Counts 3 2 1; together 0-1 twice, 0-2 once, 1-2 never. Cosines 2 / sqrt 6 = .8165, 1 / sqrt 3 = .5774, 0.

    With shrinkage 10: 2 / (2.4495 + 10) = .1606. With one neighbour, item 0 keeps item 1 alone.
    """
    log, shelf = log_of([[0, 1], [0, 1], [0, 2]], 3), catalogue(*"abc")
    plain = ItemKNN.fit(log, shelf, 1, shrinkage=0.0).fitted["similarity"]
    assert plain == pytest.approx(np.array([[0, 0.816497, 0.577350], [0.816497, 0, 0], [0.577350, 0, 0]]), abs=1e-6)
    shrunk = ItemKNN.fit(log, shelf, 1).fitted["similarity"]
    assert shrunk[0, 1] == pytest.approx(0.160649, abs=1e-6)
    nearest = ItemKNN.fit(log, shelf, 1, shrinkage=0.0, neighbours=1)
    assert nearest.fitted["similarity"][:, 0] == pytest.approx([0, 0.816497, 0], abs=1e-6)
    assert nearest.scores(seen(0), row(0, 1, 1))[0] == pytest.approx([0.816497, 0, 0], abs=1e-6)


def test_als_solves_one_person() -> None:
    """Hu, Koren and Volinsky 2008, one factor: items 1 and 2, reg 1, weight 1 + 1 for what was taken (item 0).

    x = (2 x 1) / (2 x 1 + 1 x 4 + 1) = 2 / 7: scores 2/7 and 4/7.
    """
    pytest.importorskip("implicit")
    from recsim_llm.policies.classic.als import ALS

    fitted = {"item_factors": np.array([[1.0], [2.0]], np.float32), "reg": np.array(1.0), "alpha": np.array(1.0)}
    policy = ALS(1, 0, row(1, 0), fitted)
    assert policy.scores(seen(0), row(1, 0))[0] == pytest.approx([2 / 7, 4 / 7], abs=1e-6)
    # Weight 1 + 3: x = 4 / (4 + 4 + 1).
    heavy = ALS(1, 0, row(1, 0), {**fitted, "alpha": np.array(3.0)})
    assert heavy.scores(seen(0), row(1, 0))[0] == pytest.approx([4 / 9, 8 / 9], abs=1e-6)


def test_bpr_lifts_what_was_taken() -> None:
    """Rendle et al. 2009. Half of the people take 0 and 1, half 2 and 3, all of them 4.

    A step goes up for what a person took and down for what they did not: who has 0 is shown 1 before 2 and 3, who
    has 2 the other way round, and 4, never on the wrong side of a pair, has the largest bias.
    """
    pytest.importorskip("implicit")
    from recsim_llm.policies.classic.bpr import BPR

    log = log_of([[0, 1, 4], [2, 3, 4]] * 10, 5)
    learned = BPR.fit(log, catalogue(*"abcde"), 1, embedding_size=4, epochs=200, reg=0.0, learning_rate=0.1)
    first, third = (learned.scores(seen(0), row(*np.eye(5)[item]))[0] for item in (0, 2))
    assert first[1] > max(first[2], first[3])
    assert third[3] > max(third[0], third[1])
    assert learned.fitted["bias"].argmax() == 4
    # The score: mean vector of what was taken times an item's vector, plus its bias. (1 + 3) / 2 x 2 + .5.
    fitted = {"item_factors": np.array([[1.0], [3.0], [2.0]], np.float32), "bias": np.array([0, 0, 0.5], np.float32)}
    policy = BPR(1, 0, row(1, 1, 0), fitted)
    assert policy.scores(seen(0), row(1, 1, 0))[0] == pytest.approx([2.0, 6.0, 4.5])


def test_bm25_of_three_titles() -> None:
    """Lucene's BM25, k1 1.5, b .75. Titles "wolf", "wolf bear", "deer": mean length 4/3, "wolf" in two of three.

    idf = ln(1 + 1.5 / 2.5) = .4700; of one word 1 / (1 + 1.5 (.25 + .75 x .75)) = .4507, of two
    1 / (1 + 1.5 (.25 + .75 x 1.5)) = .3265: .2118 and .1535. Asked twice, a word counts twice.
    """
    pytest.importorskip("bm25s")
    policy = BM25.fit(log_of([[0], [1]], 3), catalogue("wolf", "wolf bear", "deer"), 1)
    assert policy.scores(seen(0), row(1, 0, 0))[0] == pytest.approx([0.211833, 0.153471, 0.0], abs=1e-6)
    # Asking "wolf bear": bear is in one of three, ln(1 + 2.5 / 1.5) = .9808, x .3265 = .3203.
    assert policy.scores(seen(1), row(0, 1, 0))[0] == pytest.approx([0.211833, 0.473740, 0.0], abs=1e-5)
    twice = policy.scores(seen(0, [(1, 5.0)]), row(1, 1, 0))[0]
    assert twice == pytest.approx([2 * 0.211833, 0.153471 + 0.473740, 0.0], abs=1e-5)


def test_popularity_logged_and_live() -> None:
    """Log 2 1 0. One round: item 2 watched by two, item 1 shown and not watched, an empty slot: 2 1 2."""
    log, shelf = log_of([[0, 1], [0]], 3), catalogue(*"abc")
    logged, live = Popularity.fit(log, shelf, 1), LivePopularity.fit(log, shelf, 1, min_rating=2.0)
    pages = np.array([[2, 1], [2, EMPTY], [1, 0]])
    watched = np.array([[True, False], [True, True], [True, True]])
    ratings = np.array([[5.0, 0], [2, 5], [1, 1.9]])  # those below 2 stars are watched, and not liked
    figures = live.learn(Feedback(np.arange(3), pages, watched, ratings, np.zeros(3), np.zeros(3, dtype=np.bool_)))
    assert figures == {"watched": 2.0}
    assert live.scores(seen(9), row(0, 0, 0)).tolist() == [[2, 1, 2]]
    assert logged.scores(seen(9), row(0, 0, 0)).tolist() == [[2, 1, 0]]
    again = Feedback(
        np.arange(1), np.array([[2]]), np.array([[True]]), np.array([[3.0]]), np.zeros(1), np.zeros(1, bool)
    )
    live.learn(again)
    assert live.act(seen(9)).tolist() == [[2]]
    assert logged.act(seen(9)).tolist() == [[0]]


def test_random_is_uniform() -> None:
    """4,000 pages of one of four items: each a quarter, within four standard deviations; never what is known."""
    policy = RandomPolicy.fit(log_of([[0]], 5), catalogue(*"abcde"), 1)
    everybody: Observation = {name: np.repeat(part, 4000, axis=0) for name, part in seen(0, [(0, 1.0)]).items()}  # type: ignore
    everybody["user"] = np.arange(4000)[:, None] // 2
    everybody["page"] = np.arange(4000)[:, None] % 2
    pages = policy.act(everybody)[:, 0]
    shares = np.bincount(pages, minlength=5) / 4000
    assert shares[0] == 0.0
    assert shares[1:] == pytest.approx([0.25] * 4, abs=0.028)
    assert (pages[::2] == pages[1::2]).mean() == pytest.approx(0.25, abs=0.04)  # a person's next page is another draw
    pairs = {tuple(RandomPolicy.fit(log_of([[0]], 3), catalogue(*"abc"), 2, s).act(seen(0))[0]) for s in range(40)}
    assert pairs == {(1, 2), (2, 1)}


@pytest.mark.parametrize("name", ["sasrec", "gru4rec"])
def test_sequences_are_read_from_the_past_alone(name: str) -> None:
    """Another last item changes the last state and none before; another first item changes all."""
    torch = pytest.importorskip("torch")
    from recsim_llm.policies.sequential import sequence_nets

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        net = sequence_nets.SASRecNet(9, 8, 5, 2, 2, 0.0) if name == "sasrec" else sequence_nets.GRUNet(9, 8, 0.0)
    net.eval()
    with torch.no_grad():
        before, last, first = (net(torch.tensor([one])) for one in ([0, 1, 2, 3, 4], [0, 1, 2, 3, 9], [0, 9, 2, 3, 4]))
        changed = (before - last).abs().amax(dim=2)[0]
        assert changed[1:4].tolist() == [0.0] * 3
        assert changed[4] > 1e-4
        assert ((before - first).abs().amax(dim=2)[0, 1:] > 1e-7).all()
        shifted = net(torch.tensor([[0, 0, 1, 2, 3]]))  # more padding, the same person one item earlier
        if name == "gru4rec":
            assert (shifted[0, 2:] - before[0, 1:4]).abs().max() < 1e-6


def test_sequence_losses_of_two_items() -> None:
    """Cross-entropy over the catalogue: state 1, items 2 and 0, the second comes: ln(1 + e^2) = 2.1269.

    Binary (Kang and McAuley 2018, equation 6): wanted 0, other 2: ln 2 + ln(1 + e^2) = 2.8201.
    """
    torch = pytest.importorskip("torch")
    from recsim_llm.policies.sequential import sequence_nets

    class Constant(sequence_nets.SequenceNet):
        def forward(self, tokens: Any) -> Any:
            return torch.ones(*tokens.shape, 1)

    net = Constant(2, 1)
    with torch.no_grad():
        net.items.weight[:] = torch.tensor([[0.0], [2.0], [0.0]])
    tokens = torch.tensor([[0, 2, 2]])  # padding asks nothing
    assert sequence_nets._softmax_loss(net, tokens).item() == pytest.approx(2.126928, abs=1e-5)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        found = {round(sequence_nets._bce_loss(net, tokens).item(), 4) for _ in range(40)}
    # Of two items the only other one is drawn, but for the one time in sixteen that four draws all hit the wanted one.
    assert 2.8201 in found
    assert found <= {2.8201, 1.3863}


@pytest.fixture
def listwise() -> Any:
    pytest.importorskip("rapidfuzz")
    from recsim_llm.policies.grounding import Grounder
    from recsim_llm.policies.llmrank.llmrank_ways import Listwise

    shelf = catalogue("Alien", "Heat", "Fargo", "Brazil")
    return Listwise(lambda item: shelf[item].title, Grounder(shelf), 4)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("Heat\nAlien\nFargo", [1, 2, 3]),
        ("1. Heat\n2. Alien\n3. Fargo", [1, 2, 3]),
        ("C\nA\nB", [2, 1, 3]),  # the letters of what is shown as A: Fargo, B: Alien, C: Heat
        ("C. Heat\nA) Fargo", [2, 0, 3]),  # who is not named gets nothing
        ("Heat\nBrazil\nHeat\nFargo", [2, 0, 3]),  # Brazil is no candidate; a repeated title has its first place
        ("Zardoz\nAlien", [0, 3, 0]),  # an invented title takes no place
        ("D\nAlien", [0, 3, 0]),
        ("I cannot rank these films for you.", None),
    ],
)
def test_a_written_permutation(listwise: Any, answer: str, expected: list[int] | None) -> None:
    """Hou et al. 2024. Shown Fargo, Alien, Heat; the first of three has 3 points, the next 2, then 1."""
    from recsim_llm.policies.llmrank.llmrank_ways import Question

    question = Question("Rank.", (2, 0, 1))
    found = listwise.scores(question, Prompt("You rank films.", "", "Rank."), Completion(answer))
    assert (None if found is None else found.tolist()) == expected
    assert listwise.scores(question, Prompt("You rank films.", "", "Rank."), Completion("", refused="too long")) is None
    echo = Completion("You rank films.\nHeat")
    assert listwise.scores(question, Prompt("You rank films.", "", "Rank."), echo) is None


def test_the_meter_of_position(listwise: Any) -> None:
    """Spearman 1904: the order shown, 1; its reverse, -1; 1 3 2: 1 - 6 x 2 / (3 x 8) = .5."""
    found = [listwise.sensitivity(np.array(scores, dtype=float)) for scores in ([3, 2, 1], [1, 2, 3], [3, 1, 2])]
    assert found == pytest.approx([1.0, -1.0, 0.5])
    assert listwise.sensitivity(np.array([2.0, 2.0])) is None
    assert listwise.sensitivity(np.array([2.0])) is None


def test_a_log_as_episodes() -> None:
    """Anna rated 4 (5 stars) and then 1: before it nothing, then one item; what follows the last step ends it."""
    log = log_of([[4, 1], [2]], 6)
    episodes = log_episodes(log, 2)
    assert episodes.lengths.tolist() == [2, 1]
    assert episodes.actions.tolist() == [4, 1, 2]
    assert episodes.terminated.tolist() == [False, True, True]
    assert not episodes.truncated.any()
    assert episodes.rows.tolist() == [
        [0, EMPTY, EMPTY, 0, 0], [1, EMPTY, 4, 0, 5], [2, 4, 1, 5, 5],
        [0, EMPTY, EMPTY, 0, 0], [1, EMPTY, 2, 0, 5],
    ]  # fmt: skip
    assert episodes.before.tolist() == [0, 1, 3]
    arrays = d3rlpy_arrays(episodes)
    assert arrays["observations"].tolist() == episodes.rows[[0, 1, 3]].tolist()
    assert arrays["actions"].tolist() == [[4], [1], [2]]
    assert arrays["terminals"].tolist() == [0, 1, 1]
    assert arrays["timeouts"].tolist() == [0, 0, 0]
    twice = joined([episodes, episodes])
    assert twice.before.tolist() == [0, 1, 3, 5, 6, 8]
    assert twice.rewards.tolist() == [5.0] * 6


def test_hit_rate_and_ndcg_of_the_next_item() -> None:
    """He et al. 2017: the right item in the first, second and fourth place and not at all: 1, .6309, .4307, 0."""
    ndcg, hit = gains(np.array([[7, 1, 2, 3], [1, 7, 2, 3], [1, 2, 3, 7], [1, 2, 3, 4]]), np.full(4, 7))
    assert ndcg == pytest.approx([1.0, 0.630930, 0.430677, 0.0], abs=1e-6)
    assert hit.tolist() == [1, 1, 1, 0]
