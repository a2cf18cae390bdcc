"""Tunes a language model as a user model: `recsim-llm tune --dataset ml-100k --model smollm2-135m --out FOLDER`.

Test ratings cannot leak: what the log's split holds out is never read here, and early stopping uses ratings of the
training part that the tuning does not learn from.
"""

from __future__ import annotations

import csv
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from recsim_llm.agents.llm.page_agent import YES_NO
from recsim_llm.agents.llm.page_texts import PageTexts
from recsim_llm.errors import ConfigError, MissingExtraError
from recsim_llm.experiments.tuning.assessment.measure import scores
from recsim_llm.experiments.tuning.encoding import Encoder, TokenRow
from recsim_llm.experiments.tuning.learner import TuningLearner, load_tensors, save_tensors
from recsim_llm.experiments.tuning.lessons import Curriculum, Lesson, held_lessons, personas_of
from recsim_llm.experiments.tuning.model_card import write_card
from recsim_llm.experiments.tuning.rehearsal import interviews, write_rehearsal
from recsim_llm.experiments.tuning.task import TuneConfig, TuningTask, make_task
from recsim_llm.language import make_llm

WARM_UP = 0.05
"""Share of the tuning in which the learning rate rises; then it falls linearly to `LAST_RATE` of its maximum."""
LAST_RATE = 0.05
REHEARSED = 1
"""Written answers per step."""
REHEARSED_SHARE = 0.1
CHECKPOINT, BEST, CURVE, REHEARSAL = "checkpoint.pt", "best.pt", "curve.csv", "rehearsal.json"
_COLUMNS = (
    "step",
    "lessons",
    "labels",
    "hours",
    "train_loss",
    "log_loss",
    "rps",
    "auc_like",
    "auc_within",
    "rmse_mean",
)


@dataclass(frozen=True, slots=True)
class Progress:
    """State of progress of a tuning.

    Attributes:
        step: Steps taken.
        labels: Answers learned from so far.
        seconds: Total time of all parts.
        best: Lowest held-out loss at a check; None before the first.
        worse: Checks since then.
    """

    step: int = 0
    labels: int = 0
    seconds: float = 0.0
    best: float | None = None
    worse: int = 0


@dataclass(frozen=True, slots=True)
class Tuned:
    """Result of `tune`.

    Attributes:
        folder: Folder of the tuned model.
        before, after: Held-out scores (`measure.scores`) of the original model, and of the tuned one.
        progress: Steps, labels and time.
        ended: Why it ended.
    """

    folder: Path
    before: dict[str, float]
    after: dict[str, float]
    progress: Progress
    ended: str


def tune(config: TuneConfig) -> Tuned:
    """Tune a model; after an interruption, `resume` continues from the last checkpoint.

    Raises:
        ConfigError: An invalid option, a tokenizer that does not tell the labels apart, a folder in use, or a
            checkpoint of another tuning.
        DataError: No ratings to learn from, or all of one level.
        LLMError: The model cannot be loaded, or memory does not suffice.
        MissingExtraError: torch, transformers or peft is not installed.
    """
    config.check()
    task = make_task(config)
    curriculum = Curriculum(
        task.data, task.train, task.learners, config.teacher, config.seed, task.exposure, config.prompts
    )
    work = _open_folder(config)
    model, tokenizer, name = _load(config)
    choices = (YES_NO, tuple(str(i + 1) for i in range(len(task.data.rating_levels))))
    encoder = Encoder(tokenizer, choices, getattr(model.config, "max_position_embeddings", None))
    rehearsed = _rehearsed(config, task, work, encoder, model, tokenizer)
    learner = TuningLearner(model, config.lora_rank, config.highest_rate)
    check = _Check(task, config.prompts, encoder, learner)
    run = _Run(config, work, learner, check, config.identity(task.data, name))
    ended = run.train(_batches(config, curriculum), encoder, rehearsed)
    return _finish(config, task, run, tokenizer, ended)


class _Check:
    """The held-out questions of a tuning."""

    def __init__(self, task: TuningTask, prompts: str, encoder: Encoder, learner: TuningLearner) -> None:
        self._lessons = list(held_lessons(task.data, task.told, task.validation, prompts=prompts))
        self._rows = [encoder.lesson(lesson) for lesson in self._lessons]
        self._learner, self._levels = learner, task.data.rating_levels

    def __call__(self) -> dict[str, float]:
        return scores(self._learner.ask(self._lessons, self._rows), self._levels)


