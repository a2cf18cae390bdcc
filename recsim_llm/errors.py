"""Every error a user of the library can meet, each with a sentence that says what to do next."""

from __future__ import annotations


class RecsimError(Exception):
    """The root: `except RecsimError` catches whatever this library raises on purpose."""


class MissingExtraError(RecsimError, ImportError):
    """A feature needs a package that is not installed.

    Args:
        package: Import name of the missing package.
        extra: The extra of `recsim-llm` that brings it.
        feature: What the user was trying to do.
    """

    def __init__(self, package: str, extra: str, feature: str) -> None:
        super().__init__(
            f"{feature} needs the package '{package}', which is not installed. "
            f"Install it with: pip install 'recsim-llm[{extra}]'"
        )


class ConfigError(RecsimError, ValueError):
    """An option or argument has a value that cannot work."""


class DataError(RecsimError, ValueError):
    """A data set breaks the format; the message names file, line or field, and the way out."""


class TooLargeError(DataError):
    """A file asks for more memory than is given to it, or is nested too deep; the message says how to allow more."""


class DownloadError(RecsimError):
    """A file could not be fetched, or is not the file that was expected."""


class InvalidActionError(RecsimError, ValueError):
    """A page holds an item outside the catalogue, or repeats one where that is forbidden."""


class SessionEndedError(RecsimError, RuntimeError):
    """`step` was called on a session that has ended, or before the first `reset`."""


class LLMError(RecsimError):
    """A backend could not answer; nothing is ever returned *as* an error."""


class BudgetError(RecsimError):
    """A job has come to the ceiling that it was given; what it has recorded stays, and it can be resumed."""


class ModelNotFoundError(LLMError):
    """The model is not on this machine; the message says how to get it."""


class UntrustedCodeError(LLMError):
    """A model comes with Python code of its own, which runs only where that was allowed."""


class RecordingError(RecsimError):
    """A run folder is missing, damaged, of another version, or differs from what is replayed."""


class DamagedRunError(RecordingError):
    """A run's `run.json` cannot be read; `--resume` with the command that made the run writes it again."""


class RequirementError(RecsimError):
    """A certificate does not meet what was required of it; the message names each metric."""


class SetAsideWarning(UserWarning):
    """A file that cannot be used was renamed, and a new one begun; the message names both."""


class IsolationWarning(UserWarning):
    """People of a society know nobody in it, so that they neither chat nor post; the message names some."""


class UncertifiedWarning(UserWarning):
    """An environment's population has no fidelity certificate on this machine, or failed it."""


class UnconvergedWarning(UserWarning):
    """A training did not converge: it made all the updates that it was allowed, or none of them helped."""
