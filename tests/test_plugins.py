"""What others bring: `module:Class`, entry points, objects; simulated, compared, resumed, replayed, refused."""

from __future__ import annotations

import importlib
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import recsim_llm
from recsim_llm import plugins
from recsim_llm.agents.fitted_sources import personas
from recsim_llm.agents.named_users import brought_name, check_user_model, uses_llm
from recsim_llm.agents.population import make_population
from recsim_llm.cli import command_line
from recsim_llm.errors import ConfigError, InvalidActionError, RecordingError
from recsim_llm.experiments.simulation.config import SimulationConfig
from recsim_llm.experiments.simulation.interview import check_foreign_users
from recsim_llm.experiments.simulation.replay import replay
from recsim_llm.experiments.simulation.simulate import simulate
from recsim_llm.language import make_llm
from recsim_llm.policies import POLICIES, asks_llm, check_policy, known_policies, load_policy, open_policy
from recsim_llm.policies.policy_spec import parse_policy
from recsim_llm.runs import Run, find_runs
from recsim_llm.testing.policy_contract import catalogue, observe, two_tastes_log
from recsim_llm.testing.scripted import ScriptedLLM
from recsim_llm.testing.user_model_contract import UserModelContract
from recsim_llm.types import Responses

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "examples" / "plugin"
PAGE = ROOT / "docs" / "plugins.md"
pytestmark = pytest.mark.skipif(not PAGE.exists(), reason="tests run outside the repository")

POLICY = """
from recsim_llm.policies.bounds.fixed_list import FixedList
from recsim_llm.policies.ranking import RankingPolicy, Size
import numpy as np

class Countdown(RankingPolicy):
    name = "countdown"

    @classmethod
    def learn_from(cls, known, seed, k: Size = 1):
        return {"k": np.array(k)}

    def scores(self, observation, taste):
        items = np.arange(taste.shape[1]) % int(self.fitted["k"])
        return np.tile(items.astype(np.float32), (taste.shape[0], 1))
"""


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A working directory of its own; what is imported from it, and its place on the path, are forgotten at the end."""
    before = set(sys.modules)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    for name in set(sys.modules) - before:
        file = getattr(sys.modules[name], "__file__", None) or ""
        if file.startswith(str(tmp_path)) or name.startswith("recsim_llm_plugin_example"):
            del sys.modules[name]


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The example package, installed into a folder of its own, without network."""
    source, target = tmp_path_factory.mktemp("source") / "plugin", tmp_path_factory.mktemp("target")
    shutil.copytree(EXAMPLE, source)  # a build writes beside what it builds
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*pip, "--target", str(target), str(source)], check=True, capture_output=True)
    return target


@pytest.fixture
def example(home, installed, monkeypatch):
    monkeypatch.syspath_prepend(str(installed))
    return home


def module(home, name, text):
    (home / f"{name}.py").write_text(text, encoding="utf-8")
    importlib.invalidate_caches()


def hashes(folder):
    return {run.folder.name: run.trajectory_hash() for run in find_runs(folder)}


def test_a_class_of_the_working_directory_is_a_policy_everywhere(home, capsys):
    """Simulated, labelled, compared, resumed and replayed; its pages are those that its scores say."""
    module(home, "countdown_policy", POLICY)
    line = "countdown_policy:Countdown?k=7"
    words = ["simulate", "--policy", line, "random", "--users", "4", "--out", "runs"]
    command_line.main(words)
    label = "countdown_policy-Countdown,k=7"
    run = Run(home / "runs" / label)
    assert run.manifest.config["policies"] == [line]
    # 200 items: the highest scores, 6, are those of items 6, 13, 20, ...; what was rated before is left out.
    assert set((run.step_batch().items % 7).ravel().tolist()) == {6}
    before = hashes(home / "runs")
    command_line.main([*words, "--resume"])
    command_line.main(["compare", "runs"])
    command_line.main(["replay", "runs"])
    said = capsys.readouterr()
    assert label in said.out
    assert f"names countdown_policy:Countdown: it is imported from {home / 'countdown_policy.py'}" in said.err
    assert hashes(home / "runs") == before


