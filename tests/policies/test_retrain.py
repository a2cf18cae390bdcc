"""Policies that are fitted again while a run goes on: what they learn from, when, and what stays as it was."""

from __future__ import annotations

import numpy as np
import pytest

from recsim_llm.errors import ConfigError, RecordingError
from recsim_llm.policies import check_policy, load_policy, make_policy, open_policy
from recsim_llm.policies.feedback import Feedback, Learner
from recsim_llm.policies.policy_files import read_file, write_file
from recsim_llm.policies.retrain import Retrain
from recsim_llm.testing.policy_contract import ITEMS, USERS, PolicyContract, catalogue, observe, two_tastes_log

X = 59
EVERYBODY = np.arange(USERS)


class TestRetrain(PolicyContract):
    name = "retrain"


class TestRetrainOfALS(PolicyContract):
    name = "retrain"
    options = {"of": "als", "reg": 1.0, "embedding_size": 8}


def opened(text: str) -> Retrain:
    policy = open_policy(text, two_tastes_log(), catalogue(), 5)
    assert isinstance(policy, Retrain)
    return policy


def liked(item: int, stars: float = 5.0, users=EVERYBODY) -> Feedback:
    """Everybody was shown this item alone, watched it and gave it so many stars."""
    pages = np.full((len(users), 1), item)
    return Feedback(users, pages, pages >= 0, np.full(pages.shape, stars), np.ones(len(users)), users >= 0)


# People who know nothing of X and have a taste: strangers with a history of three items of the second half.
HISTORY = np.array([[40, 45, 50]] * 3)


def ranks_for_strangers(policy, item):
    policy.page_size = ITEMS
    strangers = USERS + np.arange(3)
    return np.argmax(policy.act(observe(strangers, HISTORY, np.full_like(HISTORY, 5))) == item, axis=1)


@pytest.mark.parametrize(
    "inner",
    ["popularity", "ease?reg=10", "item-knn", "als?reg=1&embedding_size=8", "bpr?epochs=20&embedding_size=8"],
)
def test_what_everybody_likes_rises_after_one_refit(inner):
    policy = opened(f"retrain?of={inner}")
    before = ranks_for_strangers(policy, X)
    assert policy.learn(liked(X)) == {"watched": USERS, "refitted": 1.0}
    assert (ranks_for_strangers(policy, X) < before).all()
    assert isinstance(policy, Learner)
    assert policy.counts()["refits"] == 1
    assert policy.counts()["seconds_per_refit"] > 0


@pytest.mark.parametrize("text", ["retrain?of=ease&every=0", "retrain?of=ease?reg=3", "retrain?of=random"])
def test_without_refits_pages_are_those_of_the_plain_policy(text):
    """every=0 whatever is watched; no feedback; and a policy that a log cannot teach."""
    policy = opened(text)
    inner = {"random": "random"}.get(text.partition("of=")[2], "ease?reg=3" if "reg" in text else "ease")
    plain = open_policy(inner, two_tastes_log(), catalogue(), 5)
    policy.learn(liked(X, users=EVERYBODY if "every" in text else EVERYBODY[:0]))
    shown = np.tile([[X, 3]], (USERS, 1))
    for seen in ((), (shown, np.full_like(shown, 4))):
        np.testing.assert_array_equal(policy.act(observe(EVERYBODY, *seen)), plain.act(observe(EVERYBODY, *seen)))


def test_a_refit_is_a_fit_of_the_longer_log():
    """Worked: the same pages as of a policy fitted to the log with 40 rows more."""
    policy, log = opened("retrain?of=ease?reg=10"), two_tastes_log()
    policy.learn(liked(X))
    whole = {(u, i): s for u, i, s in zip(log.users.tolist(), log.items.tolist(), log.values.tolist(), strict=True)}
    whole |= {(u, X): 5.0 for u in range(USERS)}
    assert len(policy.log) == len(whole)
    assert {(u, i): s for u, i, s in zip(policy.log.users, policy.log.items, policy.log.values, strict=True)} == whole
    again = make_policy("ease", policy.log, catalogue(), 5, reg=10)
    np.testing.assert_array_equal(policy.act(observe(EVERYBODY)), again.act(observe(EVERYBODY)))


def test_every_says_how_often():
    policy = opened("retrain?of=popularity&every=3")
    fitted = [policy.learn(liked(item))["refitted"] for item in (50, 51, 52, 53, 54, 55, 56)]
    assert fitted == [0, 0, 1, 0, 0, 1, 0]
    assert policy.inner.popularity[55] == USERS
    assert policy.inner.popularity[56] < USERS


def test_only_liked_leaves_out_what_displeased():
    """Worked: stars 1 to 5 have their middle at 3, and 3 is not above it."""
    policy = opened("retrain?of=popularity&only=liked")
    assert policy.middle == 3.0
    assert [policy.learn(liked(X, stars))["watched"] for stars in (1.0, 3.0, 3.5)] == [0, 0, USERS]


