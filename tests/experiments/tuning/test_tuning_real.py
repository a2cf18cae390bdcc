"""A few steps with the real small model, as a stranger would take them: command, tuned folder, users made of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from recsim_llm.cli.command_line import main

WORLD = "synthetic:0:8"


@pytest.mark.slow
@pytest.mark.real_llm
def test_a_real_model_is_tuned_and_plays_users(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("peft")
    out = tmp_path / "tuned"
    command = [
        "tune",
        "--dataset",
        WORLD,
        "--out",
        str(out),
        "--batch",
        "1",
        "--rate",
        "0.001",
        "--rehearse",
        "1",
        "--no-progress",
    ]
    main([*command, "--steps", "5"])
    assert "recsim-llm calibrate" in capsys.readouterr().out
    numbers = json.loads((out / "tuning.json").read_text())
    assert numbers["after"]["log_loss"] < numbers["before"]["log_loss"] - 0.2
    runs = ["simulate", "--dataset", WORLD, "--user-model", "llm:tuned", "--llm", f"transformers:{out}", "--users", "2"]
    main([*runs, "--policy", "random", "--pages", "1", "--out", str(tmp_path / "run")])
    assert "random" in capsys.readouterr().out
