"""Finds third-party code: a class named as `module:Class`, or an entry point of an installed package.

Nothing is imported before its name is used: entry points are read only if a name is not built in, or for a listing.
"""

from __future__ import annotations

import importlib
import inspect
import os
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import EntryPoint, distributions
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from recsim_llm.checked import near, shown
from recsim_llm.errors import ConfigError, RecsimError
from recsim_llm.spec import split_name

POLICIES, AGENTS, USER_MODELS, BACKENDS, REWARDS = (
    f"recsim_llm.{group}" for group in ("policies", "agents", "user_models", "backends", "rewards")
)
"""Groups of entry points, as written in a package's pyproject.toml: [project.entry-points."recsim_llm.policies"]."""

OBJECT = "object:"
"""Prefix of a run's user model or policy if a Python caller passed it as an object; followed by its class."""

_LONGEST = 300  # most characters of a third-party error that a message repeats


def object_name(given: object) -> str:
    """The name in a run of a user model or policy that was passed as an object."""
    return f"{OBJECT}{type(given).__module__}.{type(given).__qualname__}"


def is_class_path(name: str) -> bool:
    """Whether a name has the form `module:Class`; does not check that the class exists.

    >>> is_class_path("my_package.module:MyPolicy"), is_class_path("../module:MyPolicy"), is_class_path("ease")
    (True, False, False)
    """
    module, colon, attribute = name.partition(":")
    return bool(colon) and all(part.isidentifier() for part in (*module.split("."), attribute))


def plugin_names(group: str) -> list[str]:
    """Names that installed packages register under a group of entry points, sorted; nothing is imported."""
    return sorted(_entry_points(group))


def load_plugin(name: str, group: str, what: str) -> Any:
    """Load the object of a name that is not built in; None if no package registers it.

    Args:
        name: `module:Class`, or the name of an entry point. A module is searched on the Python path, then in the
            working directory.
        group: One of the groups above.
        what: Kind of the object, for messages: "a policy".

    Raises:
        ConfigError: There is no such module or attribute, importing it fails, or two packages register this name.

    >>> load_plugin("nobody", POLICIES, "a policy") is None
    True
    """
    if is_class_path(name):
        module, attribute = split_name(name)
        return _attribute(_imported(module, name), attribute, what)
    brought = _entry_points(group).get(name, [])
    if len(brought) > 1:
        packages = ", ".join(sorted(_package(point) for point in brought))
        raise ConfigError(f"{shown(name)} is {what} of {packages}. Uninstall all but one, or write module:Class.")
    if not brought:
        return None
    point = brought[0]
    return _attribute(_imported(point.module, f"{name} of {_package(point)}"), point.attr, what)


def check_class(found: Any, name: str, members: Sequence[str], what: str) -> None:
    """Refuse an object that is not a class, or lacks members; none of its code is called.

    Raises:
        ConfigError: It is refused; the message says what is missing.
    """
    if not inspect.isclass(found):
        raise ConfigError(f"{name} is no class but {shown(found)}. Name a class that is {what} (docs/plugins.md).")
    missing = [member for member in members if not hasattr(found, member)]
    if missing:
        raise ConfigError(f"{name} is not {what}: it lacks {', '.join(missing)}. Add them (docs/plugins.md).")


@contextmanager
def running_plugin(name: str) -> Iterator[None]:
    """Context around calls of third-party code: turns its exceptions into one sentence with the place; ours pass.

    Raises:
        ConfigError: The code raised something else; that error is the cause.
    """
    try:
        yield
    except RecsimError:
        raise
    except Exception as error:
        raise ConfigError(f"{name} failed with {_told(error)}. Mend it, then run again.") from error


def refuse_within(name: str, folder: Path) -> Path | None:
    """Refuse a `module:Class` whose module lies in a folder, before any of it is imported.

    Args:
        name: `module:Class`.
        folder: Folder from which no code may be loaded, as it may be untrusted.

    Returns:
        The module's file; None if it is not found as a file.

    Raises:
        ConfigError: The module, or a package that contains it, lies in the folder.
    """
    file = None
    for spec in _specs(split_name(name)[0]):
        file = Path(spec.origin) if spec.origin and spec.has_location else None
        for place in [*([file] if file else []), *map(Path, spec.submodule_search_locations or ())]:
            if place.resolve().is_relative_to(folder.resolve()):
                raise ConfigError(
                    f"{name} would be imported from {place}, which came with the runs in {folder}: nothing of it is "
                    "run. If you trust it, move it out of there."
                )
    return file


def _specs(module: str) -> Iterator[ModuleSpec]:
    """Specs of a module's packages and of itself, outermost first; unlike `find_spec`, imports no package."""
    name, path = "", [*sys.path, os.getcwd()]
    for part in module.split("."):
        name = f"{name}.{part}" if name else part
        spec = PathFinder.find_spec(name, path)
        if spec is None:
            return
        yield spec
        path = list(spec.submodule_search_locations or ())


def _entry_points(group: str) -> dict[str, list[EntryPoint]]:
    here = Path.cwd()
    # Metadata in the working directory are ignored: they may have come with somebody else's runs.
    places = [place for place in sys.path if place and Path(place).absolute() != here]
    found: dict[str, dict[str, EntryPoint]] = {}
    for distribution in distributions(path=places):
        for point in distribution.entry_points.select(group=group):
            # The first of each package, as a package may be on the path twice.
            found.setdefault(point.name, {}).setdefault(distribution.name, point)
    return {name: list(points.values()) for name, points in found.items()}


def _package(point: EntryPoint) -> str:
    return point.dist.name if point.dist else point.value


def look_here_too(module: str) -> None:
    """Allow a module that is found nowhere else to be imported from the working directory, as with `python -m`.

    The directory is appended to the path, so that no file in it can shadow an installed package, and stays there,
    because modules may import others later.
    """
    here, top = os.getcwd(), module.partition(".")[0]
    if top not in sys.modules and here not in sys.path and find_spec(top) is None:
        sys.path.append(here)
        importlib.invalidate_caches()


def _imported(module: str, name: str) -> Any:
    try:
        look_here_too(module)
        return importlib.import_module(module)
    except (Exception, SystemExit) as error:
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        if missing and f"{module}.".startswith(f"{missing}."):
            raise ConfigError(
                f"{name} needs the module '{missing}', and there is none among the installed packages, on PYTHONPATH "
                f"or in {os.getcwd()}. Install it, or run in the folder that holds it."
            ) from error
        raise ConfigError(f"{name} cannot be imported: {_told(error)}. Mend it, then run again.") from error


def _attribute(module: Any, attribute: str, what: str) -> Any:
    found = getattr(module, attribute, None)
    if found is None:
        members = [name for name, value in vars(module).items() if callable(value)]
        hint = near(attribute, members)
        raise ConfigError(
            f"The module '{module.__name__}' has no '{attribute}'.{hint} Name something of it that is {what}, as "
            "module:NAME."
        )
    return found


def _told(error: BaseException) -> str:
    """An error of third-party code in one line, with the innermost code line outside Python's import machinery."""
    text = " ".join(str(error).split())[:_LONGEST]
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith("<")]
    own = [frame for frame in frames if "site-packages" not in frame.filename] or frames
    place = f" ({Path(own[-1].filename).name}, line {own[-1].lineno})" if own else ""
    return f"{type(error).__name__}: {text}{place}" if text else f"{type(error).__name__}{place}"
