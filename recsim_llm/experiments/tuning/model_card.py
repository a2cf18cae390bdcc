"""The model card of a tuned model: training data, scores on held-out answers, and licence."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import numpy as np

from recsim_llm import __version__
from recsim_llm.experiments.tuning.task import TuneConfig, TuningTask
from recsim_llm.experiments.tuning.writer import NUMBERS
from recsim_llm.language.models import MODELS
from recsim_llm.runs.run_files import write_durably

if TYPE_CHECKING:
    from recsim_llm.experiments.tuning.tune import Tuned

CARD = "README.md"
_NAMES = {
    "log_loss": "log-loss, nats a rating",
    "rps": "ranked probability score",
    "auc_like": "AUC of liking",
    "auc_within": "AUC of liking, within people",
    "rmse_mean": "RMSE of the mean, stars",
}


def write_card(config: TuneConfig, task: TuningTask, tuned: Tuned) -> None:
    """Write `README.md` and `tuning.json` into the folder of a tuned model."""
    numbers = {
        "config": {name: str(v) if name == "out" else v for name, v in asdict(config).items()},
        "progress": asdict(tuned.progress),
        "before": tuned.before,
        "after": tuned.after,
        "ended": tuned.ended,
        "version": __version__,
    }
    write_durably(config.out / NUMBERS, (json.dumps(numbers, indent=1) + "\n").encode())
    write_durably(config.out / CARD, _text(config, task, tuned).encode())


def _text(config: TuneConfig, task: TuningTask, tuned: Tuned) -> str:
    rows = [f"| {text} | {tuned.before[n]:.4f} | {tuned.after[n]:.4f} |" for n, text in _NAMES.items()]
    p = tuned.progress
    how = f"adapters of rank {config.lora_rank}, folded in" if config.lora_rank else "all weights but token vectors"
    model_licence = MODELS[config.model].licence if config.model in MODELS else "that of the model it began with."
    command = f"--dataset {config.dataset} --user-model hybrid:{config.users} --llm transformers:{config.out}"
    visits = task.exposure
    watching = (
        f"{len(np.unique(visits.sessions)):,} logged visits"
        if visits
        else "rated items against items that others rate as often"
    )
    lines = [
        f"# {config.model}, tuned as people of {task.data.name}",
        "",
        f"A user model for recsim_llm {__version__}: it says which rating a described person gives an item, and",
        f"whether they watch it. Its users are `--user-model {config.users}`; other prompts it was not taught.",
        "",
        "```",
        f"recsim-llm calibrate --split {config.measured_by} {command}",
        f"recsim-llm simulate {command}",
        "```",
        "",
        "## Learned from",
        "",
        f"- {task.data.name}, split '{config.split}': {len(task.train):,} ratings by {int(task.learners.sum()):,};",
        f"  {int(task.held_items.sum()):,} of {len(task.held_items):,} items removed; items called by {config.naming}.",
        f"- Answers: {config.teacher:.0%} what collaborative filtering of them expects, the rest what people gave.",
        f"- Whether an item is watched{' and when people leave' if visits and visits.has_exits else ''}: {watching}.",
        f"- Weights: {how}; {p.step:,} steps, {p.labels:,} answers, {p.seconds / 3600:.2f} hours.",
        f"- It ended because {tuned.ended}.",
        f"- Texts: {_texts(config)}",
        "",
        f"## Held-out ratings: the {len(task.validation):,} that stopped the tuning",
        "",
        "| | as it came | tuned |",
        "| --- | --- | --- |",
        *rows,
        "",
        "These numbers chose the checkpoint. What the users are worth says",
        f"`recsim-llm certify --split {config.measured_by}`; people of another split are in the training.",
        "",
        "## Licence",
        "",
        f"Weights: {model_licence} Data: {task.data.licence}",
        "A model can give away what it learned from: who gives it on needs the data's terms to allow it.",
        "",
    ]
    return "\n".join(lines)


def _texts(config: TuneConfig) -> str:
    rehearsed = f"{config.rehearse} of its answers in interviews were rehearsed; " if config.rehearse else ""
    return f"{rehearsed}interviews ask {config.model}, which it began with."