class _Run:
    """A running tuning: its learner, its progress, and its records."""

    def __init__(
        self, config: TuneConfig, work: Path, learner: TuningLearner, check: _Check, identity: dict[str, object]
    ) -> None:
        self.learner, self.work = learner, work
        self._config, self._check, self._identity = config, check, identity
        self.progress, self.before = Progress(), dict[str, float]()
        self._loss, self._since = 0.0, 0
        if (work / CHECKPOINT).exists():
            self._go_on(load_tensors(work / CHECKPOINT))

    def _go_on(self, state: dict[str, Any]) -> None:
        other = [key for key, value in self._identity.items() if state["identity"].get(key) != value]
        if other:
            raise ConfigError(
                f"{self.work.parent} holds a tuning of another {', '.join(other)}. Give the options it was begun with, "
                "or another --out."
            )
        self.learner.load(state["learner"])
        self.progress, self.before = Progress(**state["progress"]), state["before"]

    def train(
        self, batches: Iterator[tuple[int, list[Lesson]]], encoder: Encoder, rehearsed: Sequence[TokenRow]
    ) -> str:
        """Take steps until the time or the steps are used up, or checks stop improving; return why it ended."""
        if not self.before:
            self.before = self._check()
            self._note(self.before)
        started, before = time.monotonic(), self.progress.seconds
        checked = started
        ended = ""
        with self._bar() as bar:
            for number, lessons in batches:
                if number < self.progress.step:
                    continue
                ended = ended or self._over()
                if ended:
                    break
                rows = [encoder.lesson(lesson) for lesson in lessons]
                texts = (
                    [rehearsed[(number * REHEARSED + i) % len(rehearsed)] for i in range(REHEARSED)]
                    if rehearsed
                    else []
                )
                self._loss += self.learner.step(rows, texts, REHEARSED_SHARE, self._rate())
                self._since += 1
                now = time.monotonic()
                self._advance(sum(len(row.places) for row in rows), before + now - started)
                if now - checked > self._config.check_minutes * 60:
                    ended = self._keep()
                    checked = time.monotonic()
                self._show(bar)
            if self._since or self.progress.best is None:
                self._keep()
        return ended

    def _advance(self, labels: int, seconds: float) -> None:
        p = self.progress
        self.progress = Progress(p.step + 1, p.labels + labels, seconds, p.best, p.worse)

    def _done(self) -> float:
        """Completed share of the tuning."""
        done = self.progress.seconds / (self._config.max_hours * 3600)
        return max(done, self.progress.step / self._config.steps if self._config.steps else 0.0)

    def _rate(self) -> float:
        done = min(self._done() if not self._config.steps else self.progress.step / self._config.steps, 1.0)
        # A first step with a rate of 0 would be wasted.
        return max(0.01, min(done / WARM_UP, 1.0, 1.0 - (1.0 - LAST_RATE) * (done - WARM_UP) / (1.0 - WARM_UP)))

    def _over(self) -> str:
        if self._config.steps and self.progress.step >= self._config.steps:
            return f"{self.progress.step} steps are taken"
        return f"the {self._config.max_hours:g} hours are over" if self._done() >= 1.0 else ""

    def _keep(self) -> str:
        """Run a check and write a checkpoint; return a reason to stop if checks have not improved for long."""
        found = self._check()
        self._note(found)
        p = self.progress
        better = p.best is None or found["log_loss"] < p.best
        self.progress = Progress(
            p.step, p.labels, p.seconds, found["log_loss"] if better else p.best, 0 if better else p.worse + 1
        )
        if better:
            save_tensors(self.work / BEST, {"weights": self.learner.weights(), "scores": found})
        state = {"identity": self._identity, "progress": asdict(self.progress), "before": self.before}
        save_tensors(self.work / CHECKPOINT, state | {"learner": self.learner.state()})
        if self.progress.worse < self._config.patience:
            return ""
        return f"the last {self.progress.worse} checks were no better than one before"

    def _note(self, found: dict[str, float]) -> None:
        p, path = self.progress, self.work / CURVE
        loss = self._loss / self._since if self._since else float("nan")
        self._loss, self._since = 0.0, 0
        row = {"step": p.step, "lessons": p.step * self._config.batch, "labels": p.labels, "train_loss": loss, **found}
        new = not path.exists()
        with path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, _COLUMNS, extrasaction="ignore")
            if new:
                writer.writeheader()
            writer.writerow(row | {"hours": round(p.seconds / 3600, 4)})
        if self._config.progress:
            tqdm.write(
                f"step {p.step}, {p.seconds / 60:.0f} min, {p.labels:,} labels: held-out log-loss "
                f"{found['log_loss']:.4f}, RPS {found['rps']:.3f}, AUC {found['auc_like']:.3f}, within people "
                f"{found['auc_within']:.3f}",
                file=sys.stderr,
            )

    def _bar(self) -> Any:
        interval = 0.1 if sys.stderr.isatty() else 30.0
        bar = tqdm(total=100, unit="%", desc="tuning", disable=not self._config.progress, mininterval=interval)
        bar.n = min(100, round(100 * self._done()))
        return bar

    def _show(self, bar: Any) -> None:
        mean = f"{self._loss / self._since:.3f}" if self._since else "-"
        bar.set_postfix_str(f"step {self.progress.step}, loss {mean}", refresh=False)
        bar.update(min(100, round(100 * self._done())) - bar.n)


