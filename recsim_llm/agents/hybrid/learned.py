"""What was learned of a language model on a data set: the link and the hybrid's weights, in a folder of two files.

It belongs to one model, one set of prompts and one data set; with any other it has to be learned anew.
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
"""By what a model is believed (`agents.hybrid.cell_gates`); another rule makes other weights of the same answers."""

_LINK, _WEIGHTS, _ABOUT = "calibration.json", "hybrid.json", "about.json"


@dataclass(frozen=True, slots=True)
class Identity:
    """What learned numbers belong to.

    Attributes:
        llm: The language model's name, with everything that can change an answer.
        inner: The user model that asks it.
        dataset_checksum: The data set.
        fingerprint: Of `inner`: its prompts (`agents.certified.fingerprint`).
    """

    llm: str
    inner: str
    dataset_checksum: str
    fingerprint: str

    @property
    def key(self) -> str:
        """Name of the folder: 32 hex digits. What was learned by another rule of belief is not found under it."""
        parts = (self.llm, self.inner, self.dataset_checksum, self.fingerprint, RULE)
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class Learned:
    """The link, and how much the model adds to statistical people."""

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
    """Where this machine keeps what was learned."""
    return cache_dir() / "calibrations" / identity.key


def find_learned(identity: Identity, dataset: str) -> Learned:
    """What was learned on this machine, or what comes with the package (small models on public data).

    Args:
        identity: What it must belong to.
        dataset: For the way out in the message.

    Raises:
        ConfigError: Nobody has learned it yet.
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
