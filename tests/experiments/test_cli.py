"""The command line: what it prints, exit codes, and that no error is a stack trace."""

from __future__ import annotations

import pytest

import recsim_llm
from recsim_llm.cli.command_line import main


def run(capsys, *args):
    """Exit code, standard output, standard error."""
    try:
        main(args)
        code = 0
    except SystemExit as stop:
        code = stop.code
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_the_version(capsys):
    main(["--version"])
    assert capsys.readouterr().out == f"recsim-llm {recsim_llm.__version__}\n"


def test_help_documents_every_option(capsys):
    code, out, _ = run(capsys, "--help")
    assert code == 0
    assert all(word in out for word in ("data", "models", "simulate", "replay", "compare", "interview"))
    code, out, _ = run(capsys, "simulate", "--help")
    options = (
        "dataset",
        "users",
        "user-model",
        "policy",
        "llm",
        "pages",
        "page-size",
        "seed",
        "out",
        "resume",
        "dry-run",
    )
    assert all(f"--{name}" in out for name in options)
    assert "(default:" in out


def test_simulate_compare_replay(capsys, tmp_path):
    code, out, err = run(capsys, "simulate", "--users", "30", "--pages", "3", "--out", str(tmp_path / "r"))
    assert code == 0, err
    for words in ("random", "popularity", "ease", "watch rate", "95 %", "recsim-llm compare", str(tmp_path / "r")):
        assert words in out
    code, out, _ = run(capsys, "compare", str(tmp_path / "r"))
    assert code == 0
    assert "ease - random: reward" in out
    code, out, _ = run(capsys, "replay", str(tmp_path / "r"))
    assert code == 0
    assert out.count("bit for bit") == 3
    code, _, err = run(capsys, "simulate", "--users", "30", "--pages", "3", "--out", str(tmp_path / "r"))
    assert (code, "--resume" in err) == (1, True)
    code, _, _ = run(capsys, "simulate", "--users", "30", "--pages", "3", "--out", str(tmp_path / "r"), "--resume")
    assert code == 0


def test_llm_users_without_a_real_model(capsys, tmp_path):
    common = ("simulate", "--user-model", "llm", "--llm", "uniform", "--users", "5", "--policy", "ease")
    code, out, err = run(capsys, *common, "--out", str(tmp_path))
    assert code == 0, err
    assert "LLM calls" in out
    assert "not calibrated" in out
    code, out, _ = run(capsys, *common, "--dry-run")
    assert code == 0
    assert "At most" in out
    assert "prompt tokens" in out


def test_dry_run_needs_no_model_and_leaves_nothing(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, _ = run(capsys, "simulate", "--user-model", "llm", "--users", "5", "--dry-run")
    assert code == 0
    assert "LLM calls" in out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("simulate", "--policy", "soothsayer"), "live-popularity"),
        (("simulate", "--users", "100000"), "1..200"),
        (("simulate", "--user-model", "robot"), "statistical, llm"),
        (("simulate", "--page-size", "1000"), "catalogue"),
        (("simulate", "--user-model", "llm", "--llm", "parrot"), "transformers:NAME_OR_FOLDER"),
        (("simulate", "--dataset", "no/such/folder"), "ml-100k"),
        (("compare", "no/such/run"), "no/such/run"),
        (("replay", "."), "run"),
        (("data", "get", "ml-9"), "ml-100k"),
        (("models", "get", "gpt-9"), "smollm2-135m"),
        (("interview", "nowhere", "Why?", "--user", "1", "--llm", "uniform"), "nowhere"),
    ],
)
def test_errors_are_sentences(capsys, tmp_path, monkeypatch, args, words):
    monkeypatch.chdir(tmp_path)
    code, _, err = run(capsys, *args)
    assert code == 1
    assert words in err
    assert "Traceback" not in err
    assert not list(tmp_path.rglob("run.json")), "what was refused leaves no run behind"


def test_wrong_usage_exits_with_2(capsys):
    assert run(capsys, "simulate", "--nonsense")[0] == 2
    assert run(capsys)[0] == 2


def test_lists(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("RECSIM_LLM_HOME", str(tmp_path))
    code, out, _ = run(capsys, "data", "list")
    assert code == 0
    assert all(name in out for name in ("synthetic", "ml-100k", "ml-1m", "ml-latest-small", "GroupLens"))
    code, out, _ = run(capsys, "models", "list")
    assert code == 0
    assert "smollm2-135m" in out
    assert "Apache-2.0" in out