def _batches(config: TuneConfig, curriculum: Curriculum) -> Iterator[tuple[int, list[Lesson]]]:
    """Yield steps, numbered from 0, with their lessons, over endless epochs."""
    number, epoch, batch = 0, 0, list[Lesson]()
    while True:
        for lesson in curriculum.epoch(epoch):
            batch.append(lesson)
            if len(batch) == config.batch:
                yield number, batch
                number, batch = number + 1, []
        epoch += 1


def _open_folder(config: TuneConfig) -> Path:
    work = config.out / "tuning"
    if (work / CHECKPOINT).exists() and not config.resume:
        raise ConfigError(f"{config.out} holds a tuning already. Go on with it (--resume), or give another --out.")
    if config.resume and not (work / CHECKPOINT).exists():
        raise ConfigError(f"{config.out} holds no tuning to go on with. Leave --resume out.")
    if (config.out / "config.json").exists() and not config.resume:
        raise ConfigError(f"{config.out} holds a model already. Give another --out.")
    work.mkdir(parents=True, exist_ok=True)
    return work


def _load(config: TuneConfig) -> tuple[Any, Any, str]:
    """Return the model in the precision of the training, its tokenizer, and its identity."""
    try:
        import torch
        import transformers  # noqa: F401 - fails here, with a sentence, rather than later
    except ImportError as error:
        raise MissingExtraError(error.name or "torch", "tune", "Tuning a model") from error
    from recsim_llm.experiments.tuning.tuning_memory import check_memory
    from recsim_llm.language.model_files import fingerprint, load_model

    cuda = torch.cuda.is_available()
    check_memory(config.model, config.lora_rank, cuda)
    # Frozen weights may have low precision; trained weights may not.
    precision = torch.bfloat16 if cuda and config.lora_rank else torch.float32
    model, tokenizer, origin = load_model(config.model, torch.device("cuda" if cuda else "cpu"), precision)
    return model, tokenizer, fingerprint(config.model, origin)


def _rehearsed(
    config: TuneConfig, task: TuningTask, work: Path, encoder: Encoder, model: Any, tokenizer: Any
) -> list[TokenRow]:
    """Answers that the model writes before it learns, as tokens."""
    if not config.rehearse:
        return []
    path = work / REHEARSAL
    personas = personas_of(task.data, task.told)
    texts = PageTexts(task.data.catalogue, personas, task.data.rating_levels)
    prompts = interviews(texts, list(personas), config.rehearse, config.seed)
    if not path.exists() and config.progress:
        tqdm.write(f"The model writes {len(prompts)} answers that it will rehearse ...", file=sys.stderr)
    written = write_rehearsal(path, make_llm(f"transformers:{config.model}"), prompts)
    end = tokenizer.eos_token_id
    return [encoder.text(each.prompt, each.answer, end) for each in written]


def _finish(config: TuneConfig, task: TuningTask, run: _Run, tokenizer: Any, ended: str) -> Tuned:
    """Write the best model, its tokenizer and its card."""
    best = load_tensors(run.work / BEST)
    run.learner.set_weights(best["weights"])
    run.learner.save_adapter(config.out / "adapter")
    import torch

    # bfloat16 is the precision in which models are usually published, at half the size.
    run.learner.model.to(torch.bfloat16).save_pretrained(config.out)
    tokenizer.save_pretrained(config.out)
    tuned = Tuned(config.out, run.before, best["scores"], run.progress, ended)
    write_card(config, task, tuned)
    shutil.copyfile(run.work / CURVE, config.out / CURVE)
    return tuned
