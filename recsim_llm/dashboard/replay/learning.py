"""Reads the learning curves of trainings stored beside recorded runs."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from recsim_llm.errors import RecordingError
from recsim_llm.experiments.training.train_files import CurvePoint, read_curve
from recsim_llm.runs.manifest import FILE as RUN
from recsim_llm.untrusted import read_json

if TYPE_CHECKING:
    import pandas as pd

CURVE, TRAINING = "curve.csv", "training.json"
_DEPTH = 7


@dataclass(frozen=True, slots=True)
class Training:
    """One training of a policy.

    Attributes:
        folder: Path relative to the searched folder.
        name: Name of the trained policy, equal for all seeds of a study's row.
        seed: Seed of the training; "" if unknown.
        points: Evaluations on held-out people.
    """

    folder: str
    name: str
    seed: str
    points: tuple[CurvePoint, ...]


def find_trainings(top: Path) -> tuple[list[Training], list[str]]:
    """The trainings in and below a folder, and the folders of those whose files cannot be read at the moment."""
    found, unreadable = [], []
    for folder in _folders(top, _DEPTH):
        if not (folder / CURVE).is_file():
            continue
        relative = folder.relative_to(top).as_posix()
        try:
            points = tuple(read_curve(folder / CURVE))
            seed = str(_config(folder).get("seed", ""))
        except (
            OSError,
            ValueError,
            TypeError,
            KeyError,
            RecordingError,
        ):  # damaged, or half-written by a running training
            unreadable.append(relative)
            continue
        if points:
            found.append(Training(relative, _name(relative, seed), seed, points))
    return found, unreadable


def _folders(folder: Path, depth: int) -> Iterator[Path]:
    """Folders below one; run folders, which contain thousands of files and no training, are skipped."""
    yield folder
    if depth == 0 or (folder / RUN).exists():
        return
    with os.scandir(folder) as entries:
        below = sorted(entry.path for entry in entries if entry.is_dir(follow_symlinks=False))
    for path in below:
        yield from _folders(Path(path), depth - 1)


def _config(folder: Path) -> dict[str, object]:
    path = folder / TRAINING
    config = read_json(path)["config"] if path.is_file() else {}
    return dict(config)


def _name(folder: str, seed: str) -> str:
    """Folder name without the parts for seed and study layout: "study/trained/seed1/training/ppo" is "study/ppo"."""
    parts = [part for part in folder.split("/") if part not in {"trained", "training", f"seed{seed}"}]
    return "/".join(parts) or folder


def curve_frame(trainings: Sequence[Training]) -> pd.DataFrame:
    """One row per evaluation: training, seed, folder, step, reward, length."""
    import pandas as pd

    rows = [(t.name, t.seed, t.folder, p.step, p.reward, p.length) for t in trainings for p in t.points]
    return pd.DataFrame(rows, columns=["training", "seed", "folder", "step", "reward", "length"])
