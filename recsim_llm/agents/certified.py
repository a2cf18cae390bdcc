"""Whether a population has a fidelity certificate on this machine, and where such certificates are kept.

A certificate belongs to a data set, a user model and a language model *as they are*: the fingerprint holds what the
fitting makes of a small invented world, and the very prompts there, so that a changed prompt or fit needs a new one.
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
    """Where the certificate of a population is kept on this machine."""
    key = hashlib.sha256("\n".join((dataset_checksum, user_model, llm, fingerprint)).encode()).hexdigest()[:32]
    return certificates_folder() / f"{key}.json"


def certificates_folder() -> Path:
    """The certificates of this machine."""
    return cache_dir() / "certificates"


def find_certificate(dataset_checksum: str, user_model: str, llm: str, fingerprint: str) -> Certificate | None:
    """The certificate of a population, None where nobody has measured it here.

    Raises:
        RecordingError: There is one, and it is damaged.
    """
    path = certificate_path(dataset_checksum, user_model, llm, fingerprint)
    return read_certificate(path) if path.exists() else None


class _Listener:
    """Answers uniformly and remembers what it was asked."""

    name = "fingerprint"

    def __init__(self) -> None:
        self._llm, self.usage = UniformLLM(), Usage()
        self.prompts: list[Prompt] = []

    def generate(self, prompts: Sequence[Prompt]) -> list[Completion]:
        """Answer, and remember."""
        self.prompts += prompts
        return self._llm.generate(prompts)


def fingerprint(make: Callable[[LLM], UserModel]) -> str:
    """What a user model is made of, as 16 hex digits: its answers to a few pages of an invented world, and its prompts.

    Args:
        make: Makes it for that world ("synthetic"), on the given language model.
    """
    listener = _Listener()
    users = make(listener)
    people = np.arange(_PROBES)
    users.reset(people, people, people.astype(np.uint64))
    reaction = users.react(people, np.arange(_PROBES * _PROBE_ITEMS).reshape(_PROBES, _PROBE_ITEMS))
    digest = hashlib.sha256(b"".join(prompt_keys("", listener.prompts)))
    for numbers in (reaction.watch_BK, reaction.rating_BKR):
        digest.update(np.round(numbers, 6).tobytes())  # the last bits differ from machine to machine
    return digest.hexdigest()[:16]
