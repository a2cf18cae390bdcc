"""Policies that a Python caller passes as an object: simulated, resumed, replayed, refused."""

from __future__ import annotations

import numpy as np
import pytest

import recsim_llm
from recsim_llm.errors import ConfigError, RecordingError
from recsim_llm.experiments.simulation.config import SimulationConfig
from recsim_llm.experiments.simulation.replay import replay
from recsim_llm.experiments.simulation.simulate import simulate
from recsim_llm.runs import find_runs


class ShowsFrom:
    """A policy object: always the same page, or one item further after each round, where it learns."""

    name, page_size = "shows-from", 10

    def __init__(self, first):
        self.first = first

    def act(self, observation):
        return np.tile(np.arange(self.first, self.first + 10), (len(observation["user"]), 1))

    def learn(self, batch):
        self.first += 1
        return {}


def test_a_policy_object_is_simulated_resumed_and_replayed_with_an_equal_one(tmp_path):
    plain = {"users": 3, "progress": False}
    (run,) = recsim_llm.simulate(policies=ShowsFrom(40), out=tmp_path / "runs", **plain)
    assert run.manifest.policy == "object:test_policy_objects.ShowsFrom"
    assert run.manifest.config["policies"] == ["object:test_policy_objects.ShowsFrom"]
    steps = run.step_batch()
    assert {steps.items[steps.page == page].min() for page in (0, 1)} == {40, 41}  # it learned in between
    assert replay(run, policy=ShowsFrom(40)).steps == len(steps)
    with pytest.raises(RecordingError, match="differs"):
        replay(run, policy=ShowsFrom(50))
    with pytest.raises(ConfigError, match=r"test_policy_objects.ShowsFrom.*replay\(run, policy=...\)"):
        replay(run)
    with pytest.raises(RecordingError, match="its policy is 'object:test_policy_objects.ShowsFrom'"):
        replay(run, policy=Renamed(40))
    (again,) = recsim_llm.simulate(policies=ShowsFrom(40), out=tmp_path / "runs", resume=True, **plain)
    assert again.trajectory_hash() == run.trajectory_hash()


class Renamed(ShowsFrom):
    """Of another class."""


@pytest.mark.parametrize(
    ("policy", "options", "words"),
    [
        (ShowsFrom, {}, "a class is named"),
        (ShowsFrom(0), {"page_size": 4}, "page_size=10, the simulation 4"),
        (ShowsFrom(0), {"rounds": 2}, "separate sessions"),
        ("object:test_policy_objects.ShowsFrom", {}, "only Python can hand over"),
    ],
)
def test_a_policy_object_that_cannot_run_is_refused(tmp_path, policy, options, words):
    with pytest.raises(ConfigError, match=words):
        recsim_llm.simulate(policies=policy, out=tmp_path / "runs", users=3, progress=False, **options)
    assert not (tmp_path / "runs").exists()


class Stops(ShowsFrom):
    """Interrupted on the second page."""

    stop = False

    def act(self, observation):
        if self.stop and observation["page"].max() > 0:
            raise KeyboardInterrupt
        return super().act(observation)


def test_an_interrupted_run_of_an_object_ends_as_if_it_had_not_been(tmp_path):
    """What the object has learned is not stored: an object as at the start learns it again from the recorded pages."""
    plain = {"users": 6, "progress": False}
    (whole,) = recsim_llm.simulate(policies=Stops(40), out=tmp_path / "whole", **plain)
    cut = Stops(40)
    cut.stop = True
    with pytest.raises(KeyboardInterrupt):
        recsim_llm.simulate(policies=cut, out=tmp_path / "cut", **plain)
    (stopped,) = find_runs(tmp_path / "cut")
    assert 0 < len(stopped.step_batch()) < len(whole.step_batch())
    with pytest.raises(RecordingError, match="differs|differ"):
        recsim_llm.simulate(policies=Stops(50), out=tmp_path / "cut", resume=True, **plain)
    (again,) = recsim_llm.simulate(policies=Stops(40), out=tmp_path / "cut", resume=True, **plain)
    assert again.trajectory_hash() == whole.trajectory_hash()


def test_an_object_beside_named_policies_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="not both"):
        simulate(SimulationConfig(policies=("ease",), users=3), tmp_path / "runs", progress=False, policy=ShowsFrom(0))
