"""Learned numbers of a language model on a data set: calibration and hybrid weights, in a folder of two files.

They are valid for one model, one set of prompts and one data set, and have to be relearned for any other.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path

from recsim_llm.agents.hybrid.calibration import Calibration
from recsim_llm.agents.hybrid.hybrid_users import HybridWeights
from recsim_llm.errors import ConfigError
from recsim_llm.fetch import cache_dir

RULE = "cells judged together"
"""Name of the acceptance rule (`agents.hybrid.cell_gates`); another rule gives other weights for the same answers."""

_LINK, _WEIGHTS, _ABOUT = "calibration.json", "hybrid.json", "about.json"


@dataclass(frozen=True, slots=True)
class Identity:
    """The model, prompts and data set for which learned numbers are valid.

    Attributes:
        llm: The language model's name, with everything that can change an answer.
        inner: The user model that asks it.
        dataset_checksum: The data set.
        fingerprint: Fingerprint of `inner`, which covers its prompts (`agents.certified.fingerprint`).
    """

    llm: str
    inner: str
    dataset_checksum: str
    fingerprint: str

    @property
    def key(self) -> str:
        """Folder name, 32 hex digits; numbers learned by another acceptance rule have another name."""
        parts = (self.llm, self.inner, self.dataset_checksum, self.fingerprint, RULE)
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class Learned:
    """A calibration, and the weights of the hybrid."""

    calibration: Calibration
    weights: HybridWeights

    def save(self, folder: Path, identity: Identity | None = None) -> None:
        """Write into a folder, created where missing."""
        folder.mkdir(parents=True, exist_ok=True)
        self.calibration.save(folder / _LINK)
        self.weights.save(folder / _WEIGHTS)
        if identity:
            (folder / _ABOUT).write_text(json.dumps(asdict(identity), indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Learned:
        """Read what `save` wrote.

        Raises:
            RecordingError: A file is missing, damaged or of another version.
        """
        return cls(Calibration.load(folder / _LINK), HybridWeights.load(folder / _WEIGHTS))


def learned_folder(identity: Identity) -> Path:
    """Folder of these learned numbers on this machine."""
    return cache_dir() / "calibrations" / identity.key


def find_learned(identity: Identity, dataset: str) -> Learned:
    """Numbers learned on this machine, or those shipped with the package (small models on public data).

    Args:
        identity: Model, prompts and data set to match.
        dataset: Name of the data set, for the error message.

    Raises:
        ConfigError: Nothing has been learned for this identity.
        RecordingError: A file is damaged.
    """
    shipped = Path(str(resources.files("recsim_llm.agents.hybrid") / "calibrations" / identity.key))
    for folder in (learned_folder(identity), shipped):
        if folder.exists():
            return Learned.load(folder)
    raise ConfigError(
        f"It is not known yet how far '{identity.llm}' is to be believed as '{identity.inner}' about the people of "
        f"'{dataset}' (or its prompts have changed). Learn it, minutes on a small model, with: recsim-llm calibrate "
        f"--dataset {dataset} --user-model hybrid:{identity.inner} --llm MODEL"
    )
