"""Interventions in a society by date: adverts, new items, policy switches, changed people, links, posts.

This module only declares what happens when; the society carries it out. The file is TOML, one table per intervention:

    [[advert]]
    round = 3
    item = "Toy Story (1995)"
    until = 5

docs/interventions.md has an example of each kind.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from recsim_llm.agents.society.graph import SocialGraph
from recsim_llm.data.dataset import Catalogue, Dataset
from recsim_llm.errors import ConfigError, RecordingError
from recsim_llm.experiments.simulation.interventions.intervention_entries import InterventionEntry, Names, near
from recsim_llm.types import EMPTY, Persona
from recsim_llm.untrusted import read_json, read_toml

PLAN = "interventions.json"
"""File of a run's folder that holds the interventions of its arm."""
CONTROL = "-control"
"""Suffix of the name of the run without the interventions."""
PLATFORM = -1
"""Author of a post that no user wrote."""
TRAITS = ("activity", "conformity", "diversity")
MAX_TEXT_BYTES = 1024
"""Most bytes (UTF-8) of a text or slogan: models read it, some of them once per reader."""


@dataclass(frozen=True, slots=True)
class Advert:
    """An item stands in the first slot of every page.

    Attributes:
        round: First round, from 1.
        item: Item id.
        until: Last round, >= round.
        slogan: Text shown beside it, "" for none.
    """

    round: int
    item: int
    until: int
    slogan: str = ""


@dataclass(frozen=True, slots=True)
class NewItem:
    """An item of the catalogue becomes available: before that round no policy may show it.

    Attributes:
        round: Round of its appearance, from 1.
        item: Item id.
    """

    round: int
    item: int


@dataclass(frozen=True, slots=True)
class PolicySwitch:
    """Another policy serves the pages from that round on.

    Attributes:
        round: First round, from 1.
        policy: Name of the policy.
    """

    round: int
    policy: str


@dataclass(frozen=True, slots=True)
class Profile:
    """A person changes, from that round on. None means unchanged.

    Attributes:
        round: First round, from 1.
        user: User id.
        activity, conformity, diversity: Trait levels 1..3.
        age: Years, 0 to 150.
        occupation: In words.
        likes, dislikes: Genres of the catalogue; they replace the previous ones.
    """

    round: int
    user: int
    activity: int | None = None
    conformity: int | None = None
    diversity: int | None = None
    age: int | None = None
    occupation: str | None = None
    likes: tuple[str, ...] | None = None
    dislikes: tuple[str, ...] | None = None

    def changes(self) -> dict[str, Any]:
        """The changed fields, by their names in `Persona`."""
        values = {field.name: getattr(self, field.name) for field in fields(self)[2:]}
        return {name: value for name, value in values.items() if value is not None}

    def apply(self, persona: Persona) -> Persona:
        """Return the changed person; a genre that is now liked is no longer disliked, and vice versa."""
        changes = self.changes()
        kept: dict[str, Any] = {}
        for name, other in (("likes", "dislikes"), ("dislikes", "likes")):
            if name in changes and other not in changes:
                kept[other] = tuple(genre for genre in getattr(persona, other) if genre not in changes[name])
        return replace(persona, **changes, **kept)


@dataclass(frozen=True, slots=True)
class Link:
    """Two people become acquainted, or strangers.

    Attributes:
        round: Round, from 1.
        user_1, user_2: User ids, different.
        relation: What user_1 is to user_2, "" where removed.
        closeness: In (0, 1], 0 where removed.
        removed: Whether an acquaintance ends.
    """

    round: int
    user_1: int
    user_2: int
    relation: str = ""
    closeness: float = 0.0
    removed: bool = False

    def apply(self, graph: SocialGraph) -> SocialGraph:
        """Return the changed graph.

        Raises:
            ConfigError: The edge to remove does not exist.
        """
        if self.removed:
            return graph.without_edge(self.user_1, self.user_2)
        return graph.with_edge(self.user_1, self.user_2, self.relation, self.closeness)


@dataclass(frozen=True, slots=True)
class Post:
    """Something is posted.

    Attributes:
        round: Round, from 1.
        author: User id, or PLATFORM.
        text: The words.
        to: Who reads it: user ids, "everybody", or the author's "neighbours".
        item: The item that it is about, EMPTY for none.
        stars: Stars that it gives the item, 0 for none; these influence statistical people, who read no words.
    """

    round: int
    author: int
    text: str
    to: tuple[int, ...] | Literal["everybody", "neighbours"]
    item: int = EMPTY
    stars: float = 0.0