def test_a_run_is_resumed_where_it_stopped_and_ends_as_if_it_had_not(home):
    stops = """
    def act(self, observation):
        from pathlib import Path
        if Path("stop").exists() and observation["page"].max() > 1:
            raise KeyboardInterrupt
        return super().act(observation)
"""
    module(home, "stopping_policy", POLICY + stops)
    config = SimulationConfig(policies=("stopping_policy:Countdown?k=3",), users=6)
    (whole,) = simulate(config, home / "whole", progress=False)
    (home / "stop").touch()
    with pytest.raises(KeyboardInterrupt):
        simulate(config, home / "cut", progress=False)
    (home / "stop").unlink()
    (stopped,) = find_runs(home / "cut")
    assert stopped.num_parts == 2
    assert replay(stopped).steps == len(stopped.step_batch())
    (again,) = simulate(config, home / "cut", resume=True, progress=False)
    assert again.trajectory_hash() == whole.trajectory_hash()


def test_interventions_switch_to_a_class(home):
    module(home, "switched_policy", POLICY)
    (home / "plan.toml").write_text('[[policy]]\nround = 2\npolicy = "switched_policy:Countdown?k=5"\n')
    config = SimulationConfig(policies=("random",), users=6, rounds=2, interventions="plan.toml")
    runs = simulate(config, home / "runs", progress=False)
    assert all(replay(run).trajectory_hash == run.trajectory_hash() for run in runs)


def test_a_study_has_a_row_for_a_class(home):
    from recsim_llm.experiments.studies.run_study import run_study
    from recsim_llm.experiments.studies.study import Study, StudyEntry

    module(home, "studied_policy", POLICY)
    rows = (StudyEntry("random"), StudyEntry("studied_policy:Countdown?k=5"))
    study = Study("own", rows, users=4, seeds=1, pages=3)
    found = run_study(study, home / "study", progress=False)
    assert [row.policy for row in found] == ["random", "studied_policy-Countdown,k=5"]


BAD_POLICIES = [
    ("os:system", "is no class but"),
    ("builtins:print", "is no class but"),
    ("builtins:object", "lacks name, act, fit, check_options, save, load"),
    ("builtins:nothing", "has no 'nothing'"),
    ("../bad_policies:Good", "write a policy as"),
    (".bad_policies:Good", "write a policy as"),
    ("bad_policies:Good:more", "write a policy as"),
    ("bad_policies:", "write a policy as"),
    (":Good", "write a policy as"),
    ("bad_policies:Countdwn", "Did you mean 'Countdown'"),
    ("bad_policies:Nameless", "lacks name"),
    ("bad_policies:Thief", "has the name of a built-in policy, 'ease'"),
    ("bad_policies:Countdown?kk=1", "has no option kk"),
    ("bad_policies:Countdown?k=0", "between 1 and"),
    ("ease:reg", "behind a question mark"),
    ("no_such_module:Any", "needs the module 'no_such_module'"),
    ("bad_policies.inner:Any", "needs the module 'bad_policies.inner'"),
    ("raising_module:Any", r"ZeroDivisionError: division by zero \(raising_module.py, line 2\)"),
    ("leaving_module:Any", "SystemExit: 3"),
    ("needing_module:Any", "cannot be imported: ModuleNotFoundError"),
    ("wrong_syntax:Any", "SyntaxError"),
    ("cowatched", "Policies: random"),
]


@pytest.mark.parametrize(("text", "words"), BAD_POLICIES)
def test_what_is_no_policy_is_refused_in_one_sentence(home, text, words):
    lines = "\n\nclass Nameless(RankingPolicy):\n    pass\n\nclass Thief(RankingPolicy):\n    name = 'ease'\n"
    module(home, "bad_policies", POLICY + lines)
    module(home, "raising_module", "zero = 0\n1 / zero\n")
    module(home, "leaving_module", "import sys\nsys.exit(3)\n")
    module(home, "needing_module", "import no_such_package\n")
    module(home, "wrong_syntax", "def\n")
    with pytest.raises(ConfigError, match=words) as found:
        check_policy(text)
    assert "\n" not in str(found.value)


def test_nothing_is_called_to_find_out_that_it_is_no_policy(home):
    module(home, "careful", "def touch(*args):\n    open('touched', 'w').close()\n")
    for check in (check_policy, check_user_model):
        with pytest.raises(ConfigError, match="is no class"):
            check("careful:touch")
    assert not (home / "touched").exists()


