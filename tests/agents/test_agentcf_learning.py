"""AgentCF learns: whatever the order of users, wherever it was interrupted, however badly the model behaves."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from recsim_llm.agents.llm.agentcf.agentcf_learning import (
    LearnCounts,
    LearnOptions,
    learn_agentcf,
    learn_step,
    learning,
)
from recsim_llm.agents.llm.agentcf.agentcf_memories import STATE_FILE, AgentCFMemories
from recsim_llm.agents.llm.agentcf.agentcf_texts import LABELS
from recsim_llm.agents.llm.agentcf.agentcf_trials import Trial, plan_trials
from recsim_llm.data import Catalogue, load_dataset
from recsim_llm.data.dataset import Ratings
from recsim_llm.errors import ConfigError, DataError, LLMError, RecordingError
from recsim_llm.testing.scripted import FunctionLLM, MisbehavingLLM, hash_choice_llm
from recsim_llm.types import Item

USERS = [3, 1, 8, 5, 0, 7, 2, 9]
LEARN = LearnOptions(positives=3)


def world():
    data = load_dataset("synthetic")
    return data, data.ratings


def cds(*titles):
    items = tuple(Item(i, title, genres=("Jazz", "Bebop") if i % 2 else ()) for i, title in enumerate(titles))
    return Catalogue(items, tuple(f"raw{i}" for i in range(len(titles)))).vouch()


def content(memories):
    return json.dumps(memories.content(), sort_keys=True)


def writing(choice=None, rewrite="My text."):
    """Picks the item whose prompt line holds `choice` (the first, where None); writes `rewrite`."""

    def answer(prompt):
        if prompt.choices:
            second = choice is not None and choice in prompt.question.split("\nB: ")[1].splitlines()[0]
            return LABELS[int(second)]
        return rewrite(prompt) if callable(rewrite) else rewrite

    return FunctionLLM(answer)


def test_the_order_of_users_does_not_matter():
    data, log = world()
    one = learn_agentcf(hash_choice_llm(), data, log, USERS, 4, options=LEARN)
    two = learn_agentcf(hash_choice_llm(), data, log, sorted(USERS), 4, options=LEARN)
    assert content(one) == content(two)
    assert one.learned_users == sorted(USERS)


def test_the_order_of_trials_does_not_matter_even_where_all_rewrite_one_item():
    trials = [Trial(user, 0, 1 + user % 2) for user in range(6)]
    results = []
    for order in (trials, trials[::-1], trials[3:] + trials[:3]):
        memories = AgentCFMemories(cds("Blue", "Red", "Green"))
        learn_step(hash_choice_llm(7), memories, order, 0, LearnOptions(update="both"), LearnCounts())
        results.append(content(memories))
    assert len(set(results)) == 1


def test_users_who_rewrite_one_item_see_each_others_text_in_the_order_of_ids():
    memories = AgentCFMemories(cds("Blue", "Red"))
    texts = iter(["first", "second", "third", "fourth", "fifth", "sixth"])
    seen = []

    def rewrite(prompt):
        if "The description of" not in prompt.context:
            return "I like Blue."
        seen.append(prompt.context.splitlines()[-1])
        return next(texts)

    learn_step(writing("Blue", rewrite), memories, [Trial(u, 0, 1) for u in (2, 0, 1)], 0, LEARN, LearnCounts())
    assert seen == [memories.start_item(0), "first", "second", "third", "fourth", "fifth"]
    assert memories.item(0) == "sixth"


def test_an_items_memory_is_shared_by_all_users():
    memories = AgentCFMemories(cds("Blue", "Red"))
    learn_step(writing("Blue", "Cool jazz."), memories, [Trial(0, 0, 1)], 0, LEARN, LearnCounts())
    asked = []

    def listen(prompt):
        asked.append(prompt.question)
        return LABELS[0] if prompt.choices else "Text."

    learn_step(FunctionLLM(listen), memories, [Trial(5, 1, 0)], 0, LEARN, LearnCounts())
    assert "Blue: Cool jazz." in asked[0]


@pytest.mark.parametrize("update", ["positive", "both"])
def test_which_items_are_rewritten(update):
    memories = AgentCFMemories(cds("Blue", "Red"))
    options = LearnOptions(update=update)
    learn_step(writing("Blue"), memories, [Trial(0, 0, 1)], 0, options, LearnCounts())
    assert memories.learned_items == ([0] if update == "positive" else [0, 1])


def test_a_second_round_asks_everybody_and_confirms_the_item_of_who_is_right():
    """The released code: two choices each; a second right one rewrites the item alone, a second wrong one both."""
    right, wrong = LearnCounts(), LearnCounts()
    trial = [Trial(0, 0, 1)]
    memories = AgentCFMemories(cds("Blue", "Red"))
    assert learn_step(writing("Blue"), memories, trial, 0, LEARN, right) == [(trial[0], [True, True])]
    assert (right.choices, right.right, right.user_rewrites, right.item_rewrites) == (2, 2, 1, 2)
    assert learn_step(writing("Red"), memories, trial, 0, LEARN, wrong) == [(trial[0], [False, False])]
    assert (wrong.choices, wrong.right, wrong.user_rewrites, wrong.item_rewrites) == (2, 0, 2, 2)
    silent, once = LearnCounts(), LearnCounts()
    learn_step(writing("Blue"), memories, trial, 0, LearnOptions(confirm=False), silent)
    assert (silent.right, silent.user_rewrites, silent.item_rewrites) == (2, 0, 0)
    learn_step(writing("Blue"), memories, trial, 0, LearnOptions(rounds=1), once)
    assert (once.right, once.user_rewrites, once.item_rewrites) == (1, 1, 1)


def test_who_was_wrong_and_is_right_then_rewrites_twice_the_item_and_once_themselves():
    """Wrong, then right: corrected in round 1 (user, item), confirmed after round 2 (item): prompts in this order."""
    memories, counts, asked = AgentCFMemories(cds("Blue", "Red")), LearnCounts(), []

    def answer(prompt):
        asked.append("choose" if prompt.choices else "item" if "The description of" in prompt.context else "user")
        wanted = "Red" if asked.count("choose") == 1 else "Blue"
        return LABELS[wanted in prompt.question.split("\nB: ")[1].splitlines()[0]] if prompt.choices else "Text."

    assert learn_step(FunctionLLM(answer), memories, [Trial(0, 0, 1)], 0, LEARN, counts)[0][1] == [False, True]
    assert asked == ["choose", "user", "item", "choose", "item"]


def test_the_positive_is_listed_second_half_of_the_time():
    counts = LearnCounts()
    memories = AgentCFMemories(cds(*(f"T{i}" for i in range(401))))
    trials = [Trial(user, user, 400) for user in range(400)]
    learn_step(FunctionLLM(lambda p: LABELS[0] if p.choices else "x"), memories, trials, 1, LEARN, counts)
    assert counts.first_choices == 400
    assert 150 < counts.first_right < 250
    assert counts.listed_first == counts.choices


def test_limits_of_words_are_enforced_and_counted():
    counts = LearnCounts()
    memories = AgentCFMemories(cds("Blue", "Red"))
    long = "One two three. " * 200
    learn_step(writing("Blue", long), memories, [Trial(0, 0, 1)], 0, LEARN, counts)
    assert len(memories.user(0).split()) == 180
    assert len(memories.item(0).split()) == 48
    assert memories.item(0).endswith("three.")
    assert (counts.user_cut, counts.item_cut) == (1, 2)


def test_a_generated_choice_names_the_item_and_its_reason_reaches_the_rewrite():
    memories = AgentCFMemories(cds("Blue", "Red"))
    asked = []

    def answer(prompt):
        asked.append(prompt)
        chooses = "Which of the two" in prompt.question
        return "Choice: 'Red'\nExplanation: it is warmer." if chooses else "I like red things."

    counts = LearnCounts()
    told = learn_step(FunctionLLM(answer), memories, [Trial(0, 0, 1)], 0, LearnOptions(answers="text"), counts)
    assert told[0][1] == [False, False]
    assert 'I picked "Red". My reason: it is warmer.' in asked[1].question


@pytest.mark.parametrize("answers", ["labels", "text"])
def test_unusable_answers_leave_memories_unchanged(answers):
    data, log = world()
    llm = MisbehavingLLM(hash_choice_llm(), refusing=1.0)
    (*_, last) = learning(llm, data, log, USERS, 0, options=LearnOptions(positives=1, answers=answers))
    assert last.counts.unusable == last.counts.choices == last.counts.answers.fallbacks == 2 * len(USERS)
    assert (last.memories.learned_users, last.memories.learned_items) == ([], [])


def test_rewrites_that_cannot_be_used_are_counted_and_nothing_is_lost():
    data, log = world()
    llm = MisbehavingLLM(hash_choice_llm(), malformed=0.3, refusing=0.3, leaking=0.2)
    (*_, last) = learning(llm, data, log, list(range(40)), 0, options=LearnOptions(positives=2))
    counts, memories = last.counts, last.memories
    assert counts.kept > 0
    versions = sum(len(memories.user_versions(u)) - 1 for u in memories.learned_users)
    assert counts.user_rewrites == versions
    texts = [t for u in memories.learned_users for t in memories.user_versions(u)]
    assert not any("sorry" in text or "instructions" in text for text in texts)


def test_a_killed_run_goes_on_with_the_same_result(tmp_path):
    data, log = world()
    whole = learn_agentcf(hash_choice_llm(), data, log, USERS, 4, tmp_path / "whole", LEARN)
    for steps in range(3):
        folder = tmp_path / f"killed{steps}"
        run = learning(hash_choice_llm(), data, log, USERS, 4, folder, LEARN)
        for _ in range(steps + 1):
            next(run)
        run.close()
        went_on = learn_agentcf(hash_choice_llm(), data, log, USERS, 4, folder, LEARN)
        assert content(went_on) == content(whole)
        assert (folder / STATE_FILE).read_text() == (tmp_path / "whole" / STATE_FILE).read_text()


def test_a_model_that_fails_loses_no_finished_step(tmp_path):
    data, log = world()
    whole = learn_agentcf(hash_choice_llm(), data, log, USERS, 4, None, LEARN)
    calls = [0]
    good = hash_choice_llm()

    def failing(prompt):
        calls[0] += 1
        if calls[0] > 60:
            raise LLMError("down")
        return good.generate([prompt])[0]

    with pytest.raises(LLMError):
        learn_agentcf(FunctionLLM(failing, good.name), data, log, USERS, 4, tmp_path, LEARN)
    assert json.loads((tmp_path / STATE_FILE).read_text())["step"] >= 1
    assert content(learn_agentcf(good, data, log, USERS, 4, tmp_path, LEARN)) == content(whole)


def test_a_folder_of_another_run_is_refused(tmp_path):
    data, log = world()
    learn_agentcf(hash_choice_llm(), data, log, USERS, 4, tmp_path, LEARN)
    with pytest.raises(RecordingError, match="seed"):
        learn_agentcf(hash_choice_llm(), data, log, USERS, 5, tmp_path, LEARN)
    with pytest.raises(RecordingError, match="trials"):
        learn_agentcf(hash_choice_llm(), data, log, USERS[1:], 4, tmp_path, LEARN)
    (tmp_path / STATE_FILE).write_text('{"config": 1}')
    with pytest.raises(DataError):
        learn_agentcf(hash_choice_llm(), data, log, USERS, 4, tmp_path, LEARN)


def test_trials_follow_the_log_and_negatives_its_popularity():
    users = np.repeat(np.arange(400), 3)
    items = np.tile([0, 1, 2], 400)
    # Item 3 is four times as popular as item 4; nobody of the first 400 has rated either.
    users, items = np.concatenate([users, np.full(5, 400)]), np.concatenate([items, [3, 3, 3, 3, 4]])
    stars = np.where(items == 1, 1.0, 5.0).astype(np.float32)
    times = np.tile([3, 2, 1], 402)[: len(users)]
    log = Ratings(users, items, stars, times, 401, 5)
    steps = plan_trials(log, range(400), 5, 0)
    assert [len(step) for step in steps] == [400, 400]
    assert {(t.positive) for t in steps[0]} == {2}, "oldest first, and what was rated below the mean is no positive"
    negatives = np.array([t.negative for t in steps[0]])
    assert set(negatives.tolist()) == {3, 4}
    assert 0.7 < (negatives == 3).mean() < 0.9
    assert plan_trials(log, [5], 5, 0)[0][0] in steps[0], "a negative depends on seed, user and positive alone"
    with pytest.raises(ConfigError):
        plan_trials(Ratings(users[:3], items[:3], stars[:3], times[:3], 1, 5), [0], 5, 0)


def test_what_cannot_work_is_said():
    data, log = world()
    with pytest.raises(ConfigError):
        LearnOptions(answers="guess")
    with pytest.raises(ConfigError):
        LearnOptions(rounds=0)
    with pytest.raises(ConfigError):
        learn_agentcf(hash_choice_llm(), data, log, [])
    with pytest.raises(ConfigError):
        learn_step(
            hash_choice_llm(), AgentCFMemories(cds("A", "B")), [Trial(0, 0, 1), Trial(0, 1, 0)], 0, LEARN, LearnCounts()
        )


def test_the_code_of_the_page_runs(tmp_path, monkeypatch):
    page = (Path(__file__).parents[2] / "docs" / "agents" / "agentcf.md").read_text("utf-8")
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    names: dict = {}
    exec(code, names)
    assert names["memories"].learned_users == [0, 1, 2]
    data = load_dataset("synthetic")
    assert AgentCFMemories.load(tmp_path / "memories", data.catalogue).content() == names["memories"].content()


@pytest.mark.slow
@pytest.mark.real_llm
def test_a_real_model_learns_something_readable(tmp_path):
    pytest.importorskip("transformers")
    from recsim_llm.errors import ModelNotFoundError
    from recsim_llm.language import make_llm

    try:
        llm = make_llm("transformers:smollm2-135m")
    except ModelNotFoundError:
        pytest.skip("the small model is not in the cache")
    data, log = world()
    options = LearnOptions(positives=1, rounds=1, user_words=16, item_words=10, noun="movie")
    (*_, last) = learning(llm, data, log, [0, 1], 0, tmp_path, options)
    assert last.counts.first_choices == 2
    assert last.counts.user_rewrites + last.counts.item_rewrites + last.counts.kept == 4
    assert last.memories.learned_users
    for user in last.memories.learned_users:
        assert 0 < len(last.memories.user(user).split()) <= 16
    asked = llm.usage.calls
    assert content(learn_agentcf(llm, data, log, [1, 0], 0, tmp_path, options)) == content(last.memories)
    assert llm.usage.calls == asked, "what was learned is not learned again"
