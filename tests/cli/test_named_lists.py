"""`recsim-llm policies`, `agents`, `backends`: everything that is registered is listed, with every option as it is."""

from __future__ import annotations

import inspect
import json
import re
import shlex
from dataclasses import replace

import pytest

from recsim_llm.agents.llm.kind_registry import AGENT_KINDS, KIND_WORDS, with_settings
from recsim_llm.agents.llm.memory.three_stage import ThreeStageOptions
from recsim_llm.agents.named_users import USER_MODELS, WRAPPERS, check_user_model
from recsim_llm.agents.population import make_population
from recsim_llm.checked import check_options
from recsim_llm.cli.command_line import main
from recsim_llm.cli.named_list import written
from recsim_llm.cli.verbs.names import agents_command, backends_command, policies_command
from recsim_llm.cli.verbs.names.agents_command import listed_agents
from recsim_llm.cli.verbs.names.backends_command import listed_backends
from recsim_llm.cli.verbs.names.policies_command import listed_policies
from recsim_llm.errors import ConfigError
from recsim_llm.experiments.simulation.config import SimulationConfig
from recsim_llm.language import NO_OPTIONS, UniformLLM, known_backends, make_llm
from recsim_llm.option_list import listed_options
from recsim_llm.policies import POLICIES, check_policy
from recsim_llm.policies.planners.planner import Planner
from recsim_llm.policies.retrain import RetrainOptions
from recsim_llm.spec import parse_spec

LISTS = {"policies": listed_policies, "agents": listed_agents, "backends": listed_backends}


def listed(things):
    """Values of options by name, read back from what is listed, by the grammar of lines of text."""
    return {
        thing.name: parse_spec("x?" + "&".join(option.written for option in thing.options)).options
        if thing.options
        else {}
        for thing in things
    }


def accepted(refusal):
    """The names of options that a refusal of an unknown one lists."""
    return set(re.search(r"Options: (.*)\.$", str(refusal))[1].split(", ")) - {"none"}


def test_every_policy_is_listed_with_every_option_it_accepts():
    found = listed(listed_policies())
    assert list(found) == list(POLICIES)
    for name, kind in POLICIES.items():
        with pytest.raises(ConfigError) as refused:
            kind.check_options({"no_such_option": 1})
        if name == "retrain":  # what it does not know it takes for an option of the policy inside, ease
            assert accepted(refused.value) == {"reg", "min_rating"}
            assert set(found[name]) == {"of", "every", "only", "warm"}
        else:
            assert set(found[name]) == accepted(refused.value)
        kind.check_options(found[name])


def test_the_defaults_of_policies_are_the_real_ones():
    found = listed(listed_policies())
    for name, kind in POLICIES.items():
        real = {f: getattr(kind.Options(), f) for f in found[name]} if issubclass(kind, Planner) else kind.options()
        rankers = {} if issubclass(kind, Planner) or name == "retrain" else {"min_rating": 0.0}
        assert found[name] == real | rankers, name
    assert found["ease"] == {"reg": 500.0, "min_rating": 0.0}
    assert found["billp"]["tell_exit"] is None
    assert found["retrain"]["of"] == RetrainOptions().of == "ease"


def test_every_backend_is_listed_with_every_option_it_accepts():
    found = listed(listed_backends())
    assert list(found) == list(known_backends())
    for name, make in known_backends().items():
        parameters = inspect.signature(make).parameters
        assert found[name] == {n: p.default for n, p in parameters.items() if n not in NO_OPTIONS}
        with pytest.raises(ConfigError) as refused:
            make_llm(f"{name}{':m' if 'model' in parameters else ''}?no_such_option=1")
        assert set(found[name]) == accepted(refused.value)
        check_options(found[name], make, name)
    assert found["vllm"]["max_model_len"] == 8_192
    assert "api_key" not in found["openai"]


def test_every_user_model_is_listed_with_every_word():
    found = {
        thing.name: [option.written for option in thing.options if option.written[0] != "?"]
        for thing in listed_agents()
    }
    assert list(found) == [*USER_MODELS, *AGENT_KINDS, *WRAPPERS]
    assert set(KIND_WORDS) == set(AGENT_KINDS)
    for name in AGENT_KINDS:
        with pytest.raises(ConfigError) as refused:
            make_population("synthetic", f"{name}:no_such_word,none", UniformLLM())
        if name == "agentcf":  # a word that it does not know is a folder
            assert found[name] == ["items", "FOLDER"]
            assert "folder" in str(refused.value)
        else:
            assert sorted(found[name]) == str(refused.value).rstrip(".").split("it has ")[1].split(", ")


@pytest.mark.parametrize("name", AGENT_KINDS)
def test_a_word_sets_what_is_said_of_it(name):
    words = [word for word in KIND_WORDS[name].words if word.field]
    plain = make_population("synthetic", name, UniformLLM()).users.kind.options
    for word in words:
        options = make_population("synthetic", f"{name}:{word.word}", UniformLLM()).users.kind.options
        assert getattr(options, word.field) == word.value != getattr(plain, word.field)
        line = next(o for t in listed_agents() if t.name == name for o in t.options if o.written == word.word)
        default = getattr(KIND_WORDS[name].options(), word.field)
        assert line.help.startswith(f"{word.field}={written(word.value)} instead of {written(default)}. ")
    assert words