def test_the_order_of_users_and_empty_slots_mean_nothing_and_pages_keep_their_order():
    users = np.array([4, 7, 4])  # two pages of user 4
    pages, watched = np.array([[50, -1], [51, 52], [53, 54]]), np.array([[True, True], [False, True], [True, False]])
    stars = np.where(watched, 4.0, 0.0)
    batch = Feedback(users, pages, watched, stars, np.ones(3), users > 9)
    policies = [opened("retrain?of=popularity") for _ in range(2)]
    policies[0].learn(batch)
    order = np.array([0, 2, 1])
    policies[1].learn(Feedback(*(getattr(batch, name)[order] for name in Feedback.__dataclass_fields__)))
    one, other = (policy.log for policy in policies)
    for name in ("users", "items", "values", "times"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    of_4 = one.take(one.users == 4)
    assert of_4.items[-2:].tolist() == [50, 53]
    assert of_4.times[-2] < of_4.times[-1]


def test_a_later_rating_replaces_an_earlier_one():
    policy = opened("retrain?of=popularity")
    policy.learn(liked(X, 5.0))
    size = len(policy.log)
    policy.learn(liked(X, 2.0))
    assert len(policy.log) == size
    assert set(policy.log.values[policy.log.items == X]) == {2.0}


@pytest.mark.parametrize("inner", ["als?reg=1", "bpr"])
def test_a_warm_start_goes_on_where_the_last_fit_ended(inner):
    """One epoch from there stays nearer to it than one epoch from anew comes."""
    policy = opened(f"retrain?of={inner}&warm=1&embedding_size=8")
    before = policy.inner.fitted["item_factors"].copy()
    policy.learn(liked(X, users=EVERYBODY[:2]))
    sep = "&" if "?" in inner else "?"
    fresh = open_policy(f"{inner}{sep}embedding_size=8&epochs=1", policy.log, catalogue(), 5)
    moved = np.linalg.norm(policy.inner.fitted["item_factors"] - before)
    assert 0 < moved < np.linalg.norm(fresh.fitted["item_factors"] - before) / 2


def test_networks_go_on_too():
    pytest.importorskip("torch")
    policy = opened("retrain?of=sasrec&warm=1&embedding_size=8&epochs=2")
    before = policy.inner.fitted["items.weight"].copy()
    policy.learn(liked(X))
    moved = np.abs(policy.inner.fitted["items.weight"] - before)
    assert 0 < moved.max() < 0.1


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("retrain?of=oracle", "popularity, live-popularity"),
        ("retrain?of=embeddings", "can be fitted again"),
        ("retrain?of=dqn", "can be fitted again"),
        ("retrain?of=retrain", "can be fitted again"),
        ("retrain?of=llmrank", "can be fitted again"),
        ("retrain?of=eas", "ease"),
        ("retrain?of=mine.npz", "file"),
        ("retrain?of=ease&every=-1", "every"),
        ("retrain?of=ease&only=shown", "only"),
        ("retrain?of=ease&warm=1", "als"),
        ("retrain?of=ease?reg=3&reg=4", "twice"),
        ("retrain?of=ease&regg=4", "regg"),
        ("retrain?of=ease&reg=-4", "reg"),
        ("retrain?of=3", "of"),
    ],
)
def test_what_cannot_work_is_refused_before_a_fit(text, match):
    with pytest.raises(ConfigError, match=match):
        check_policy(text)


def test_what_was_learned_is_saved(tmp_path):
    """A file of the middle of a run goes on like the policy itself."""
    policy = opened("retrain?of=ease?reg=10&every=2")
    policy.learn(liked(X))
    policy.save(tmp_path / "p.npz")
    loaded = load_policy(tmp_path / "p.npz", catalogue())
    for one in (policy, loaded):
        assert one.learn(liked(X - 1))["refitted"] == 1
    np.testing.assert_array_equal(loaded.act(observe(EVERYBODY)), policy.act(observe(EVERYBODY)))
    without = load_policy(tmp_path / "p.npz")
    with pytest.raises(ConfigError, match="catalogue"):
        without.learn(liked(X - 1))


def test_a_file_that_names_another_policy_inside_is_refused(tmp_path):
    """An archive must not make the reader build what cannot be fitted, itself among them."""
    opened("retrain?of=ease").save(tmp_path / "p.npz")
    data = read_file(tmp_path / "p.npz")
    known = {name.removeprefix("known_"): value for name, value in data.items() if name.startswith("known_")}
    fitted = {name.removeprefix("fitted_"): value for name, value in data.items() if name.startswith("fitted_")}
    for plan in (str(fitted["plan"]).replace("ease", "retrain"), "[]", "{", '{"own": {"no": 1}, "inner": {}}'):
        meta = {"policy": "retrain", "page_size": 5, "seed": 0}
        write_file(tmp_path / "bad.npz", meta, known, {**fitted, "plan": np.array(plan)})
        with pytest.raises(RecordingError, match="damaged"):
            load_policy(tmp_path / "bad.npz", catalogue())


def test_people_whom_the_log_does_not_know_are_learned_from():
    policy = opened("retrain?of=ease?reg=10")
    stranger = np.array([USERS + 2])
    policy.learn(liked(X, users=stranger))
    assert X not in policy.act(observe(stranger))[0]
    assert policy.known.shape == (USERS + 3, ITEMS)
