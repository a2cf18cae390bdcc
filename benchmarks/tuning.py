"""Tuning: answers learned per second from lessons of many questions, and from one sequence per answer."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice

from benchmarks.table import Row
from recsim_llm.agents.llm.page_agent import YES_NO
from recsim_llm.errors import MissingExtraError
from recsim_llm.experiments.tuning.encoding import Encoder
from recsim_llm.experiments.tuning.lessons import Curriculum, Lesson
from recsim_llm.experiments.tuning.task import TuneConfig, make_task

PADDED = 8
"""Sequences per batch of the peer: more are slower on a CPU, as they are padded to the longest."""


def run(quick: bool) -> Iterator[Row | str]:
    """Answers per second of whole optimiser steps, with the small real model on the invented world."""
    try:
        import torch

        from recsim_llm.language.model_files import load_model
    except ImportError as error:
        raise MissingExtraError(error.name or "torch", "tune", "The benchmark of tuning") from error
    config = TuneConfig("synthetic:0:60", split="random")
    task = make_task(config)
    curriculum = Curriculum(task.data, task.train, task.learners, config.teacher)
    lessons = [replace(lesson, told=()) for lesson in islice(curriculum.epoch(0), 4 if quick else 10)]
    where = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model, tokenizer, _ = load_model("smollm2-135m", where, torch.float32)
    encoder = Encoder(tokenizer, (YES_NO, tuple(str(i + 1) for i in range(len(task.data.rating_levels)))))
    theirs = _one_sequence_an_answer(model, encoder, lessons, 2 if quick else 5)
    ours = _lessons(model, encoder, lessons)  # last: it changes how the model attends
    asked = sum(len(lesson.asked) for lesson in lessons) / len(lessons)
    what = f"tuning SmolLM2-135M, {asked:.0f} questions a person"
    yield Row(f"{what}: answers learned", ours, "answers/s", "", theirs, "transformers, one padded sequence an answer")


def _lessons(model: object, encoder: Encoder, lessons: list[Lesson]) -> float:
    from recsim_llm.experiments.tuning.learner import TuningLearner

    learner, rows = TuningLearner(model), [encoder.lesson(lesson) for lesson in lessons]
    learner.step(rows[:1], [], 0.0, 1.0)
    started = time.perf_counter()
    for first in range(1, len(rows), 3):
        learner.step(rows[first : first + 3], [], 0.0, 1.0)
    return sum(len(row.places) for row in rows[1:]) / (time.perf_counter() - started)


def _one_sequence_an_answer(model: object, encoder: Encoder, lessons: list[Lesson], batches: int) -> float:
    """As TALLRec (RecSys 2023) and most recipes for tuned users: person, one item, its label, padded to a batch."""
    import torch

    apart = [encoder.lesson(replace(lesson, asked=(asked,))) for lesson in lessons for asked in lesson.asked]
    order = torch.randperm(len(apart), generator=torch.Generator().manual_seed(0)).tolist()
    weights = [w for w in model.parameters() if w is not model.get_input_embeddings().weight]  # type: ignore[attr-defined]
    optimiser = torch.optim.AdamW(weights, lr=6e-4)
    seconds = 0.0
    for batch in range(batches + 1):
        started = time.perf_counter()
        rows = [apart[place] for place in order[batch * PADDED : (batch + 1) * PADDED]]
        length = max(len(row.ids) for row in rows) + 1
        ids, seen, labels = (torch.full((len(rows), length), fill) for fill in (0, 0, -100))
        for n, row in enumerate(rows):
            label = row.tokens[0][max(range(len(row.targets[0])), key=row.targets[0].__getitem__)]
            size = len(row.ids) + 1
            ids[n, :size], seen[n, :size], labels[n, size - 1] = torch.tensor([*row.ids, label]), 1, label
        ids, seen, labels = (x.to(model.device) for x in (ids, seen, labels))  # type: ignore[attr-defined]
        loss = model(input_ids=ids, attention_mask=seen, labels=labels).loss  # type: ignore[operator]
        loss.backward()
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        seconds += time.perf_counter() - started if batch else 0.0
    return batches * PADDED / seconds