@pytest.mark.parametrize("name", AGENT_KINDS)
def test_every_field_of_a_kind_is_listed_with_its_default_and_can_be_set(name):
    written = [o.written for thing in listed_agents() if thing.name == name for o in thing.options]
    given = {key: value for line in written if line[0] == "?" for key, value in parse_spec(f"x{line}").options.items()}
    assert {"memory_bytes", "one_by_one", "leaving.base", "leaving.patience"} <= set(given)
    assert ("memory.short_capacity" in given) == (name == "recagent")
    listed = KIND_WORDS[name].options(**({"memory": ThreeStageOptions()} if name == "recagent" else {}))
    assert with_settings(listed, given, name) == listed  # every value is of its type, and is the default
    changed = make_population("synthetic", f"{name}?memory_bytes=777&leaving.base=-9", UniformLLM()).users.kind
    assert (changed.options.memory_bytes, changed.leaving.base) == (777, -9)
    for wrong, words in (
        ("memory_bytes=0", "must be a whole number between 1"),
        ("memory_byte=5", "Did you mean 'memory_bytes'"),
        ("leaving.x=1", "leaving.base"),
        ("leaving=1", "leaving.base"),
        ("leaving.memory=2", "at least 0 and below 1"),
        ("one_by_one=3", "must be true or false"),
    ):
        with pytest.raises(ConfigError, match=words):
            make_population("synthetic", f"{name}?{wrong}", UniformLLM())


def test_a_setting_of_a_stage_leaves_the_calibrated_threshold():
    plain = make_population("synthetic", "recagent", UniformLLM()).users.kind.memory.options
    changed = make_population("synthetic", "recagent?memory.short_capacity=4", UniformLLM()).users.kind.memory.options
    assert changed == replace(plain, short_capacity=4)


def test_the_words_with_values_are_taken():
    for threshold in ("calibrated", "published", "0.5"):
        make_population("synthetic", f"recagent:threshold={threshold}", UniformLLM())


def test_everything_has_a_line_and_every_option_a_meaning():
    for things in LISTS.values():
        for thing in things():
            assert len(thing.about) > 20, thing.name
            for option in thing.options:
                assert len(option.help.strip()) > 20, (thing.name, option)
    for kind in POLICIES.values():
        assert not [option.name for option in kind.listed_options() if not option.help]
    for make in known_backends().values():
        assert not [option.name for option in listed_options(make, NO_OPTIONS) if not option.help]


def test_the_examples_are_taken():
    for text in (policies_command.GRAMMAR, agents_command.GRAMMAR, backends_command.GRAMMAR):
        assert len(_words(text)) >= 1
    for text in [policies_command.GRAMMAR, *(thing.example for thing in listed_policies())]:
        for word in _words(text):
            check_policy(word)
    for text in [agents_command.GRAMMAR, *(thing.example for thing in listed_agents())]:
        for word in _words(text):
            check_user_model(word)
    for text in [backends_command.GRAMMAR, *(thing.example for thing in listed_backends())]:
        for word in _words(text):
            kind, _, options = parse_spec(word)
            check_options(options, known_backends()[kind], word, NO_OPTIONS)
    assert _words(policies_command.GRAMMAR) == ["random", "ease?reg=100"]
    SimulationConfig(policies=("ease?reg=100",), user_model="agent4rec:items", llm="vllm:MODEL?dtype=float32").check()


def _words(text):
    """What stands behind an option in the first line that has one."""
    line = next(line for line in text.splitlines() if "--" in line)
    return [word for word in shlex.split(line.partition("--")[2].partition(". ")[0])[1:]]


@pytest.mark.parametrize("command", LISTS)
def test_the_list_and_one_of_it_are_printed(command, capsys):
    things = LISTS[command]()
    main([command])
    said = _flat(capsys.readouterr().out)
    for thing in things:
        assert _flat(f"{thing.name} {thing.about} {' '.join(o.written for o in thing.options)}") in said
    thing = next(thing for thing in things if len(thing.options) > 1)
    main([command, thing.name])
    said = _flat(capsys.readouterr().out)
    for option in thing.options:
        assert _flat(f"{option.written} {option.help}") in said
    assert f"For example: {thing.example}" in said
    assert things[-1].about not in said


def _flat(text):
    return " ".join(text.split())


@pytest.mark.parametrize(
    ("command", "name", "near"),
    [("policies", "eas", "'ease'"), ("agents", "agent4", "'agent4rec'"), ("backends", "vlm", "'vllm'")],
)
def test_an_unknown_name_is_an_error_that_names_the_nearest(command, name, near, capsys):
    with pytest.raises(SystemExit, match="1"):
        main([command, name])
    said = capsys.readouterr().err
    assert f"Did you mean {near}" in said
    assert repr(name) in said


def test_a_value_is_written_as_it_is_read():
    for value in (500.0, 1e-3, 0, True, None, "auto", "", 1 << 30):
        assert parse_spec(f"x?option={written(value)}").options == {"option": value}
    assert json.loads(written(1e-9)) == 1e-9
