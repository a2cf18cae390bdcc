"""Rows of the table of runs: configuration, results, cost and progress."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from recsim_llm.certificate import FAIL, PASS
from recsim_llm.dashboard.view import RunView, sentence
from recsim_llm.errors import RecordingError
from recsim_llm.experiments.metrics import summarise_totals

RUNNING, FINISHED = "running", "finished"


@dataclass(frozen=True, slots=True)
class RunRow:
    """A row of the table of runs; None for missing numbers.

    Attributes:
        name: Folder of the run, relative to the top one.
        status: "running", "interrupted" or "finished".
        policy, users, dataset, llm: Configuration of the run; llm is "" without a language model.
        people, sessions, pages: Recorded counts.
        watch_rate: Mean over users of the share of shown items that were watched, [0, 1].
        mean_rating: Mean over users of their mean stars.
        length: Mean over users of pages per session.
        progress: Share of the work that is done, [0, 1].
        seconds: Wall time of a finished run.
        calls, tokens: LLM calls of users and policy, and tokens read and written.
        decisions: Number of items judged.
        verdict: Verdict of the certificate, in words.
        created: Start time of the run.
    """

    name: str
    status: str
    policy: str
    users: str
    dataset: str
    llm: str
    people: int
    sessions: int
    pages: int
    watch_rate: float | None
    mean_rating: float | None
    length: float | None
    progress: float
    seconds: float | None
    calls: int
    tokens: int
    decisions: int
    verdict: str
    created: str


def run_row(view: RunView, name: str) -> RunRow:
    """The row of one run.

    Raises:
        RecordingError: A part is damaged.
    """
    manifest, empty = view.manifest, view.run.num_parts == 0
    found = None if empty else summarise_totals(view.totals())
    spent = _spent(manifest.summary)
    return RunRow(
        name=name,
        status=manifest.status,
        policy=manifest.policy,
        users=manifest.user_model,
        dataset=manifest.dataset,
        llm=manifest.llm or manifest.policy_llm,
        people=int(found["users"].value) if found else 0,
        sessions=int(found["sessions"].value) if found else 0,
        pages=int(found["pages"].value) if found else 0,
        watch_rate=_number(found["watch_rate"].value if found else None),
        mean_rating=_number(found["mean_rating"].value if found else None),
        length=_number(found["session_length"].value if found else None),
        progress=progress(view),
        seconds=manifest.summary.get("seconds"),
        calls=int(spent["calls"]),
        tokens=int(spent["prompt_tokens"] + spent["output_tokens"]),
        decisions=int(manifest.summary.get("decisions", 0)),
        verdict=verdict(view),
        created=manifest.created,
    )


def progress(view: RunView) -> float:
    """Share of the work that is recorded: of the sessions that have ended, or of a society's rounds."""
    if view.manifest.status == FINISHED:
        return 1.0
    rounds = int(view.manifest.config.get("rounds", 0) or 0)
    if rounds:
        done = view.frame("SELECT count(DISTINCT round) AS n FROM events")["n"][0]
        return min(1.0, int(done) / rounds)
    done = view.frame('SELECT count(*) AS n FROM steps WHERE "left" OR truncated')["n"][0]
    return min(1.0, int(done) / max(1, view.manifest.num_users))


def verdict(view: RunView) -> str:
    """Verdict of the certificate, in a few words."""
    try:
        certificate = view.certificate
    except RecordingError as error:
        return sentence(error)
    if certificate is None:
        return "the truth" if view.manifest.summary.get("certified") else "none"
    if certificate.shortfall:
        return "certifies nothing"
    verdicts = [metric.verdict for metric in certificate.metrics.values()]
    passed, failed = verdicts.count(PASS), verdicts.count(FAIL)
    return f"{passed} passed, {failed} failed" if failed else f"all {passed} passed"


def _spent(summary: Mapping[str, Any]) -> dict[str, float]:
    names = ("calls", "prompt_tokens", "output_tokens")
    used = [summary.get(model, {}) for model in ("llm", "policy_llm")]
    return {name: sum(float(of.get(name, 0)) for of in used) for name in names}


def _number(value: float | None) -> float | None:
    return None if value is None or value != value else value