def test_a_policy_whose_fit_raises_says_where(home):
    module(home, "failing_fit", POLICY.replace('return {"k": np.array(k)}', 'raise KeyError("lost")'))
    with pytest.raises(ConfigError, match=r"failing_fit:Countdown failed with KeyError: 'lost' \(failing_fit.py"):
        open_policy("failing_fit:Countdown", two_tastes_log(), catalogue(), 4)


def test_a_policy_that_shows_what_is_not_there_is_refused(home):
    module(
        home,
        "wrong_items",
        POLICY + "\n    def act(self, observation):\n        return super().act(observation) + 900\n",
    )
    config = SimulationConfig(policies=("wrong_items:Countdown",), users=2)
    with pytest.raises(InvalidActionError, match="not in the catalogue"):
        simulate(config, home / "runs", progress=False)


def test_a_policys_file_chooses_no_module(home):
    """Its name is looked up among what is built in and installed; `module:Class` in a file is refused, not imported."""
    module(home, "filed_policy", POLICY + "\nopen('imported', 'w').close()\n")
    policy = open_policy("filed_policy:Countdown?k=3", two_tastes_log(), catalogue(), 4)
    policy.save(home / "plain.npz")
    type(policy).name = "filed_policy:Countdown"
    policy.save(home / "path.npz")
    (home / "imported").unlink()
    del sys.modules["filed_policy"]
    for name in ("plain.npz", "path.npz"):
        with pytest.raises(RecordingError, match="neither built in nor brought"):
            load_policy(home / name)
        assert asks_llm(str(home / name)) is False
    assert not (home / "imported").exists()


def test_a_replay_says_what_it_needs(home, capsys):
    module(home, "gone_policy", POLICY)
    simulate(SimulationConfig(policies=("gone_policy:Countdown",), users=2), home / "runs", progress=False)
    (home / "gone_policy.py").unlink()
    shutil.rmtree(home / "__pycache__", ignore_errors=True)
    del sys.modules["gone_policy"]
    command_line.main(["compare", "runs"])
    with pytest.raises(SystemExit):
        command_line.main(["replay", "runs"])
    assert "gone_policy:Countdown needs the module 'gone_policy'" in capsys.readouterr().err


@pytest.mark.parametrize("member", ["policies", "reward"])
@pytest.mark.parametrize(
    ("place", "name"), [("runs/P", "evil"), ("runs", "evil"), (".", "runs.evil"), (".", "runs.P.evil")]
)
def test_code_that_came_with_a_run_is_not_imported(home, monkeypatch, place, name, member):
    """Whoever sends a run may put a module beside it: found from its folder, or through packages above it."""
    (run,) = simulate(SimulationConfig(policies=("random",), users=2), home / "runs", progress=False)
    folder = run.folder.rename(home / "runs" / "P")
    for spot in (home / "runs", folder):
        (spot / "evil.py").write_text("open('/'.join((__file__ + '.ran',)), 'w').close()\n")
    path = folder / "run.json"
    before, after = ('"random"', f'"{name}:Evil"') if member == "policies" else ('"rating"', f'"{name}:Evil"')
    assert before in path.read_text()
    path.write_text(path.read_text().replace(before, after))
    monkeypatch.chdir(home / place)
    for go in (replay, lambda run: replay(Run(Path(os.path.relpath(run.folder))))):
        with pytest.raises(ConfigError, match="came with the runs"):
            go(Run(folder))
    assert not list(home.rglob("*.ran"))


def test_metadata_in_the_working_directory_are_no_entry_points(home):
    (home / "evil-1.0.dist-info").mkdir()
    (home / "evil-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: evil\nVersion: 1.0\n")
    points = "[recsim_llm.policies]\nevil = evil:Evil\n"
    (home / "evil-1.0.dist-info" / "entry_points.txt").write_text(points)
    sys.path.insert(0, str(home))
    assert "evil" not in plugins.plugin_names(plugins.POLICIES)
    os.chdir("/")
    assert "evil" in plugins.plugin_names(plugins.POLICIES)  # the same folder on the path, not as where we are


def test_the_dashboard_interviews_nobody_whose_class_it_would_import():
    check_foreign_users("hybrid:agent4rec:items")
    for name in ("my_module:MyKind", "hybrid:my_module:MyKind", "calibrated:brief?memory_bytes=5"):
        with pytest.raises(ConfigError, match="recsim-llm interview"):
            check_foreign_users(name)


