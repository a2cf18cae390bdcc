"""What a tuned model is worth: `recsim-llm assess FOLDER`.

It is asked what it never learned from, in the prompts of its agents: other ratings of the people it knows, rare items,
items removed from its training, new people. Beside it stand collaborative filtering and a content baseline of the very
ratings that it learned from; what it adds to them is measured as in a certificate (`fidelity.incremental`).
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from recsim_llm.data import Dataset
from recsim_llm.errors import ConfigError, MissingExtraError
from recsim_llm.experiments.tuning.card import NUMBERS
from recsim_llm.experiments.tuning.groups import Group, groups
from recsim_llm.experiments.tuning.lessons import held_lessons
from recsim_llm.experiments.tuning.measure import Answers
from recsim_llm.experiments.tuning.task import TuneConfig, make_task
from recsim_llm.experiments.tuning.worth import FEWEST, Finding, Gain, finding


@dataclass(frozen=True, slots=True)
class AssessConfig:
    """An assessment.

    Attributes:
        people: People asked in each group, by hash; 0 for all.
        rows: Held-out ratings a person, by hash; 0 for all.
        naming: What items are called; '' for what the model learned.
        progress: Show a bar.
    """

    people: int = 300
    rows: int = 10
    naming: str = ""
    progress: bool = True


def assess(folder: Path, config: AssessConfig) -> list[Finding]:
    """Ask a tuned model about what it never learned from. Answers are kept in its folder: a second call goes on.

    Raises:
        ConfigError: The folder holds no tuned model, or a number is out of range.
        LLMError: The model cannot be loaded.
    """
    if min(config.people, config.rows) < 0:
        raise ConfigError("--people and --rows are 0 (all) or more.")
    tuned = _read_config(folder)
    task = make_task(replace(tuned, naming=config.naming or tuned.naming))
    ask = _Examiner(folder, task.data, config, tuned.prompts)
    return [finding(task.data, group, ask(group)) for group in groups(task, config.people, config.rows)]


class _Examiner:
    """Asks a tuned model about groups; keeps its answers beside it."""

    def __init__(self, folder: Path, data: Dataset, config: AssessConfig, prompts: str) -> None:
        self._folder, self._data, self._config, self._prompts = folder, data, config, prompts
        self._tools: tuple[Any, Any] | None = None

    def __call__(self, group: Group) -> Answers:
        c = self._config
        words = "-".join(group.name.replace(",", "").split())
        path = self._folder / "assessment" / f"{words}-{c.naming or 'learned'}-{c.people}-{c.rows}.npz"
        if not path.exists():
            answers = self._ask(group)
            path.parent.mkdir(exist_ok=True)
            beside = path.with_suffix(".part.npz")
            np.savez(beside, users=answers.users, items=answers.items, levels=answers.levels, pmf=answers.pmf)
            beside.replace(path)
        with np.load(path) as kept:
            return Answers(kept["users"], kept["items"], kept["levels"], kept["pmf"])

    def _ask(self, group: Group) -> Answers:
        encoder, learner = self._loaded()
        lessons = list(held_lessons(self._data, group.told, group.asked, prompts=self._prompts))
        interval = 0.1 if sys.stderr.isatty() else 30.0
        bar = tqdm(lessons, desc=group.name, unit="person", disable=not self._config.progress, mininterval=interval)
        parts = [learner.ask([lesson], [encoder.lesson(lesson)]) for lesson in bar]
        columns = (np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(Answers))
        return Answers(*columns)

    def _loaded(self) -> tuple[Any, Any]:
        if self._tools is None:
            try:
                import torch
            except ImportError as error:
                raise MissingExtraError("torch", "tune", "Assessing a model") from error
            from recsim_llm.experiments.tuning.encoding import Encoder
            from recsim_llm.experiments.tuning.learner import Learner
            from recsim_llm.llm.model_files import load_model

            device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
            model, tokenizer, _ = load_model(str(self._folder), device, torch.float32)
            levels = tuple(str(i + 1) for i in range(len(self._data.rating_levels)))
            self._tools = Encoder(tokenizer, [levels]), Learner(model)
        return self._tools


def _read_config(folder: Path) -> TuneConfig:
    """The options that the model of a folder was tuned with."""
    path = folder / NUMBERS
    if not path.exists():
        raise ConfigError(
            f"{folder} holds no tuned model ({NUMBERS} is missing). Make one: recsim-llm tune --out {folder}"
        )
    try:
        options = json.loads(path.read_text(encoding="utf-8"))["config"]
        return replace(TuneConfig(**options), out=folder)
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{path} is damaged ({error}). Tune again into another folder.") from error


def report(findings: list[Finding]) -> str:
    """Two Markdown tables: how well each model does in each group, and what the tuned one adds."""
    lines = [
        "| ratings | model | log-loss | RPS | AUC of liking | within people | RMSE |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    names = {
        "tuned": "tuned",
        "cf": "collaborative filtering",
        "content": "genres and years",
        "hybrid": "hybrid of the two",
    }
    for each in findings:
        for key, name in names.items():
            s = each.scores[key]
            values = (s["log_loss"], s["rps"], s["auc_like"], s["auc_within"], s["rmse_mean"])
            what = f"{each.group} ({each.ratings:,} by {each.people:,})" if key == "tuned" else ""
            lines.append(f"| {what} | {name} | " + " | ".join(f"{value:.3f}" for value in values) + " |")
    lines += [
        "",
        "| what the tuned model adds, nats (95 %) | to collaborative filtering | to that and content | as a hybrid |",
        "| --- | --- | --- | --- |",
    ]
    for each in findings:
        gains = (each.over_cf, each.over_both, each.hybrid)
        lines.append(f"| {each.group} | " + " | ".join(map(_gain, gains)) + " |")
    return "\n".join(lines)


def _gain(gain: Gain | None) -> str:
    if gain is None:
        return f"fewer than {FEWEST} ratings"
    p = "" if np.isnan(gain.p) else f", p = {gain.p:.3f}"
    return f"{gain.nats:+.4f} ({gain.low:+.4f} to {gain.high:+.4f}){p}"


def as_json(findings: list[Finding]) -> str:
    """All numbers."""
    return json.dumps([asdict(each) for each in findings], indent=1) + "\n"
