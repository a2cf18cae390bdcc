"""Traits separate people in the declared direction, and the table says so with intervals."""

from __future__ import annotations

import numpy as np
import pytest

from recsim_llm.agents.fitted_sources import TEST_SHARE, personas
from recsim_llm.agents.personas.persona import item_means
from recsim_llm.cli.command_line import main
from recsim_llm.data import load_dataset, split_ratings
from recsim_llm.errors import DownloadError
from recsim_llm.experiments.simulation.config import SimulationConfig
from recsim_llm.experiments.simulation.simulate import simulate
from recsim_llm.experiments.traits import separation_table, separations


def measured(tmp_path, dataset, users):
    config = SimulationConfig(dataset=dataset, policies=("random",), users=users, pages=10)
    (run,) = simulate(config, tmp_path, progress=False)
    data = load_dataset(dataset)
    means = item_means(split_ratings(data.ratings, "temporal", TEST_SHARE).train)
    return separations(run.step_batch(), personas(dataset), data.catalogue, means)


def test_active_people_stay_and_mavericks_stray(tmp_path):
    activity, conformity, diversity = measured(tmp_path, "synthetic:0:1000", 1000)
    assert activity.gap.low > 0.5
    assert conformity.gap.low > 0.1
    assert [g.n for g in activity.groups] == sorted((g.n for g in activity.groups), reverse=True)
    table = separation_table((activity, conformity, diversity))
    assert f"{activity.gap.value:.3f}" in table
    assert len(table.splitlines()) == 4


def test_shuffled_traits_separate_nobody(tmp_path):
    from dataclasses import replace

    dataset = "synthetic:0:1000"
    (run,) = simulate(SimulationConfig(dataset=dataset, policies=("random",), users=1000), tmp_path, progress=False)
    people = personas(dataset)
    order = np.random.default_rng(0).permutation(len(people))
    names = ("activity", "conformity", "diversity")
    strangers = [
        replace(p, **{name: getattr(people[o], name) for name in names}) for p, o in zip(people, order, strict=True)
    ]
    data = load_dataset(dataset)
    for found in separations(run.step_batch(), strangers, data.catalogue, item_means(data.ratings)):
        assert found.gap.low < 0 < found.gap.high


def test_the_command_prints_the_table(tmp_path, capsys):
    simulate(SimulationConfig(policies=("random",), users=50), tmp_path, progress=False)
    main(["traits", str(tmp_path)])
    out = capsys.readouterr().out
    assert all(word in out for word in ("random", "activity", "conformity", "diversity", "3 less 1"))


@pytest.mark.slow
def test_all_three_traits_separate_real_people(tmp_path):
    try:
        found = measured(tmp_path, "ml-100k", 943)
    except DownloadError as error:
        pytest.skip(str(error))
    for each in found:
        assert each.gap.low > 0, each