def test_built_in_names_look_for_no_entry_points(monkeypatch):
    def fail(**_):
        raise AssertionError("looked up")

    monkeypatch.setattr(plugins, "distributions", fail)
    check_policy("ease?reg=5")
    check_user_model("agent4rec:items")
    assert not uses_llm("statistical")
    assert make_llm("uniform").name == "uniform"


def test_the_example_package_runs_by_its_names(example, capsys):
    """From the command line, in all three roles: simulated, resumed, replayed, and replayed no more once it is gone."""
    assert known_policies()[len(POLICIES) :] == ["co-watched"]
    words = ["simulate", "--policy", "co-watched?power=1", "--user-model", "genre-fans?eager=0.9", "--users", "5"]
    command_line.main([*words, "--out", "fans"])
    kind = ["simulate", "--policy", "co-watched", "--user-model", "brief", "--llm", "uniform", "--users", "3"]
    command_line.main([*kind, "--out", "brief"])
    before = hashes(example / "fans") | hashes(example / "brief")
    command_line.main([*words, "--out", "fans", "--resume"])
    command_line.main(["replay", "fans"])
    command_line.main(["replay", "brief"])
    assert "identical" in capsys.readouterr().out
    assert hashes(example / "fans") | hashes(example / "brief") == before
    assert Run(example / "brief" / "co-watched").manifest.llm
    assert not Run(example / "fans" / "co-watched,power=1").manifest.llm


def test_what_packages_bring_is_listed_with_its_options(example, capsys):
    command_line.main(["policies", "co-watched"])
    shown = capsys.readouterr().out
    assert "co-watched" in shown
    assert "power=" in shown
    command_line.main(["agents"])
    shown = capsys.readouterr().out
    assert "genre-fans" in shown
    assert "eager=" in shown
    assert "brief" in shown


def test_a_broken_package_does_not_break_the_lists(example, monkeypatch, capsys):
    def broken(name, *_):
        raise ConfigError(f"{name} cannot be imported: it is broken")

    monkeypatch.setattr("recsim_llm.plugins.load_plugin", broken)
    for words in (["policies"], ["agents"], ["backends"]):
        command_line.main(words)
    shown = capsys.readouterr().out
    assert "cannot be imported: it is broken" in shown
    assert "ease" in shown


@pytest.mark.slow
def test_the_example_package_runs_from_a_shell(installed, home):
    """As the console script does it: the working directory is not on Python's path."""
    module(home, "shell_policy", POLICY)
    path = os.pathsep.join([str(Path(recsim_llm.__file__).parents[1]), str(installed)])
    code = "from recsim_llm.cli.command_line import main; main()"
    words = ["simulate", "--policy", "co-watched", "shell_policy:Countdown", "--users", "2", "--out", "runs"]
    for line in (words, ["replay", "runs"]):
        command = [sys.executable, "-P", "-c", code, *line]
        done = subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    command = [sys.executable, "-P", "-c", code, "replay", "runs"]
    done = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": path.split(os.pathsep)[0]}, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "'co-watched'" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_language_model_of_the_working_directory(home):
    module(
        home, "here_llm", "from recsim_llm.language.uniform import UniformLLM\n\ndef make():\n    return UniformLLM()\n"
    )
    assert make_llm("python:here_llm:make").name == "uniform"
    with pytest.raises(ConfigError, match="names no function that can be imported"):
        make_llm("python:.here_llm:make")


def test_names_of_packages_are_in_what_was_meant(example):
    with pytest.raises(ConfigError, match="Did you mean 'co-watched'"):
        check_policy("co-wached")
    with pytest.raises(ConfigError, match="Did you mean 'genre-fans'"):
        check_user_model("gene-fans")


def test_two_packages_with_one_name_are_an_error(example, installed, monkeypatch):
    other = example / "site" / "other-1.0.dist-info"
    other.mkdir(parents=True)
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 1.0\n")
    (other / "entry_points.txt").write_text("[recsim_llm.policies]\nco-watched = other:Other\nease = other:Other\n")
    monkeypatch.syspath_prepend(str(example / "site"))
    with pytest.raises(ConfigError, match="is a policy of other, recsim-llm-plugin-example"):
        check_policy("co-watched")
    assert check_policy("ease").name == "ease"
    assert known_policies().count("ease") == 1