Intervention = Advert | NewItem | PolicySwitch | Profile | Link | Post

KINDS: dict[str, type[Intervention]] = {
    "advert": Advert,
    "new_item": NewItem,
    "policy": PolicySwitch,
    "profile": Profile,
    "link": Link,
    "post": Post,
}
"""Names of the tables in a file, and the class of each."""


def load_interventions(path: Path, dataset: Dataset, policies: Collection[str]) -> tuple[Intervention, ...]:
    """Read a file of interventions (see the module).

    Users are named by raw id; items by raw id, or by title with year, such as "Toy Story (1995)", if only one has it.

    Args:
        path: The TOML file.
        dataset: Data set with the users, items and genres.
        policies: Names of the policies that can be switched to.

    Returns:
        The interventions sorted by round; within a round by kind, in the order of `KINDS`, then as in the file.

    Raises:
        ConfigError: The file cannot be read, or an entry breaks a rule; the message names file, entry and value. Two
            entries contradict each other: adverts that overlap, an item that appears twice or is advertised before it
            appears, two policies starting in the same round.
    """
    names = Names(dataset, policies)
    order = {kind: place for place, kind in enumerate(KINDS.values())}
    found = sorted((_read(entry) for entry in _entries(path, names)), key=lambda one: (one.round, order[type(one)]))
    _check_together(path, found, dataset.catalogue)
    return tuple(found)


def to_json(interventions: Sequence[Intervention]) -> list[dict[str, Any]]:
    """Return JSON values, one object per intervention: kind, and fields by name. Ids are catalogue and user ids."""
    names = {kind: name for name, kind in KINDS.items()}
    return [{"kind": names[type(one)], **_plain(asdict(one))} for one in interventions]


def from_json(values: Sequence[Mapping[str, Any]]) -> tuple[Intervention, ...]:
    """Return the interventions that `to_json` wrote.

    Raises:
        RecordingError: A kind or a field is unknown, or one is missing.
    """
    return tuple(_restored(value) for value in values)


def kept_plan(folder: Path) -> tuple[Intervention, ...]:
    """The interventions of a run's arm.

    Raises:
        RecordingError: The file is damaged.
    """
    path = folder / PLAN
    try:
        return from_json(read_json(path)) if path.exists() else ()
    except (OSError, ValueError, TypeError, LookupError, AttributeError) as error:
        raise RecordingError(f"{path} is damaged ({error}). Record the run again in another folder.") from error


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


def _restored(value: Mapping[str, Any]) -> Intervention:
    named = {name: tuple(v) if isinstance(v, list) else v for name, v in value.items() if name != "kind"}
    try:
        kind: Any = KINDS[value["kind"]]
        restored: Intervention = kind(**named)
    except (KeyError, TypeError) as error:
        raise RecordingError(
            f"The recorded intervention {dict(value)!r} cannot be read ({error}). Another version may have written it."
        ) from error
    return restored


def _entries(path: Path, names: Names) -> list[InterventionEntry]:
    tables = _toml(path)
    found = []
    for kind, value in tables.items():
        if kind not in KINDS:
            raise ConfigError(
                f"{path}: '{kind}' is no kind of intervention.{near(kind, KINDS)} Kinds are: {', '.join(KINDS)}."
            )
        if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
            raise ConfigError(f"{path}: '{kind}' is no list of tables. Write [[{kind}]], with two brackets.")
        found += [
            InterventionEntry(f"{path}, [[{kind}]] number {n}", kind, one, names) for n, one in enumerate(value, 1)
        ]
    return found


def _toml(path: Path) -> dict[str, Any]:
    try:
        return read_toml(path)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror}). Name a TOML file of interventions.") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 text ({error}). Save it as UTF-8.") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not TOML: {error}. Correct it; texts stand in quotes.") from error


def _read(entry: InterventionEntry) -> Intervention:
    entry.check_keys([field.name for field in fields(KINDS[entry.kind])])
    return _READERS[entry.kind](entry)


