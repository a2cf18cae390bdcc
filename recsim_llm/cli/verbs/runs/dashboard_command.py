"""Look at runs in the browser: replay sessions, inspect people, compare policies; also while runs are written."""

from __future__ import annotations

import importlib.util
import ipaddress
import re
import socket
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from annotated_types import Ge, Le
from tyro.conf import Positional, UseAppendAction

import recsim_llm
from recsim_llm.checked import OutFolder
from recsim_llm.errors import ConfigError, MissingExtraError

LOOPBACK = "127.0.0.1"
_HOST_NAME = re.compile(r"(?:[A-Za-z0-9_-]+\.)*[A-Za-z][A-Za-z0-9-]*\.?")
_HOST = re.compile(r"(?!.{260})(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63})*\.?)(?::\d{1,5})?")
_APP = Path(recsim_llm.__file__).parent / "dashboard" / "app.py"
# Charts keep their colours in both themes; no usage statistics; no developer menu.
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


@dataclass(frozen=True)
class DashboardCommand:
    """Options of `recsim-llm dashboard`."""

    runs: Positional[OutFolder]
    """A run folder, or a folder that holds runs."""
    port: Annotated[int, Ge(1), Le(65_535)] = 8501
    """Port to listen on."""
    address: str = LOOPBACK
    """Who can reach it: 127.0.0.1 is this machine only. There is no login (docs/dashboard.md)."""
    interview_host: UseAppendAction[tuple[str, ...]] = ()
    """A server (HOST or HOST:PORT) to which interviews may send your key if a run names it; repeat for several. That of
    OPENAI_BASE_URL is always allowed."""


def run(command: DashboardCommand) -> None:
    """Serve until interrupted."""
    run_dashboard(command.runs, command.port, command.address, command.interview_host)


def dashboard_command(runs: Path, port: int, address: str, interview_hosts: Sequence[str] = ()) -> list[str]:
    """The command that serves the dashboard.

    Args:
        runs: Folder of runs; need not exist yet.
        port: 1..65535.
        address: Address to listen on: an IP address, or a name of this machine.
        interview_hosts: Hosts, or hosts with ports, to which an interview may send the viewer's key.

    Raises:
        ConfigError: Port, address or hosts are invalid, or `runs` is a file.
        MissingExtraError: streamlit is not installed.
    """
    if not 1 <= port <= 65_535:
        raise ConfigError(f"--port must be within 1..65535, not {port}.")
    check_address(address)
    for host in interview_hosts:
        if not _is_host(host):
            raise ConfigError(f"--interview-host is a host, or HOST:PORT, without http:// and path; not '{host}'.")
    if runs.is_file():
        raise ConfigError(f"{runs} is a file. Name a run folder, or a folder that holds runs.")
    for package in ("streamlit", "duckdb"):
        if importlib.util.find_spec(package) is None:
            raise MissingExtraError(package, "dashboard", "The dashboard")
    options = {"server.address": address, "server.port": str(port), **_LOOKS}
    words = [f"--{name}={value}" for name, value in options.items()]
    return [sys.executable, "-m", "streamlit", "run", str(_APP), *words, "--", str(runs.resolve()), *interview_hosts]


def check_address(address: str) -> None:
    """Refuse an invalid address to listen on: Streamlit takes "" for all networks of the machine.

    Raises:
        ConfigError: It is neither an IP address nor a name that resolves to one.
    """
    try:
        ipaddress.ip_address(address)
    except ValueError:
        # Names must end in a word, so that 999.1.1.1, 0 or 0x0 is not taken for a name.
        if _HOST_NAME.fullmatch(address) and _resolves(address):
            return
        raise ConfigError(
            f"--address is an IP address or the name of this machine, not '{address}'. {LOOPBACK} is this machine "
            "only; 0.0.0.0 opens the dashboard to everybody who reaches the machine."
        ) from None


def _is_host(text: str) -> bool:
    try:
        return bool(_HOST.fullmatch(text)) and urlsplit(f"//{text}").port != 0
    except ValueError:  # invalid port
        return False


def _resolves(name: str) -> bool:
    try:
        return bool(socket.getaddrinfo(name, None))
    except (OSError, UnicodeError):
        return False


def run_dashboard(runs: Path, port: int, address: str, interview_hosts: Sequence[str] = ()) -> None:
    """Serve the dashboard until it is interrupted.

    Raises:
        ConfigError: The server could not start (its own lines above say why), or see `dashboard_command`.
        MissingExtraError: streamlit is not installed.
    """
    command = dashboard_command(runs, port, address, interview_hosts)
    shown = f"[{address}]" if ":" in address else address
    print(f"The dashboard of {runs} is at http://{shown}:{port} (Ctrl+C ends it).", flush=True)
    if address not in {LOOPBACK, "localhost", "::1"}:
        print("It asks nobody who they are: everybody who reaches this address can read the runs (docs/dashboard.md).")
    try:
        code = subprocess.run(command, check=False).returncode
    except KeyboardInterrupt:
        return
    if code not in {0, -2, 130}:
        raise ConfigError(f"The dashboard ended with code {code}. Is port {port} taken? Try another --port.")