def test_a_language_model_of_a_package(home, monkeypatch):
    site = home / "site"
    (site / "engine-1.0.dist-info").mkdir(parents=True)
    (site / "engine-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: engine\nVersion: 1.0\n")
    points = "[recsim_llm.backends]\nmy-engine = my_engine:Engine\nno-engine = my_engine:nothing\n"
    (site / "engine-1.0.dist-info" / "entry_points.txt").write_text(points)
    module(
        site,
        "my_engine",
        "from recsim_llm.language.uniform import UniformLLM\n\nclass Engine(UniformLLM):\n"
        "    def __init__(self, model, window: int = 1):\n        super().__init__()\n"
        "        self.name = f'{model}/{window}'\n\ndef nothing():\n    return 1\n",
    )
    monkeypatch.syspath_prepend(str(site))
    assert make_llm("my-engine:small?window=3").name == "small/3"
    for line, words in [
        ("my-engine:small?windw=3", "Did you mean 'window'"),
        ("my-engine", "failed with TypeError"),
        ("no-engine", "lacks name, usage or generate"),
        ("your-engine:x", "my-engine"),
    ]:
        with pytest.raises(ConfigError, match=words):
            make_llm(line)


class TestGenreFans(UserModelContract):
    """The example's user model keeps the contract of all."""

    test_state_round_trips = None  # it is not asked to save itself

    @pytest.fixture(autouse=True)
    def _installed(self, example):
        return example

    def make(self):
        return make_population("synthetic", "genre-fans").users


def test_genre_fans_by_hand(example):
    """A liked genre: 0.6 and the best rating; else 0.2 and any rating. Half leave where nothing was watched."""
    population = make_population("synthetic", "genre-fans")
    users, items = population.users, population.dataset.catalogue
    likes = set(personas("synthetic")[3].likes)
    liked = next(i for i, item in enumerate(items.items) if likes & set(item.genres))
    other = next(i for i, item in enumerate(items.items) if not likes & set(item.genres))
    users.reset(np.array([0]), np.array([3]), np.array([1], dtype=np.uint64))
    reaction = users.react(np.array([0]), np.array([[liked, other, -1]]))
    np.testing.assert_allclose(reaction.watch_BK, [[0.6, 0.2, 0.0]])
    np.testing.assert_allclose(reaction.rating_BKR[0, :2], [[0, 0, 0, 0, 1], [0.2] * 5])


def test_the_brief_agent_by_hand(example):
    """A scripted model says 5 stars of both items: watched and loved. What was watched is in the next prompt."""
    llm = ScriptedLLM(["5 5", "0 0"])
    population = make_population("synthetic", "brief", llm)
    users, shown, one = population.users, population.dataset.catalogue.shown, np.array([0])
    page = np.array([[7, 2, -1]])
    users.reset(one, np.array([3]), np.array([1], dtype=np.uint64))
    reaction = users.react(one, page)
    np.testing.assert_allclose(reaction.watch_BK, [[1, 1, 0]], atol=1e-5)
    np.testing.assert_allclose(reaction.rating_BKR[0, :2, 4], 1, atol=1e-5)
    users.observe(one, page, Responses(np.array([[True, False, False]]), np.array([[4.0, 0, 0]])))
    np.testing.assert_allclose(users.react(one, page).watch_BK, 0, atol=1e-5)
    first, second = (prompt.context for prompt in llm.prompts)
    assert first == f"You like {shown.listed(personas('synthetic')[3].likes)}."
    assert second == f"{first}\nWatched {shown.label[7]}: 4 stars"


USERS = """
import numpy as np
from recsim_llm.types import Reaction

class Users:
    num_users, num_items, rating_levels = {sizes}, np.array({levels})

    def __init__(self, material, watch: float = 0.5):
        {body}

    def reset(self, sessions, users, keys): pass

    def react(self, sessions, pages):
        return Reaction(np.where(pages < 0, 0.0, 0.5), np.full((*pages.shape, 2), 0.5))

    def observe(self, sessions, pages, responses):
        return np.full(len(sessions), 0.5)

    def describe(self): return None
"""


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"body": "raise ValueError('bad luck')"}, r"failed with ValueError: bad luck \(odd_users.py, line 9\)"),
        ({"sizes": "3, 5"}, "has 3 users and 5 items"),
        ({"levels": "[2.0, 1.0]"}, "ascending stars above 0"),
        ({"levels": "[0.0, 1.0]"}, "ascending stars above 0"),
        ({"levels": "['a']"}, "ascending stars above 0"),
        ({"body": "del self.num_users"}, "failed with AttributeError"),
    ],
)
def test_users_that_do_not_fit_are_refused(home, change, words):
    sizes = make_population("synthetic").users
    plain = {"sizes": f"{sizes.num_users}, {sizes.num_items}", "levels": "[1.0, 2.0]", "body": "pass"}
    module(home, "odd_users", USERS.format(**{**plain, **change}))
    with pytest.raises(ConfigError, match=words):
        make_population("synthetic", "odd_users:Users")


