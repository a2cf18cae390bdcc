"""The checksum of a data set's content, computed without files, so that a synthetic world needs no reader."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import fields

import numpy as np

from recsim_llm.data.dataset import Catalogue, Impressions, Person, Ratings


def content_checksum(
    catalogue: Catalogue,
    log: Ratings,
    people: Sequence[Person],
    levels: Sequence[float],
    impressions: Impressions | None = None,
) -> str:
    """sha256 over everything except the name and the licence, identical on every machine."""
    digest = hashlib.sha256()
    for array, kind in ((log.users, "<i8"), (log.items, "<i8"), (log.values, "<f4"), (log.times, "<i8")):
        digest.update(np.ascontiguousarray(array, dtype=kind).tobytes())
    for item, raw in zip(catalogue.items, catalogue.raw_ids, strict=True):
        digest.update(repr((raw, item.title, item.year, item.genres, item.description)).encode())
    for person in people:
        digest.update(repr((person.raw_id, person.age, person.gender, person.occupation)).encode())
    digest.update(repr(tuple(float(level) for level in levels)).encode())
    if impressions is not None:
        for field in fields(impressions):
            digest.update(np.ascontiguousarray(getattr(impressions, field.name)).tobytes())
    return digest.hexdigest()
