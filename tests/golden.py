"""Figures that moving code must not change: `python -m tests.golden record FILE`, and `... check FILE` after the move.

Runs of all kinds of people and policies (the hash of the trajectory, the digest of thoughts and diary), certificates
and a study (the digest of their numbers). Models are scripted, so minutes are enough. Figures are of one machine:
another CPU may sum in another order. So record them on the commit before a move, and check after it.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import recsim_llm.experiments.simulation.recorders as recorders
from recsim_llm.cli.verbs.learning.study_command import chosen_study
from recsim_llm.experiments.fidelity.certify import CertifyConfig, certify
from recsim_llm.experiments.simulation.config import SimulationConfig
from recsim_llm.experiments.simulation.simulate import simulate
from recsim_llm.experiments.studies.run_study import run_study
from recsim_llm.experiments.training.train import TrainConfig, train
from recsim_llm.testing.scripted import hash_choice_llm

_TOWN = SimulationConfig(policies=("popularity", "ease"), users=12, pages=3, page_size=4)
_LIFE = replace(_TOWN, rounds=4, users=20, policies=("popularity",))
_WINDOW = replace(_TOWN, quit="window", page_size=1, pages=20)
_KINDS = (
    "llm", "agent4rec", "agent4rec:text", "agent4rec:items", "agent4rec:genres", "recagent", "recagent:text", "agentcf",
    "dialogue", "dialogue:items",
)  # fmt: skip
_CLASSIC = (
    "random", "popularity", "live-popularity", "item-knn", "ease", "als", "bm25", "bpr", "lightgcn",
    "gru4rec", "sasrec", "retrain?of=als", "fixed-list", "oracle",
    "crr?updates=20", "bcq?updates=20", "cql?updates=20", "sqn?head=q&updates=20",
)  # fmt: skip
_PLANNERS = ("actonly", "react", "reflexion", "billp", "llmrank")
_PLAN = """
[[advert]]
round = 2
until = 3
item = "7"
[[policy]]
round = 3
policy = "ease"
"""


def figures(folder: Path) -> Iterator[tuple[str, str]]:
    """Names and digests, one by one."""
    for name, config in _runs(folder):
        for run in simulate(config, folder / "runs" / name, progress=False):
            texts = [row for part in range(run.num_parts) for row in run.thoughts(part).to_pylist()]
            events = run.events().to_pylist() if config.rounds else []
            yield f"run {name} {run.folder.name}", run.trajectory_hash()
            yield f"texts {name} {run.folder.name}", _digest({"thoughts": texts, "diary": events})
    certified = ("statistical", None), ("llm", hash_choice_llm(0)), ("agent4rec:items", hash_choice_llm(0))
    for user_model, llm in certified:
        config = CertifyConfig(dataset="synthetic", resamples=100, users=30, rows=6)
        certify(config, user_model, llm, progress=False).write(folder / "certificate.json")
        yield f"certificate {user_model}", _digest((folder / "certificate.json").read_text(encoding="utf-8"))
    rows = run_study(chosen_study("quick"), folder / "study", progress=False)
    yield "study quick", _digest([(row.policy, sorted(row.means.items())) for row in rows])
    for policy in ("ppo", "dqn?warm_up=50&batch_size=8"):
        out, short = folder / f"{policy[:3]}.npz", {"steps": 3000, "eval_every": 1000, "progress": False}
        config = replace(_WINDOW, policies=(str(train(TrainConfig(policy=policy, out=out, **short))),))
        (run,) = simulate(config, folder / "runs" / policy[:3], progress=False)
        yield f"run trained {policy}", run.trajectory_hash()
        # Networks start from vectors of the log, so that short training may change weights and no choice.
        with np.load(out) as arrays:
            yield f"weights {policy}", _digest({name: arrays[name].tobytes().hex() for name in arrays.files})


def _runs(folder: Path) -> Iterator[tuple[str, SimulationConfig]]:
    plan = folder / "plan.toml"
    plan.write_text(_PLAN, encoding="utf-8")
    yield "statistical", replace(_TOWN, policies=_CLASSIC)
    yield "window", replace(_WINDOW, policies=("random", "ease", "fixed-list", "oracle"))
    yield "life planners", replace(_LIFE, policies=("reflexion", "billp"), policy_llm="hash", users=5)
    yield "planners", replace(_WINDOW, policies=_PLANNERS, policy_llm="hash", users=3, pages=4)
    yield "society", replace(_LIFE, policies=("popularity", "retrain?of=als"))
    yield "interventions", replace(_LIFE, interventions=str(plan))
    for kind in _KINDS:
        yield f"pages {kind}", replace(_TOWN, user_model=kind, llm="hash", policies=("popularity",), users=4)
        if kind != "llm":
            yield f"life {kind}", replace(_LIFE, user_model=kind, llm="hash", users=10, rounds=8)
    yield "thoughts", replace(_TOWN, user_model="agent4rec:items", llm="hash", thoughts="page", users=4)


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:16]


def main(act: str, file: str) -> int:
    """Record the figures in a file, or compare them with it: 0 where all are equal."""
    known = json.loads(Path(file).read_text(encoding="utf-8")) if act == "check" else {}
    recorders.open_backend = lambda *_: nullcontext(hash_choice_llm(0))
    found, different = {}, 0
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        os.environ["RECSIM_LLM_HOME"] = str(Path(folder) / "home")
        for name, value in figures(Path(folder)):
            found[name] = value
            same = act == "record" or known.get(name) == value
            different += not same
            print(f"{'' if same else 'DIFFERENT  '}{value[:16]}  {name}", flush=True)
    if act == "record":
        Path(file).write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        print(f"{len(found)} figures are in {file}. After the move: python -m tests.golden check {file}")
        return 0
    missing = sorted(set(known) - set(found))
    print(f"{len(found) - different} of {len(known)} figures are equal; missing: {', '.join(missing) or 'none'}.")
    return int(bool(different or missing))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