def test_own_users_ask_a_language_model_where_they_say_so(home):
    module(home, "asking_users", USERS.format(sizes="1, 1", levels="[1.0]", body="pass"))
    text = (home / "asking_users.py").read_text() + "\nclass Asking(Users):\n    asks_llm = True\n"
    module(home, "asking_users", text)
    assert not uses_llm("asking_users:Users")
    assert uses_llm("asking_users:Asking")
    with pytest.raises(ConfigError, match="need a model"):
        make_population("synthetic", "asking_users:Asking")
    with pytest.raises(ConfigError, match="ask no language model"):
        check_user_model("hybrid:asking_users:Users")
    assert brought_name("hybrid:asking_users:Asking?x=1") == "asking_users:Asking"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("os:system", "is no class"),
        ("builtins:object", "neither a user model"),
        ("../users:Users", "There is no user model"),
        ("no_such_module:Users", "needs the module"),
        ("argless:Argless", "takes no arguments"),
        ("object:some.Class", "only Python can hand over"),
        ("llm:no_such", "There is no user model"),
    ],
)
def test_what_is_no_user_model_is_refused(home, text, words):
    empty = "class Argless:\n    def reset(self): pass\n    react = observe = describe = reset\n"
    module(home, "argless", empty)
    with pytest.raises(ConfigError, match=words):
        check_user_model(text)


def test_an_object_is_simulated_and_replayed_with_an_equal_one(example):
    users = make_population("synthetic", "genre-fans").users
    config = SimulationConfig(policies=("popularity",), users=3)
    (run,) = simulate(config, example / "runs", progress=False, users=users)
    assert run.manifest.user_model == "object:recsim_llm_plugin_example.genre_fans.GenreFans"
    assert replay(run, make_population("synthetic", "genre-fans").users).trajectory_hash == run.trajectory_hash()
    with pytest.raises(RecordingError, match="differs"):
        replay(run, make_population("synthetic", "genre-fans?eager=0.1").users)
    with pytest.raises(ConfigError, match=r"replay\(run, users=...\)"):
        replay(run)
    with pytest.raises(RecordingError, match="its people are"):
        replay(run, make_population("synthetic").users)
    with pytest.raises(ConfigError, match="not both"):
        simulate(SimulationConfig(user_model="statistical"), example / "no", users=users)
    with pytest.raises(ConfigError, match="for one visit only"):
        simulate(SimulationConfig(users=3, rounds=2), example / "no", users=users)


@pytest.mark.filterwarnings("ignore")
def test_the_page_runs(home):
    """Every example of docs/plugins.md: files are written, then commands and scripts run in the order of the page."""
    text = PAGE.read_text(encoding="utf-8")
    ran = 0
    for language, block in re.findall(r"```(python|bash)\n(.*?)```", text, flags=re.DOTALL):
        if language == "python":
            name = re.match(r"# (\w+)\.py\n", block)
            module(home, name[1], block)
            if name[1] == "with_an_object":
                exec(compile(block, name[0], "exec"), {})
            continue
        for line in block.splitlines():
            command_line.main(shlex.split(line)[1:])
            ran += 1
    assert ran == 10  # four of the policy, two of the reward, two of the users, two of the kind
    assert parse_policy("my_policy:MostShared?k=5").label == "my_policy-MostShared,k=5"


def test_a_page_of_the_example_policy_by_hand(example):
    """Of six people who like the even half of the items, one is shown what most of the others share with it."""
    policy = open_policy("co-watched?power=1", two_tastes_log(), catalogue(), 3)
    known = policy.known.toarray() > 0
    together = known.T.astype(int) @ known.astype(int)
    np.fill_diagonal(together, 0)
    scores = np.where(known[0], -1, known[0].astype(int) @ together)
    assert policy.act(observe(np.array([0])))[0].tolist() == np.argsort(-scores, kind="stable")[:3].tolist()