def _check_together(path: Path, found: Sequence[Intervention], catalogue: Catalogue) -> None:
    """Check that no two entries contradict each other; `found` is sorted by round."""
    adverts = [one for one in found if isinstance(one, Advert)]
    for before, after in pairwise(adverts):
        if after.round <= before.until:
            why = f"the advert of round {after.round} begins before that of round {before.round} ends"
            raise ConfigError(f"{path}: {why} (until = {before.until}). There is one first slot; move one of them.")
    for one, two in pairwise(one for one in found if isinstance(one, PolicySwitch)):
        if one.round == two.round:
            both = f"'{one.policy}' and '{two.policy}'"
            raise ConfigError(f"{path}: the policies {both} both begin in round {one.round}. Keep one of them.")
    _check_appearances(path, [one for one in found if isinstance(one, NewItem)], adverts, catalogue)


def _check_appearances(path: Path, news: Sequence[NewItem], adverts: Sequence[Advert], catalogue: Catalogue) -> None:
    appears: dict[int, int] = {}
    for new in news:
        if new.item in appears:
            both = f"rounds {appears[new.item]} and {new.round}"
            raise ConfigError(f"{path}: '{catalogue[new.item].label}' appears in {both}. An item is new once.")
        appears[new.item] = new.round
    for advert in adverts:
        if advert.round < appears.get(advert.item, 0):
            why = f"is advertised in round {advert.round}, before it appears in round {appears[advert.item]}"
            raise ConfigError(f"{path}: '{catalogue[advert.item].label}' {why}. Change one of the two rounds.")


def _advert(entry: InterventionEntry) -> Advert:
    first = entry.round()
    until = entry.whole("until", low=first)
    return Advert(first, entry.item(), until, entry.text("slogan", MAX_TEXT_BYTES) if "slogan" in entry else "")


def _new_item(entry: InterventionEntry) -> NewItem:
    return NewItem(entry.round(), entry.item())


def _policy(entry: InterventionEntry) -> PolicySwitch:
    return PolicySwitch(entry.round(), entry.policy())


_PROFILE_KEYS = [field.name for field in fields(Profile)[2:]]


def _profile(entry: InterventionEntry) -> Profile:
    changes: dict[str, Any] = {name: entry.whole(name, 1, 3) for name in TRAITS if name in entry}
    if "age" in entry:
        changes["age"] = entry.whole("age", 0, 150)
    if "occupation" in entry:
        changes["occupation"] = entry.text("occupation", MAX_TEXT_BYTES)
    changes |= {name: entry.genres(name) for name in ("likes", "dislikes") if name in entry}
    for genre in changes.get("likes", ()):
        if genre in changes.get("dislikes", ()):
            entry.fail("dislikes", genre, "is among the likes as well", "Decide.")
    profile = Profile(entry.round(), entry.user("user"), **changes)
    if not changes:
        entry.fail("user", entry.table["user"], "is not changed", f"Add one of {', '.join(_PROFILE_KEYS)}.")
    return profile


def _link(entry: InterventionEntry) -> Link:
    first, one, two = entry.round(), entry.user("user_1"), entry.user("user_2")
    if one == two:
        entry.fail("user_2", entry.table["user_2"], "is the same person as user_1", "Name two.")
    removed = entry.flag("removed") if "removed" in entry else False
    if not removed:
        return Link(first, one, two, entry.relation(), entry.closeness())
    for key in ("relation", "closeness"):
        if key in entry:
            entry.fail(key, entry.table[key], "means nothing where a link is removed", "Leave it out.")
    return Link(first, one, two, removed=True)


def _post(entry: InterventionEntry) -> Post:
    author = PLATFORM if entry.needed("author") == "platform" else entry.user("author")
    to = entry.readers()
    if to == "neighbours" and author == PLATFORM:
        entry.fail("to", to, "does not go with the platform, which has none", 'Write to = "everybody".')
    item = entry.item() if "item" in entry else EMPTY
    stars = entry.stars() if "stars" in entry else 0.0
    if stars and item == EMPTY:
        entry.fail("stars", stars, "stands without an item", "Add the item that gets them.")
    return Post(entry.round(), author, entry.text("text", MAX_TEXT_BYTES), to, item, stars)


_READERS: dict[str, Callable[[InterventionEntry], Intervention]] = {
    "advert": _advert,
    "new_item": _new_item,
    "policy": _policy,
    "profile": _profile,
    "link": _link,
    "post": _post,
}
