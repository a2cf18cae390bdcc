"""Personas from a file: what it says goes, what it leaves out stays, and what is wrong is named."""

from __future__ import annotations

import json

import pytest

from recsim_llm.agents.fitted_sources import personas
from recsim_llm.agents.population import make_population
from recsim_llm.data import load_dataset
from recsim_llm.errors import ConfigError, DataError
from recsim_llm.testing.scripted import ScriptedLLM

RAW = load_dataset("synthetic").people[3].raw_id
GOOD = {"raw_id": RAW, "activity": 3, "conformity": 1, "diversity": 2, "occupation": "librarian"}


def file(tmp_path, *entries):
    path = tmp_path / "people.json"
    path.write_text(json.dumps(list(entries)), encoding="utf-8")
    return str(path)


def test_a_described_person_is_as_described_and_others_as_derived(tmp_path):
    told, derived = personas("synthetic", file(tmp_path, GOOD)), personas("synthetic")
    assert (told[3].activity, told[3].conformity, told[3].diversity) == (3, 1, 2)
    assert told[3].occupation == "librarian"
    assert told[3].likes == derived[3].likes
    assert told[:3] == derived[:3]
    users = make_population("synthetic", "statistical", personas_file=file(tmp_path, GOOD)).users
    assert users.parameters.activity[3] == 3


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"activity": None}, "activity must be a whole number between 1 and 3, not None"),
        ({"activity": 4}, "activity must be a whole number between 1 and 3, not 4"),
        ({"raw_id": "nobody"}, "no person 'nobody'"),
        ({"likes": ["Polka"]}, "Polka, which is no genre"),
        ({"liked_items": [10**6]}, "item ids are 0"),
        ({"mood": "good"}, "unknown fields: mood"),
    ],
)
@pytest.mark.parametrize("kind", ["agent4rec", "statistical"])
def test_bad_files_are_named_before_the_first_call(tmp_path, change, said, kind):
    with pytest.raises(DataError, match=said):
        make_population("synthetic", kind, ScriptedLLM([]), personas_file=file(tmp_path, {**GOOD, **change}))


def test_a_missing_trait_is_named(tmp_path):
    entry = {k: v for k, v in GOOD.items() if k != "conformity"}
    with pytest.raises(DataError, match="person 1.*lacks the trait conformity"):
        personas("synthetic", file(tmp_path, entry))


def test_no_list_and_no_file(tmp_path):
    with pytest.raises(DataError, match="cannot be read"):
        personas("synthetic", str(tmp_path / "none.json"))
    (tmp_path / "x.json").write_text("{}")
    with pytest.raises(DataError, match="no JSON list"):
        personas("synthetic", str(tmp_path / "x.json"))


def test_kinds_say_what_a_data_set_lacks_before_the_first_call(tmp_path):
    rows = [f"u{u}\ti{i}\t{1 + (u + i) % 5}\n" for u in range(6) for i in range(12)]
    (tmp_path / "x.inter").write_text("user_id:token\titem_id:token\trating:float\n" + "".join(rows))
    for kind in ("agent4rec", "recagent", "agentcf"):
        with pytest.raises(ConfigError, match="needs item titles"):
            make_population(str(tmp_path), kind, ScriptedLLM([]))
