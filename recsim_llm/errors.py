"""Errors and warnings of the library; each message says what to do next."""

from __future__ import annotations


class RecsimError(Exception):
    """Base class: `except RecsimError` catches every error that this library raises on purpose."""


class MissingExtraError(RecsimError, ImportError):
    """A feature needs a package that is not installed.

    Args:
        package: Import name of the missing package.
        extra: The extra of `recsim-llm` that installs it.
        feature: What the user was trying to do.
    """

    def __init__(self, package: str, extra: str, feature: str) -> None:
        super().__init__(
            f"{feature} needs the package '{package}', which is not installed. "
            f"Install it with: pip install 'recsim-llm[{extra}]'"
        )


class ConfigError(RecsimError, ValueError):
    """An option or argument has an invalid value."""


class DataError(RecsimError, ValueError):
    """A data set breaks the format; the message names file, line or field, and the remedy."""


class TooLargeError(DataError):
    """A file needs more memory than allowed, or is nested too deep; the message says how to allow more."""


class DownloadError(RecsimError):
    """A file could not be fetched, or its checksum is wrong."""


class InvalidActionError(RecsimError, ValueError):
    """A page contains an item outside the catalogue, or repeats one where that is forbidden."""


class SessionEndedError(RecsimError, RuntimeError):
    """`step` was called on a session that has ended, or before the first `reset`."""


class LLMError(RecsimError):
    """A backend could not answer; errors are never returned as answers."""


class BudgetError(RecsimError):
    """A job has reached its budget; its recordings stay, and it can be resumed."""


class ModelNotFoundError(LLMError):
    """The model is not on this machine; the message says how to get it."""


class UntrustedCodeError(LLMError):
    """A model comes with Python code of its own, which was not allowed to run."""


class RecordingError(RecsimError):
    """A run folder is missing, damaged, of another version, or differs from its replay."""


class DamagedRunError(RecordingError):
    """A run's `run.json` cannot be read; `--resume` with the command that made the run writes it again."""


class RequirementError(RecsimError):
    """A certificate does not meet what was required of it; the message names each metric."""


class SetAsideWarning(UserWarning):
    """An unusable file was renamed and a new one created; the message names both."""


class IsolationWarning(UserWarning):
    """Some people of a society have no acquaintances, so they neither chat nor post; the message names some."""


class UncertifiedWarning(UserWarning):
    """An environment's population has no fidelity certificate on this machine, or failed it."""


class UnconvergedWarning(UserWarning):
    """A training did not converge: it used all its allowed updates, or none of them helped."""
