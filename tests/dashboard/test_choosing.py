"""Finding runs, addresses, safe texts, and the command that starts the dashboard."""

from __future__ import annotations

import re
import socket
import sys
from pathlib import Path

import pytest

from recsim_llm.cli.command_line import main
from recsim_llm.cli.verbs.runs.dashboard_command import dashboard_command
from recsim_llm.dashboard import app, theme
from recsim_llm.dashboard.run_choice import all_runs, broken_runs, link, name_of, run_folders
from recsim_llm.errors import ConfigError, MissingExtraError

NASTY = "<script>alert(1)</script> [x](javascript:alert(1)) **b** `c` $x$ :smile: # <b> | ~~s~~"


def test_runs_are_found_and_broken_ones_say_why(recorded, tmp_path):
    names = {name_of(recorded, folder) for folder in run_folders(recorded)}
    assert names == {"sessions/ease", "sessions/random", "agents/ease", "town/popularity"}
    assert name_of(recorded / "agents/ease", run_folders(recorded / "agents/ease")[0]) == "."
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "run.json").write_text('{"format_version": 1}')
    assert all_runs(tmp_path) == []
    assert "format 1" in broken_runs(tmp_path)["old"]
    assert run_folders(tmp_path / "nowhere") == []


def test_addresses_are_encoded():
    assert link("replay", run="a b/ü&c", session=3, page=2) == "replay?run=a+b%2F%C3%BC%26c&session=3&page=2"
    assert link("") == ".?"


def test_texts_are_shown_and_never_executed():
    assert "<" not in theme.escaped(NASTY)
    shown = theme.plain("two\nlines " + NASTY)
    assert not re.search(r"(?<!\\)[<>\[\]*`$#|~:]", shown)
    assert "\n" not in shown


def test_the_dashboard_listens_to_this_machine_alone(tmp_path):
    command = dashboard_command(tmp_path, 8600, "127.0.0.1")
    assert Path(next(word for word in command if word.endswith("app.py"))).is_file()
    assert command[:4] == [sys.executable, "-m", "streamlit", "run"]
    assert "--server.address=127.0.0.1" in command
    assert command[-1] == str(tmp_path.resolve())
    assert command[4].endswith("app.py")


@pytest.mark.parametrize(
    "address", ["", " ", "999.1.1.1", "0", "0x7f.1", "127.1", "127.0.0.1 ", "no such", "nowhere.invalid", "-", "::g"]
)
def test_what_is_no_address_is_refused(tmp_path, address):
    with pytest.raises(ConfigError, match="--address is an IP address"):
        dashboard_command(tmp_path, 8600, address)


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0", "::1", "::", "localhost", socket.gethostname()])
def test_addresses_and_names_of_this_machine_are_taken(tmp_path, address):
    assert f"--server.address={address}" in dashboard_command(tmp_path, 8600, address)


def test_hosts_of_interviews_travel_to_the_page(tmp_path):
    assert dashboard_command(tmp_path, 8600, "::1", ("a.b:80", "[::1]:80"))[-2:] == ["a.b:80", "[::1]:80"]
    for host in ("http://a", "a/b", "", "a:99999", "a b", "u@a"):
        with pytest.raises(ConfigError, match="--interview-host"):
            dashboard_command(tmp_path, 8600, "::1", (host,))


@pytest.mark.parametrize("port", ["0", "65536", "-1"])
def test_ports_out_of_range_end_the_command(tmp_path, port, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["dashboard", str(tmp_path), "--port", port])
    assert ended.value.code == 1
    assert f"--port must be a whole number between 1 and 65,535, not {port}." in capsys.readouterr().err


def test_bad_arguments_are_named_before_anything_starts(tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match="--port"):
        dashboard_command(tmp_path, 0, "127.0.0.1")
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="is a file"):
        dashboard_command(tmp_path / "file", 8600, "127.0.0.1")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"recsim-llm\[dashboard\]"):
        dashboard_command(tmp_path, 8600, "127.0.0.1")


def test_every_page_has_an_address_of_its_own():
    assert list(app.PAGES)[0] == ""
    assert {"replay", "person", "compare", "fidelity"} <= set(app.PAGES)
