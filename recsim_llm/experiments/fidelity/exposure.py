"""Replays held-out sessions of an impression log: what the simulator would watch, and when it would leave."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recsim_llm.agents.statistical.impression_fit import says_nothing_of_leaving
from recsim_llm.agents.user_model import UserModel
from recsim_llm.data.dataset import Impressions
from recsim_llm.experiments.fidelity.measures.baselines import Baselines
from recsim_llm.experiments.fidelity.measures.choice_measures import log_loss_of_choices, slot_curve, slot_measure
from recsim_llm.experiments.fidelity.measures.measures import Measure, mean_of_users, per_user, within_user_auc
from recsim_llm.experiments.fidelity.measures.rating_measures import calibration_error
from recsim_llm.experiments.fidelity.report.sections import Findings
from recsim_llm.seeding import Stream, mix
from recsim_llm.types import EMPTY, Bools, Floats, Ints, Responses


@dataclass(frozen=True)
class Relived:
    """A simulator's predictions for held-out sessions.

    Attributes:
        chance: (M,) probability of watching, one per row of the log.
        page_users, page_numbers: (P,) user and number of each page.
        leave: (P,) probability of leaving after the page.
        left: (P,) whether the person left; False where the session was cut off.
        decided: (P,) whether the page is evidence about leaving (`impression_fit.says_nothing_of_leaving`).
    """

    chance: Floats
    page_users: Ints
    page_numbers: Ints
    leave: Floats
    left: Bools
    decided: Bools


def relive_sessions(model: UserModel, log: Impressions) -> Relived:
    """Show every session's pages to a simulated session, which observes what really happened.

    Args:
        model: The population; its sessions are restarted.
        log: Rows sorted by session, page and slot.
    """
    _, first, handle = np.unique(log.sessions, return_index=True, return_inverse=True)
    width = int(log.slots.max()) + 1
    users = log.users[first]
    model.reset(np.arange(len(users)), users, mix(0, Stream.CALIBRATION, log.sessions[first]))
    chance = np.zeros(len(log))
    pieces: list[tuple[Ints, Ints, Floats, Bools, Bools]] = []
    last_page = np.zeros(len(users), dtype=np.int64)
    np.maximum.at(last_page, handle, log.pages)
    for page in range(int(log.pages.max()) + 1):
        rows = np.flatnonzero(log.pages == page)
        if not len(rows):
            continue
        here, place = np.unique(handle[rows], return_inverse=True)
        items = np.full((len(here), width), EMPTY, dtype=np.int64)
        watched, stars = np.zeros(items.shape, dtype=np.bool_), np.zeros(items.shape)
        left = np.zeros(len(here), dtype=np.bool_)
        items[place, log.slots[rows]] = log.items[rows]
        watched[place, log.slots[rows]], stars[place, log.slots[rows]] = log.watched[rows], log.ratings[rows]
        left[place] = log.left[rows]
        chance[rows] = model.react(here, items).watch_BK[place, log.slots[rows]]
        leave = model.observe(here, items, Responses(watched, stars))
        pieces.append((users[here], np.full(len(here), page), leave, left, last_page[here] == page))
    page_users, numbers, leaves, lefts, lasts = (np.concatenate(column) for column in zip(*pieces, strict=True))
    decided = ~says_nothing_of_leaving(numbers, lefts, lasts)
    return Relived(chance, page_users, numbers, leaves, lefts, decided)


def add_exposure(findings: Findings, log: Impressions, relived: Relived, ids: Ints, baselines: Baselines) -> None:
    """Add the choices among the items really shown, the slot curve, and session lengths.

    Args:
        findings: To add to; its people are `ids`.
        log: Held-out sessions of these people.
        relived: The simulator's predictions for these sessions.
        ids: (U,) user ids, ascending.
        baselines: Fitted to the training log.
    """
    users, count = np.searchsorted(ids, log.users), len(ids)
    watched = log.watched.astype(np.float64)
    for name, score in baselines.choices.items():
        auc = mean_of_users(within_user_auc(users, score(log.users, log.items), watched, count))
        findings.baseline(name, "exposure_auc", auc.value)
    auc = mean_of_users(within_user_auc(users, relived.chance, watched, count))
    floor, bar = (findings.reference(name, "exposure_auc") for name in ("popularity", "ease"))
    findings.add("exposure_auc", auc, floor, bar, 1.0)
    base = log_loss_of_choices(users, np.full(len(users), watched.mean()), watched, count)
    findings.add("watch_log_loss", log_loss_of_choices(users, relived.chance, watched, count), base.value, None, 0.0)
    findings.add("watch_ece", calibration_error(users, relived.chance, watched, count), None, None, 0.0)
    # Here the slots are those that the people saw, so they have their real effect.
    findings.add("slot_curve_gap", slot_measure(users, relived.chance, watched, log.slots, count), 1.0, None, 0.0)
    findings.curves["slots"] = slot_curve(relived.chance, watched, log.slots)
    if log.has_exits:
        _add_lengths(findings, relived, ids)


def _add_lengths(findings: Findings, relived: Relived, ids: Ints) -> None:
    """KS distance of survival curves, from the share that leaves among those who decided after a page."""
    rows = relived.decided
    if not rows.any():
        return
    place = np.eye(int(relived.page_numbers[rows].max()) + 1)[relived.page_numbers[rows]]
    left, users = relived.left[rows].astype(np.float64), np.searchsorted(ids, relived.page_users[rows])
    columns = np.concatenate([place, place * relived.leave[rows, None], place * left[:, None]], axis=1)
    measure = Measure(per_user(users, columns, len(ids)), lambda t: np.abs(np.subtract(*_survival(t))).max(axis=-1))
    findings.add("session_length_ks", measure, 1.0, None, 0.0)
    simulated, real = _survival(measure.sums.sum(axis=0))
    pages = [float(page + 1) for page in range(len(real))]
    findings.curves["session_length"] = {"page": pages, "simulated": simulated.tolist(), "real": real.tolist()}


def _survival(totals: Floats) -> tuple[Floats, Floats]:
    at_risk, expected, happened = np.split(totals, 3, axis=-1)
    known = np.maximum(at_risk, 1e-9)
    simulated, real = (np.cumprod(1 - leaving / known, axis=-1, dtype=np.float64) for leaving in (expected, happened))
    return np.asarray(simulated), np.asarray(real)
