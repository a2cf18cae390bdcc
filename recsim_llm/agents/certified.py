"""Fidelity certificates stored on this machine, and the fingerprint that ties each to the users it measured.

A certificate is valid for one data set, user model and language model. The fingerprint hashes the prompts and answers
on a small synthetic world, so that a changed prompt or fit needs a new certificate.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from recsim_llm.agents.user_model import UserModel
from recsim_llm.certificate import Certificate, read_certificate
from recsim_llm.fetch import cache_dir
from recsim_llm.language.protocol import LLM, Usage
from recsim_llm.language.uniform import UniformLLM
from recsim_llm.prompt_key import prompt_keys
from recsim_llm.types import Completion, Prompt

_PROBES, _PROBE_ITEMS = 4, 5


def certificate_path(dataset_checksum: str, user_model: str, llm: str, fingerprint: str) -> Path:
    """Path of a population's certificate on this machine."""
    key = hashlib.sha256("\n".join((dataset_checksum, user_model, llm, fingerprint)).encode()).hexdigest()[:32]
    return certificates_folder() / f"{key}.json"


def certificates_folder() -> Path:
    """Folder of this machine's certificates."""
    return cache_dir() / "certificates"


def find_certificate(dataset_checksum: str, user_model: str, llm: str, fingerprint: str) -> Certificate | None:
    """The certificate of a population; None where it has not been measured on this machine.

    Raises:
        RecordingError: The certificate file is damaged.
    """
    path = certificate_path(dataset_checksum, user_model, llm, fingerprint)
    return read_certificate(path) if path.exists() else None


class _Listener:
    """Answers uniformly and records the prompts."""

    name = "fingerprint"

    def __init__(self) -> None:
        self._llm, self.usage = UniformLLM(), Usage()
        self.prompts: list[Prompt] = []

    def generate(self, prompts: Sequence[Prompt]) -> list[Completion]:
        """Record the prompts and answer them."""
        self.prompts += prompts
        return self._llm.generate(prompts)


def fingerprint(make: Callable[[LLM], UserModel]) -> str:
    """Hash of a user model's prompts and of its answers to a few pages of a synthetic world, as 16 hex digits.

    Args:
        make: Builds the user model for that world ("synthetic") on the given language model.
    """
    listener = _Listener()
    users = make(listener)
    people = np.arange(_PROBES)
    users.reset(people, people, people.astype(np.uint64))
    reaction = users.react(people, np.arange(_PROBES * _PROBE_ITEMS).reshape(_PROBES, _PROBE_ITEMS))
    digest = hashlib.sha256(b"".join(prompt_keys("", listener.prompts)))
    for numbers in (reaction.watch_BK, reaction.rating_BKR):
        digest.update(np.round(numbers, 6).tobytes())  # the last bits differ between machines
    return digest.hexdigest()[:16]
