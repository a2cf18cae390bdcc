"""Starts the dashboard: Streamlit, on this machine only unless told otherwise."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

from recsim_llm.errors import ConfigError, MissingExtraError

LOOPBACK = "127.0.0.1"
_APP = Path(__file__).parents[1] / "dashboard" / "app.py"
# Charts' own colours, in both themes; nothing is sent to anybody; no menu for developers.
_LOOKS = {
    "theme.light.primaryColor": "#0072B2",
    "theme.dark.primaryColor": "#56B4E9",
    "browser.gatherUsageStats": "false",
    "client.toolbarMode": "viewer",
    "client.showErrorDetails": "none",
    "runner.magicEnabled": "false",
    "server.headless": "true",
    "server.fileWatcherType": "none",
}


def dashboard_command(runs: Path, port: int, address: str) -> list[str]:
    """The command that serves the dashboard.

    Args:
        runs: Folder of runs; need not exist yet.
        port: 1..65535.
        address: Where to listen.

    Raises:
        ConfigError: The port cannot be one, or `runs` is a file.
        MissingExtraError: streamlit is not installed.
    """
    if not 1 <= port <= 65_535:
        raise ConfigError(f"--port must be within 1..65535, not {port}.")
    if runs.is_file():
        raise ConfigError(f"{runs} is a file. Name a run folder, or a folder that holds runs.")
    for package in ("streamlit", "duckdb"):
        if importlib.util.find_spec(package) is None:
            raise MissingExtraError(package, "dashboard", "The dashboard")
    options = {"server.address": address, "server.port": str(port), **_LOOKS}
    words = [f"--{name}={value}" for name, value in options.items()]
    return [sys.executable, "-m", "streamlit", "run", str(_APP), *words, "--", str(runs.resolve())]


def run_dashboard(runs: Path, port: int, address: str) -> None:
    """Serve the dashboard until it is interrupted.

    Raises:
        ConfigError: The server could not start (its own lines above say why), or see `dashboard_command`.
        MissingExtraError: streamlit is not installed.
    """
    command = dashboard_command(runs, port, address)
    print(f"The dashboard of {runs} is at http://{address}:{port} (Ctrl+C ends it).", flush=True)
    if address not in {LOOPBACK, "localhost", "::1"}:
        print("It asks nobody who they are: everybody who reaches this address can read the runs (docs/dashboard.md).")
    try:
        code = subprocess.run(command, check=False).returncode
    except KeyboardInterrupt:
        return
    if code not in {0, -2, 130}:
        raise ConfigError(f"The dashboard ended with code {code}. Is port {port} taken? Try another --port.")
