"""The folder of a training: curves, checkpoints, the best and the last policy."""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from recsim_llm.errors import ConfigError, MissingExtraError, RecordingError
from recsim_llm.untrusted import read_bytes, read_json

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

    from recsim_llm.policies.rl.learners import ResumableLearner

_FREE = ("resume", "progress", "out")
_COLUMNS = ("step", "reward", "length")


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """One evaluation.

    Attributes:
        step: Total environment steps so far.
        reward, length: Means over held-out people's sessions.
        losses: Means since the previous evaluation.
    """

    step: int
    reward: float
    length: float
    losses: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """State of progress of a training.

    Attributes:
        step: Steps taken.
        segment: Completed segments between evaluations.
        best: Best reward on held-out people; None before the first evaluation.
    """

    step: int = 0
    segment: int = 0
    best: float | None = None


class Config(Protocol):
    """Any data class of a training's options."""

    __dataclass_fields__: ClassVar[dict[str, Any]]


class Curve:
    """The learning curve, as CSV and for TensorBoard.

    Args:
        path: The CSV file; overwritten, or continued from a step.
        writer: The TensorBoard writer.
        until: Points of the file after this step are dropped.
    """

    def __init__(self, path: Path, writer: SummaryWriter, until: int) -> None:
        self._path, self._writer = path, writer
        kept = [row for row in read_curve(path) if row.step <= until] if path.is_file() and until else []
        self._write(kept)

    def add(self, point: CurvePoint) -> None:
        """Write a point to both."""
        self._write([*read_curve(self._path), point])
        self._writer.add_scalar("evaluation/reward", point.reward, point.step)
        self._writer.add_scalar("evaluation/length", point.length, point.step)
        for name, value in point.losses.items():
            self._writer.add_scalar(f"training/{name}", value, point.step)
        self._writer.flush()

    def _write(self, points: list[CurvePoint]) -> None:
        with self._path.open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(_COLUMNS)
            rows.writerows((p.step, repr(p.reward), repr(p.length)) for p in points)


def read_curve(path: Path) -> list[CurvePoint]:
    """The points of a learning curve's CSV file.

    Raises:
        OSError: The file cannot be read.
        RecordingError: The file is damaged.
    """
    try:
        rows = csv.DictReader(io.StringIO(read_bytes(path).decode("utf-8"), newline=""))
        return [CurvePoint(int(r["step"]), float(r["reward"]), float(r["length"])) for r in rows]
    except (ValueError, KeyError, TypeError, csv.Error) as error:
        raise RecordingError(f"{path} is no learning curve, or damaged ({error}). Train anew.") from error


class TrainingFolder:
    """The folder of a training.

    Args:
        path: Path of the folder.
        config: The training's options.

    Attributes:
        last: File of the last policy.
        best: File of the policy with the best reward on held-out people.
        csv: File of the learning curve.
    """

    def __init__(self, path: Path, config: Config) -> None:
        self.path = path
        self.last, self.best, self.csv = path / "last.npz", path / "best.npz", path / "curve.csv"
        self._config = {k: v for k, v in json.loads(json.dumps(_asdict(config), default=str)).items() if k not in _FREE}

    def begin(self, learner: ResumableLearner, resume: bool) -> Checkpoint:
        """Start a new folder, or restore the learner from the checkpoint of an existing one.

        Raises:
            ConfigError: There is a training already, or none to resume, or one with other options.
            RecordingError: The files of the training are damaged.
        """
        manifest = self.path / "training.json"
        if not resume:
            if manifest.exists():
                raise ConfigError(f"{self.path} holds a training. Go on with --resume, or name another --out.")
            self.path.mkdir(parents=True, exist_ok=True)
            self._note(Checkpoint())
            return Checkpoint()
        if not manifest.is_file():
            raise ConfigError(f"{self.path} holds no training to resume.")
        noted = _read(manifest)
        changed = [name for name, value in self._config.items() if noted["config"].get(name) != value]
        if changed:
            raise ConfigError(f"{self.path} was trained with other values of: {', '.join(changed)}.")
        point = Checkpoint(**noted["checkpoint"])
        if point.segment or point.best is not None:
            learner.load(self.path / f"checkpoint-{point.step}")
        return point

    @contextmanager
    def curve(self, point: Checkpoint) -> Iterator[Curve]:
        """Open the learning curve, up to the training's current step.

        Raises:
            MissingExtraError: tensorboard is not installed.
        """
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise MissingExtraError("tensorboard", "rl", "Curves of a training") from error
        purge = point.step + 1 if point.best is not None else None
        writer = SummaryWriter(str(self.path / "tensorboard"), purge_step=purge)
        try:
            yield Curve(self.csv, writer, point.step if point.best is not None else 0)
        finally:
            writer.close()

    def keep(self, learner: ResumableLearner, before: Checkpoint, point: CurvePoint, curve: Curve) -> Checkpoint:
        """Write a checkpoint after a segment."""
        better = before.best is None or point.reward > before.best
        if better:
            shutil.copyfile(self.last, self.best)
        after = replace(before, step=point.step, best=point.reward if better else before.best)
        after = replace(after, segment=before.segment + (point.step > 0))
        learner.save(self.path / f"checkpoint-{after.step}")
        curve.add(point)
        self._note(after)
        if after.step != before.step:
            shutil.rmtree(self.path / f"checkpoint-{before.step}", ignore_errors=True)
        return after

    def finish(self, out: Path) -> None:
        """Copy the best policy to the result."""
        shutil.copyfile(self.best, out)

    def _note(self, point: Checkpoint) -> None:
        text = json.dumps({"config": self._config, "checkpoint": asdict(point)}, indent=2)
        half = self.path / "training.json.part"
        half.write_text(text)
        half.replace(self.path / "training.json")


def _asdict(config: Config) -> dict[str, Any]:
    return {name: getattr(config, name) for name in config.__dataclass_fields__}


def _read(manifest: Path) -> dict[str, Any]:
    try:
        noted: dict[str, Any] = read_json(manifest)
        if not isinstance(noted["config"], dict) or not isinstance(noted["checkpoint"], dict):
            raise RecordingError(f"{manifest} is damaged: train anew, under another --out.")
    except (ValueError, KeyError, TypeError) as error:
        raise RecordingError(f"{manifest} is damaged: train anew, under another --out.") from error
    return noted
