"""The prompt texts of an agent kind: the package's, or those of a folder in their place (`?prompts=FOLDER`)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from string import Template

from recsim_llm.agents.llm.prompts_text import Phrase, file_names, phrases, prompt_text, split_phrases, template
from recsim_llm.errors import ConfigError, TooLargeError
from recsim_llm.runs.side_files import ASIDE
from recsim_llm.untrusted import read_bytes

OPTION = "prompts"
"""The option of a kind that names a folder of texts."""

MOST_TEXT = 64 << 10
"""Most bytes of one file; the package's have 2,000 at most."""

_PHRASES = "phrases"


@dataclass(frozen=True)
class KindTexts:
    """The prompt texts of a kind.

    Attributes:
        kind: Name of the kind.
        own: Texts that replace the package's, by file name without `.md`.

    >>> KindTexts("agent4rec", {"remind": "Again."}).text("remind")
    'Again.'
    """

    kind: str
    own: Mapping[str, str] = field(default_factory=dict)

    def text(self, name: str) -> str:
        """A text without placeholders."""
        return self.own[name] if name in self.own else prompt_text(self.kind, name)

    def template(self, name: str) -> Phrase:
        """A text with placeholders."""
        return self._templates.get(name) or template(self.kind, name)

    @cached_property
    def phrases(self) -> Mapping[str, Phrase]:
        """The one-line phrases; those that the folder's `phrases.md` leaves out are the package's."""
        own = split_phrases(self.own.get(_PHRASES, ""))
        return {**phrases(self.kind), **{name: Phrase(text) for name, text in own}}

    @property
    def checksum(self) -> str:
        """12 hex digits of the texts that replace the package's; "" where there are none."""
        if not self.own:
            return ""
        return hashlib.sha256(json.dumps([self.kind, sorted(self.own.items())]).encode()).hexdigest()[:12]

    def files(self) -> dict[str, bytes]:
        """The texts that replace the package's, as a folder holds them, by file name."""
        return {f"{name}.md": f"{text}\n".encode() for name, text in self.own.items()}

    @cached_property
    def _templates(self) -> Mapping[str, Phrase]:
        return {name: Phrase(text) for name, text in self.own.items()}


def read_kind_texts(kind: str, folder: str) -> KindTexts:
    """Read the texts of a kind from a folder that holds any of its files; "" takes all from the package.

    Raises:
        ConfigError: The folder or a file cannot be read, is too large or not UTF-8; the kind has no such file or
            phrase; or the placeholders of a text are not those of the package's.
    """
    if not folder:
        return KindTexts(kind)
    names = file_names(kind)
    known = f"Files of '{kind}': {', '.join(f'{name}.md' for name in names)}."
    try:
        found = sorted(path for path in Path(folder).iterdir() if not path.name.startswith("."))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{OPTION}={folder} is no folder that can be read ({error}). {known}") from None
    paths = [path for path in found if path.suffix != ASIDE]  # damaged files of a run
    if not paths:
        raise ConfigError(f"{OPTION}={folder} holds no text: leave the option out, or put one there. {known}")
    for path in paths:
        if path.suffix != ".md" or path.stem not in names or not path.is_file():
            raise ConfigError(f"{path} is no file of prompts. {known}")
    return KindTexts(kind, {path.stem: _read(kind, path) for path in paths})


def _read(kind: str, path: Path) -> str:
    try:
        text = read_bytes(path, MOST_TEXT).decode("utf-8-sig")
    except TooLargeError:
        raise ConfigError(
            f"{path} has more than {MOST_TEXT:,} bytes, the most that a text of a prompt may have."
        ) from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read as text in UTF-8 ({error}).") from None
    text = text.replace("\r\n", "\n").rstrip("\n")
    if path.stem != _PHRASES:
        _check_placeholders(str(path), text, prompt_text(kind, path.stem))
        return text
    known = {name: phrase.template for name, phrase in phrases(kind).items()}
    seen = set[str]()
    for name, phrase in split_phrases(text):
        if name not in known:
            raise ConfigError(
                f"{path}: there is no phrase '{name}'. A line is 'name: phrase', with {', '.join(known)}."
            )
        if name in seen:
            raise ConfigError(f"{path}: the phrase '{name}' is there twice. Keep one of the two.")
        seen.add(name)
        _check_placeholders(f"{path}, '{name}'", phrase, known[name])
    return text


def _check_placeholders(where: str, text: str, packaged: str) -> None:
    wanted = Template(packaged).get_identifiers()
    allowed = f"It has {', '.join(f'${name}' for name in wanted)}" if wanted else "It has no placeholder"
    for found in Template.pattern.finditer(text):
        name = found["named"] or found["braced"]
        if name is None:
            raise ConfigError(f"{where}: a '$' that begins no placeholder. {allowed}, and no other '$'.")
        if name not in wanted:
            raise ConfigError(f"{where}: unknown placeholder ${name}. {allowed}, and no other '$'.")
    missing = [name for name in wanted if name not in Template(text).get_identifiers()]
    if missing:
        raise ConfigError(f"{where}: the placeholder ${missing[0]} is missing. {allowed}, each at least once.")
