"""Invented titles and descriptions: every title names a place that does not exist."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from recsim_llm.types import Ints


def _words(joined: str) -> tuple[str, ...]:
    return tuple(joined.split("|"))


_ADJECTIVES = _words(
    "Copper|Silent|Hollow|Amber|Broken|Crimson|Distant|Drowned|Electric|Feathered|Forgotten|Frozen|Gilded|Glass|Hidden|"
    "Iron|Ivory|Last|Lonely|Marble|Midnight|Paper|Pale|Patient|Quiet|Restless|Salted|Scarlet|Second|Secret|Seventh|"
    "Sleeping|Stolen|Tangled|Tin|Velvet|Wandering|Whispering|Winter|Wooden"
)
_NOUNS = _words(
    "Orchard|Lantern|Harbour|Almanac|Bridge|Carousel|Cartographer|Choir|Clock|Compass|Courier|Engine|Ferry|Garden|"
    "Gramophone|Heir|Kite|Ledger|Library|Lighthouse|Loom|Mirror|Observatory|Organist|Parade|Pendulum|Piano|Postcard|"
    "Quarry|Railway|Regatta|Reservoir|Sparrow|Staircase|Telegraph|Tide|Umbrella|Violin|Well|Windmill"
)
_STARTS = _words("Vel|Tor|Mir|Quan|Bry|Zan|Osk|Ull|Kel|Dra|Phi|Gor|Hesk|Jun|Lor|Nym|Pol|Rith|Sev|Wen")
_MIDDLES = _words("a|e|i|o|u|ane|ira|olu|und|aster")
_ENDS = _words("m|th|dra|vik|sk|lume|nor|quet|ris|zell|pht|wynd|mora|tar|xil")
_PATTERNS = ("The {a} {n} of {p}", "{p} and the {a} {n}", "The {a} {n} at {p}", "A {a} {n} for {p}")

_HEROES = _words(
    "a retired clockmaker|two sisters|a ferry pilot|a night nurse|a failed magician|a young surveyor|an honest thief|"
    "a village teacher|three cousins|a radio operator|a widowed baker|a travelling dentist|"
    "an archivist|a lighthouse crew"
)

GENRES: dict[str, tuple[str, ...]] = {
    "Adventure": ("a race across uncharted islands", "an expedition that loses its map", "a long climb over the ice"),
    "Comedy": ("a chain of absurd misunderstandings", "a wedding where all goes wrong", "the silliest contest in town"),
    "Documentary": ("a year of patient observation", "old footage and frank interviews", "a record of vanishing work"),
    "Drama": ("a family that stopped talking", "a debt that has to be faced", "the price of an old promise"),
    "Horror": ("something that breathes behind the walls", "a curse that wakes at dusk", "a house nobody leaves"),
    "Mystery": ("a locked room and a missing letter", "a witness who remembers too much", "an unsolved disappearance"),
    "Romance": ("a love that comes too late", "letters between two shy strangers", "one summer of falling in love"),
    "Science Fiction": ("a signal from a dead planet", "a machine that dreams", "a colony ship far off its course"),
}
"""Phrases per genre from which descriptions are composed."""


def invent_titles(rng: np.random.Generator, count: int, places: Sequence[str]) -> tuple[str, ...]:
    """Distinct titles, the i-th of which names `places[i]`."""
    pairs = rng.permutation(len(_ADJECTIVES) * len(_NOUNS))
    patterns = rng.integers(len(_PATTERNS), size=count)
    titles = []
    for i, (place, pattern) in enumerate(zip(places, patterns, strict=True)):
        adjective, noun = divmod(int(pairs[i % len(pairs)]), len(_NOUNS))
        titles.append(_PATTERNS[pattern].format(a=_ADJECTIVES[adjective], n=_NOUNS[noun], p=place))
    return tuple(titles)


def invent_places(rng: np.random.Generator, count: int) -> tuple[str, ...]:
    """Distinct names of places."""
    shape = (len(_STARTS), len(_MIDDLES), len(_ENDS))
    sizes = int(np.prod(shape))
    order = rng.permutation(sizes)
    names = []
    for i in range(count):
        start, middle, end = np.unravel_index(int(order[i % sizes]), shape)
        # Past the last syllables, a second word keeps names apart.
        second = f" {_STARTS[i // sizes % len(_STARTS)]}{'e' * (i // sizes // len(_STARTS))}" if i >= sizes else ""
        names.append(f"{_STARTS[start]}{_MIDDLES[middle]}{_ENDS[end]}{second}")
    return tuple(names)


def invent_description(place: str, genres: Sequence[str], numbers: Ints) -> str:
    """One sentence that implies the genres without naming them.

    Args:
        place: The setting.
        genres: Keys of GENRES, at least one.
        numbers: (1 + G,) nonnegative numbers that pick the words.
    """
    hero = _HEROES[int(numbers[0]) % len(_HEROES)]
    phrases = [
        GENRES[genre][int(number) % len(GENRES[genre])] for genre, number in zip(genres, numbers[1:], strict=False)
    ]
    plot = phrases[0] if len(phrases) == 1 else f"{', '.join(phrases[:-1])} and {phrases[-1]}"
    return f"{hero[0].upper()}{hero[1:]} in {place}: {plot}."
