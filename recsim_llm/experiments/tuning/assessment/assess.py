"""Assessment of a tuned model on held-out questions: `recsim-llm assess FOLDER`.

The questions use the prompts of its agents: other ratings of people it knows, rare items, items removed from its
training, new people; and whether people watch items that they rated, and items that they did not. Collaborative
filtering and a content baseline are fitted to the ratings that the model learned from; what it adds to them is measured
as in a certificate (`fidelity.incremental`).
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from tqdm import tqdm

from recsim_llm.agents.llm.page_agent import YES_NO
from recsim_llm.checked import CountOrNone, check_fields
from recsim_llm.data import Dataset
from recsim_llm.errors import ConfigError, DataError, MissingExtraError, RecordingError
from recsim_llm.experiments.tuning.assessment.gain import FEWEST, Gain
from recsim_llm.experiments.tuning.assessment.groups import Group, groups
from recsim_llm.experiments.tuning.assessment.measure import TunedAnswers
from recsim_llm.experiments.tuning.assessment.watching import BASELINES, WatchFinding, draw_watches, watch_finding
from recsim_llm.experiments.tuning.assessment.worth import Finding, finding
from recsim_llm.experiments.tuning.lessons import Watches, held_lessons
from recsim_llm.experiments.tuning.task import TuneConfig, make_task
from recsim_llm.experiments.tuning.writer import NUMBERS
from recsim_llm.untrusted import read_arrays, read_json

_MODELS = {
    "tuned": "tuned",
    "cf": "collaborative filtering",
    "content": "genres and years",
    "hybrid": "hybrid of the two",
}


@dataclass(frozen=True, slots=True)
class AssessConfig:
    """Options of an assessment.

    Attributes:
        people: People asked in each group, by hash; 0 for all.
        rows: Held-out ratings per person, by hash; 0 for all.
        naming: Naming of the items; '' for the naming that the model learned.
        progress: Show a progress bar.
    """

    people: CountOrNone = 300
    rows: CountOrNone = 10
    naming: Literal["", "titles", "masked", "ids", "invented"] = ""
    progress: bool = True

    def check(self) -> None:
        """Check the options.

        Raises:
            ConfigError: A value out of range.
        """
        check_fields(self)


@dataclass(frozen=True, slots=True)
class Assessed:
    """Findings on a group: on its ratings, and on watching."""

    ratings: Finding
    watching: WatchFinding


def assess(folder: Path, config: AssessConfig) -> list[Assessed]:
    """Ask a tuned model held-out questions. Answers are stored in its folder: a second call resumes.

    Raises:
        ConfigError: The folder holds no tuned model, or a number is out of range.
        LLMError: The model cannot be loaded.
    """
    config.check()
    tuned = _read_config(folder)
    task = make_task(replace(tuned, naming=config.naming or tuned.naming))
    ask = _Examiner(folder, task.data, config, tuned.prompts)
    found = []
    for group in groups(task, config.people, config.rows):
        ratings, watching = ask(group)
        found.append(Assessed(finding(task.data, group, ratings), watch_finding(task.data, group, watching)))
    return found


class _Examiner:
    """Asks a tuned model about groups; stores the answers in its folder."""

    def __init__(self, folder: Path, data: Dataset, config: AssessConfig, prompts: str) -> None:
        self._folder, self._data, self._config, self._prompts = folder, data, config, prompts
        self._tools: tuple[Any, Any] | None = None

    def __call__(self, group: Group) -> tuple[TunedAnswers, TunedAnswers]:
        """Return the answers about the ratings of a group, and about watching."""
        c = self._config
        words = "-".join(group.name.replace(",", "").split())
        path = self._folder / "assessment" / f"{words}-{c.naming or 'learned'}-{c.people}-{c.rows}.npz"
        watches = draw_watches(self._data, group)
        if not path.exists():
            answers = self._ask(group, watches)
            path.parent.mkdir(exist_ok=True)
            beside = path.with_suffix(".part.npz")
            columns = {f.name: getattr(answers[0], f.name) for f in fields(TunedAnswers)}
            columns |= {f"watch_{f.name}": getattr(answers[1], f.name) for f in fields(TunedAnswers)}
            np.savez(beside, **columns)
            beside.replace(path)
        try:
            kept = read_arrays(path)
            ratings, watching = ([kept[before + f.name] for f in fields(TunedAnswers)] for before in ("", "watch_"))
        except (OSError, DataError, KeyError) as error:
            raise RecordingError(f"{path} is damaged ({error}). Delete it: the model is asked again.") from error
        return TunedAnswers(*ratings), TunedAnswers(*watching)

    def _ask(self, group: Group, watches: Watches) -> tuple[TunedAnswers, TunedAnswers]:
        encoder, learner = self._loaded()
        lessons = list(held_lessons(self._data, group.told, group.asked, watches, prompts=self._prompts))
        interval = 0.1 if sys.stderr.isatty() else 30.0
        bar = tqdm(lessons, desc=group.name, unit="person", disable=not self._config.progress, mininterval=interval)
        answers = learner.ask(lessons, (encoder.lesson(lesson) for lesson in bar))
        kinds = np.array([asked.choices == YES_NO for lesson in lessons for asked in lesson.asked])
        return answers.take(~kinds), answers.take(kinds)

    def _loaded(self) -> tuple[Any, Any]:
        if self._tools is None:
            try:
                import torch
            except ImportError as error:
                raise MissingExtraError("torch", "tune", "Assessing a model") from error
            from recsim_llm.experiments.tuning.encoding import Encoder
            from recsim_llm.experiments.tuning.learner import TuningLearner
            from recsim_llm.language.model_files import load_model

            device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
            model, tokenizer, _ = load_model(str(self._folder), device, torch.float32)
            levels = tuple(str(i + 1) for i in range(len(self._data.rating_levels)))
            self._tools = Encoder(tokenizer, [YES_NO, levels]), TuningLearner(model)
        return self._tools


def _read_config(folder: Path) -> TuneConfig:
    """The options that the model of a folder was tuned with."""
    path = folder / NUMBERS
    if not path.exists():
        raise ConfigError(
            f"{folder} holds no tuned model ({NUMBERS} is missing). Make one: recsim-llm tune --out {folder}"
        )
    try:
        options = read_json(path)["config"]
        return replace(TuneConfig(**options), out=folder)
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{path} is damaged ({error}). Tune again into another folder.") from error


def report(found: list[Assessed]) -> str:
    """Three Markdown tables: scores of each model in each group, gains of the tuned model, and results on watching."""
    return "\n\n".join([_scores_table(found), _gains_table(found), _watch_table(found)])


def _scores_table(found: list[Assessed]) -> str:
    lines = [
        "| ratings | model | log-loss | RPS | AUC of liking | within people | RMSE |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for each in (one.ratings for one in found):
        for key, name in _MODELS.items():
            s = each.scores[key]
            values = (s["log_loss"], s["rps"], s["auc_like"], s["auc_within"], s["rmse_mean"])
            what = f"{each.group} ({each.ratings:,} by {each.people:,})" if key == "tuned" else ""
            lines.append(f"| {what} | {name} | " + " | ".join(f"{value:.3f}" for value in values) + " |")
    return "\n".join(lines)


def _gains_table(found: list[Assessed]) -> str:
    lines = [
        "| what the tuned model adds, nats (95 %) | to collaborative filtering | to that and content | as a hybrid |",
        "| --- | --- | --- | --- |",
    ]
    for each in (one.ratings for one in found):
        gains = (each.over_cf, each.over_both, each.hybrid)
        lines.append(f"| {each.group} | " + " | ".join(map(_gain, gains)) + " |")
    return "\n".join(lines)


def _watch_table(found: list[Assessed]) -> str:
    names = ("tuned", *BASELINES)
    lines = [
        f"| rated or equally popular, AUC within people (95 %) | {' | '.join(names)} | adds to all of them, nats |",
        "| --- " * (len(names) + 2) + "|",
    ]
    for one in found:
        w = one.watching
        cells = [_auc(w.auc[name]) if name in w.auc else "-" for name in names]
        what = f"{one.ratings.group} ({w.rows:,} by {w.people:,})"
        lines.append(f"| {what} | {' | '.join(cells)} | {_gain(w.over_all)} |")
    return "\n".join(lines)


def _auc(found: tuple[float, float, float]) -> str:
    value, low, high = found
    return f"{value:.3f} ({low:.3f} to {high:.3f})"


def _gain(gain: Gain | None) -> str:
    if gain is None:
        return f"fewer than {FEWEST}"
    p = "" if np.isnan(gain.p) else f", p = {gain.p:.3f}"
    return f"{gain.nats:+.4f} ({gain.low:+.4f} to {gain.high:+.4f}){p}"


def as_json(found: list[Assessed]) -> str:
    """All numbers as JSON."""
    return json.dumps([asdict(each) for each in found], indent=1) + "\n"
