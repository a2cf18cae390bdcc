"""Studies: read from TOML, run, resumed, reported."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest

from recsim_llm.cli.command_line import main
from recsim_llm.cli.verbs.learning import study_command
from recsim_llm.cli.verbs.learning.study_command import chosen_study
from recsim_llm.errors import ConfigError, RecordingError
from recsim_llm.experiments.simulation.replay import replay
from recsim_llm.experiments.simulation.rollout import choose_visitors
from recsim_llm.experiments.studies import run_study as module
from recsim_llm.experiments.studies.run_study import run_study
from recsim_llm.experiments.studies.study import Study, StudyEntry, read_study, studies
from recsim_llm.experiments.studies.study_report import facts, write_report
from recsim_llm.experiments.studies.study_table import text_table
from recsim_llm.policies import load_policy
from recsim_llm.policies.rl.offline.offline_data import OfflineLog
from recsim_llm.runs import find_runs

ROWS = (StudyEntry("random"), StudyEntry("ease?reg=100", users=6), StudyEntry("oracle"), StudyEntry("fixed-list"))
SMALL = Study("small", ROWS, users=8, seeds=2, pages=8, quit="window?ratings=expected")


def test_a_study_is_run_replayed_and_reported(tmp_path):
    rows = run_study(SMALL, tmp_path, progress=False)
    assert [row.policy for row in rows] == ["random", "ease,reg=100", "oracle", "fixed-list"]
    assert [row.users for row in rows] == [16, 12, 16, 16]
    oracle, fixed = rows[2:]
    assert oracle.means["length_stayed"].value == 8.0
    assert oracle.means["of_bound"].value == 1.0
    assert rows[0].means["of_bound"].value == 0.0
    assert oracle.pair is fixed.pair is None, "a bound is not compared"
    gap = oracle.means["reward_stayed"].value - fixed.means["reward_stayed"].value
    assert oracle.means["personal"].value == pytest.approx(gap)
    assert np.isnan(fixed.means["personal"].value)
    assert sum(row.pair is not None for row in rows) == 1
    for run in find_runs(tmp_path / "runs" / "seed1"):
        replay(run)
    html, markdown, *_ = write_report(SMALL, rows, tmp_path)
    assert text_table(rows).splitlines()[2] in markdown.read_text()
    page = html.read_text()
    assert page.count("<svg") == 3
    assert not re.search(r"(src|href)=.http", page), "one file, nothing fetched"
    table = json.loads((tmp_path / "table.json").read_text())
    assert [row["policy"] for row in table] == [row.policy for row in rows]


def test_a_report_names_no_model_that_nobody_asked_and_no_folder_of_this_machine(tmp_path):
    """Reports are published: a row's model stands there only where a row asks it, a data set by its folder's name."""
    asking = replace(SMALL, entries=(StudyEntry("random"), StudyEntry("react")), policy_llm="vllm:some-model", pages=3)
    nobody = replace(asking, entries=(StudyEntry("random"),), dataset="/home/ann/shops/steam:25:3")
    assert facts(asking, [])["planners' model"] == "vllm:some-model"
    assert facts(asking, [])["data set"] == "synthetic"
    assert facts(nobody, [])["planners' model"] == "none"
    assert facts(nobody, [])["data set"] == "steam:25:3"


def test_a_study_goes_on_where_it_was_stopped(tmp_path, monkeypatch):
    whole = text_table(run_study(SMALL, tmp_path / "whole", progress=False))
    simulate, calls = module.simulate, []

    def stopping(*args, **kwargs):
        calls.append(args)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return simulate(*args, **kwargs)

    monkeypatch.setattr(module, "simulate", stopping)
    with pytest.raises(KeyboardInterrupt):
        run_study(SMALL, tmp_path / "stopped", progress=False)
    assert text_table(run_study(SMALL, tmp_path / "stopped", progress=False)) == whole
    assert len(calls) == 4 + 5, "what was finished is not done again"


def test_rows_may_be_added_but_not_changed(tmp_path):
    run_study(replace(SMALL, entries=SMALL.entries[:1]), tmp_path, progress=False)
    run_study(SMALL, tmp_path, progress=False)
    for changed in (replace(SMALL, users=9), replace(SMALL, quit="window?window=2")):
        with pytest.raises(RecordingError, match="another"):
            run_study(changed, tmp_path, progress=False)
    other = replace(SMALL, entries=(StudyEntry("random", users=3),))
    with pytest.raises(RecordingError, match="random"):
        run_study(other, tmp_path, progress=False)


def test_the_studies_of_the_package_are_sound():
    assert {"long-term", "quick"} <= set(studies())
    for name in studies():
        read_study(name).check()


def test_a_study_from_a_file(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('users = 5\nseeds = 1\n[[policy]]\nname = "dqn"\nsteps = 5000\n[[policy]]\nname = "ease"\n')
    study = read_study(str(path))
    assert study.name == "mine"
    assert study.entries == (StudyEntry("dqn", steps=5000), StudyEntry("ease"))
    chosen = chosen_study(str(path), "synthetic:1", ("ease", "popularity"), 2, 4)
    assert (chosen.dataset, chosen.seeds, chosen.users) == ("synthetic:1", 2, 4)
    assert chosen.entries == (StudyEntry("ease"), StudyEntry("popularity"))
    assert not chosen.tell_exit
    assert chosen_study(str(path), tell_exit=True) == replace(study, tell_exit=True)
    path.write_text(f"tell_exit = true\n{path.read_text()}")
    assert chosen_study(str(path)).tell_exit, "the flag switches it on; what the file says stays"


def test_the_flag_tells_planners_the_rule(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(study_command, "run_study_command", lambda study, out: seen.append(study))
    main(["study", "quick"])
    main(["study", "quick", "--tell-exit"])
    assert [study.tell_exit for study in seen] == [False, True]
    assert seen[1].simulation(seen[1].entries[0], 0).tell_exit


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("users = 5", r"\[\[policy\]\]"),
        ('[[policy]]\nname = "nobody"', "nobody"),
        ("[[policy]]\nsteps = 5", "name"),
        ('colour = "red"\n[[policy]]\nname = "ease"', "colour"),
        ('users = "many"\n[[policy]]\nname = "ease"', "users must be of type int"),
        ('[[policy]]\nname = "ease"\n[[policy]]\nname = "ease"', "none twice"),
        ('seeds = 0\n[[policy]]\nname = "ease"', "at least 1 seed"),
        ('quit = "bored"\n[[policy]]\nname = "ease"', "bored"),
        ("users = [", "TOML"),
    ],
)
def test_a_broken_study_says_what_is_wrong(tmp_path, text, sentence):
    path = tmp_path / "broken.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=sentence):
        read_study(str(path))


def test_there_is_no_such_study(tmp_path):
    with pytest.raises(ConfigError, match="quick"):
        read_study("slow")


def test_the_command_line_runs_a_study(tmp_path, capsys):
    main(["study", "quick", "--users", "4", "--seeds", "1", "--policies", "random", "oracle", "--out", str(tmp_path)])
    printed = capsys.readouterr().out
    assert "| random" in printed
    assert str(tmp_path / "report.html") in printed
    main(["study", "quick", "--users", "4", "--seeds", "1", "--policies", "random", "oracle", "--out", str(tmp_path)])
    assert capsys.readouterr().out == printed
    with pytest.raises(SystemExit) as stopped:
        main(["study", "nothing"])
    assert stopped.value.code == 1
    assert "quick" in capsys.readouterr().err


@pytest.mark.slow
def test_offline_policies_learn_from_sessions_of_others(tmp_path):
    pytest.importorskip("tianshou")
    entry = StudyEntry("bcq?updates=5", collect="popularity", sessions=20)
    study = replace(SMALL, entries=(entry,), seeds=1)
    (row,) = run_study(study, tmp_path, progress=False)
    assert row.policy == "bcq,updates=5"
    logged = OfflineLog.load(tmp_path / "trained" / "seed0" / "sessions-partial-bcq,updates=5.npz")
    assert len(logged.lengths) == 20
    assert not set(logged.users) & set(choose_visitors(200, 8, 0)), "who is evaluated is not logged"


def test_planners_meet_other_people_first_and_are_frozen_then(tmp_path):
    pytest.importorskip("rapidfuzz")
    entry = StudyEntry("billp?candidates=5", learn=3, users=4, seeds=1)
    study = replace(SMALL, entries=(StudyEntry("random"), entry), policy_llm="uniform", pages=3)
    rows = run_study(study, tmp_path, progress=False)
    assert [row.users for row in rows] == [16, 4]
    assert rows[1].costs["calls"] > 0
    run = next(run for run in find_runs(tmp_path / "runs") if run.manifest.name == "billp,candidates=5")
    replay(run)
    summary = run.manifest.summary["policy"]
    assert summary["critic_entries"] > 0
    learned = load_policy(tmp_path / "trained" / "seed0" / "billp,candidates=5.npz")
    assert len(learned.critic) == summary["critic_entries"], "nothing is learned in the evaluation"
    shutil.rmtree(tmp_path / "trained")
    replay(run)  # a run keeps its own policy
    with pytest.raises(ConfigError, match="does not learn"):
        run_study(replace(study, entries=(StudyEntry("ease", learn=2),)), tmp_path / "other", progress=False)
