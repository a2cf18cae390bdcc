"""Made-up steps, calls and manifests, each a pure function of its arguments."""

from __future__ import annotations

import numpy as np
from hypothesis import settings

from recsim_llm.prompt_key import prompt_keys
from recsim_llm.runs.calls import CallBatch
from recsim_llm.runs.manifest import Manifest
from recsim_llm.runs.steps import StepBatch
from recsim_llm.runs.store import RunWriter
from recsim_llm.types import Completion, Prompt

ROUNDS = 4

# No deadline: the first example of a process pays for loading pyarrow.
quick = settings(deadline=None, max_examples=60)


def make_steps(sessions=4, page=0, page_size=3, levels=5, seed=0, thoughts=False) -> StepBatch:
    rng = np.random.default_rng([seed, page])
    S, K, R = sessions, page_size, levels
    items = rng.integers(-1, 50, (S, K))
    watched = (rng.random((S, K)) < 0.5) & (items >= 0)
    ratings = np.where(watched, rng.integers(1, R + 1, (S, K)), 0).astype(float)
    left = rng.random(S) < 0.3
    return StepBatch(
        session=np.arange(S),
        user=np.arange(S) * 7 % 31,
        page=np.full(S, page),
        items=items,
        watch=rng.random((S, K)),
        rating_probs=rng.dirichlet(np.ones(R), (S, K)),
        watched=watched,
        ratings=ratings,
        leave=rng.random(S),
        left=left,
        truncated=~left & (page == 9),
        reward=ratings.sum(axis=1),
        thoughts=tuple(f"Ümlaut {page}.{s}" for s in range(S)) if thoughts else (),
    )


def make_calls(count=3, round_=0, name="fake") -> CallBatch:
    prompts = tuple(
        Prompt(
            "Be a person.",
            f"You are number {i % 2}.",
            f"Round {round_}, film {i}?",
            ("yes", "no")[: i % 3],
            slots=1 + i % 2,
        )
        for i in range(count)
    )
    answers = tuple(
        Completion(f"answer {i}", (-0.1 * i,) * len(p.choices) * p.slots, i, 1) for i, p in enumerate(prompts)
    )
    return CallBatch(tuple(prompt_keys(name, prompts)), prompts, answers)


def make_manifest(**changes) -> Manifest:
    values = {
        "name": "random",
        "config": {"users": 4, "policies": ("random",), "seed": 0},
        "seed": 0,
        "versions": {"numpy": "2.0"},
        "dataset": "synthetic",
        "dataset_checksum": "abc",
        "policy": "random",
        "user_model": "llm",
        "llm": "fake",
        "num_users": 4,
        "page_size": 3,
        "rating_levels": (1.0, 2.0, 3.0, 4.0, 5.0),
    }
    return Manifest(**{**values, **changes})


def write_rounds(writer, rounds, calls=True):
    for i in range(rounds):
        writer.write_round(i, make_steps(page=i, thoughts=True), make_calls(round_=i) if calls else None)


def step_files(folder) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((folder / "steps").iterdir())}


def resume_and_finish(folder):
    writer = RunWriter.resume(folder, make_manifest())
    write_rounds(writer, ROUNDS)
    writer.finish({})
    return writer
