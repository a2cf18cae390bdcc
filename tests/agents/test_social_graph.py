"""Social graphs: what they promise whatever the edges, generators that do what they say, files that come back."""

from __future__ import annotations

import builtins
import re
from pathlib import Path

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsim_llm.agents.population import make_society
from recsim_llm.agents.society.graph import (
    RELATIONS,
    Edge,
    SocialGraph,
    barabasi_albert,
    generators,
    genre_tastes,
    homophily,
    load_graph,
    make_graph,
    save_graph,
    watts_strogatz,
)
from recsim_llm.data import load_dataset
from recsim_llm.data.dataset import Person
from recsim_llm.data.worlds.synthetic import make_world
from recsim_llm.errors import ConfigError, DataError, IsolationWarning, MissingExtraError
from recsim_llm.seeding import uniforms
from recsim_llm.types import EMPTY

DOCS = Path(__file__).parents[2] / "docs" / "social_graph.md"
HEADER = "user_1,user_2,relationship,closeness\n"
WORDS = st.text(st.characters(categories=["L", "N", "P", "S"]), min_size=1, max_size=12)


BOTH = st.booleans()


@st.composite
def graphs(draw, directed=BOTH):
    count = draw(st.integers(1, 12))
    users = st.integers(0, count - 1)
    rows = draw(
        st.lists(
            st.tuples(users, users, WORDS, st.floats(1e-300, 1.0), WORDS).filter(lambda row: row[0] != row[1]),
            max_size=30,
        )
    )
    return SocialGraph.from_edges(count, [Edge(*row) for row in rows], directed=draw(directed))


def people(count):
    return tuple(Person(u, f"id {u}, of {count}") for u in range(count))


def same(one, two):
    return one.directed == two.directed and one.num_users == two.num_users and [*one.edges()] == [*two.edges()]


@pytest.fixture(scope="module")
def world():
    return make_world(seed=3, num_users=300, num_items=200, ratings_per_user=40).dataset


def generated(world, seed=0):
    tastes = genre_tastes(world.ratings, world.catalogue)
    return {
        "homophily": homophily(tastes, 12.0, seed),
        "barabasi-albert": barabasi_albert(300, 3, seed),
        "watts-strogatz": watts_strogatz(300, 10, 0.1, seed),
    }


@given(graphs())
def test_arrays_agree_with_the_edges(graph):
    assert graph.degrees.sum() == graph.graph.number_of_edges() * (1 if graph.directed else 2)
    for user in range(graph.num_users):
        mine = graph.neighbours(user)
        assert mine.tolist() == sorted(set(graph.graph.adj[user]))
        assert user not in mine
        closeness = [graph.graph.edges[user, other]["closeness"] for other in mine.tolist()]
        assert graph.closeness(user).tolist() == closeness


@given(graphs(directed=st.just(False)))
def test_undirected_graphs_are_symmetric(graph):
    for edge in graph.edges():
        back = graph.neighbours(edge.user_2).tolist().index(edge.user_1)
        assert graph.closeness(edge.user_2)[back] == edge.closeness
        assert graph.relation(edge.user_1, edge.user_2) == edge.relation
        assert graph.relation(edge.user_2, edge.user_1) == edge.inverse


@given(graphs(), st.integers(0, 2**32), st.randoms(use_true_random=False))
def test_a_pick_is_an_acquaintance_whatever_the_batch(graph, seed, random):
    users = np.array([random.randrange(graph.num_users) for _ in range(20)])
    draws = uniforms(seed, np.arange(20))
    draws[0], draws[1] = 0.0, np.nextafter(1.0, 0.0)
    picked = graph.pick(users, draws)
    for user, other in zip(users.tolist(), picked.tolist(), strict=True):
        mine = graph.neighbours(user)
        assert other in mine if len(mine) else other == EMPTY
    order = np.array(random.sample(range(20), 20))
    assert graph.pick(users[order], draws[order]).tolist() == picked[order].tolist()
    assert [int(graph.pick(users[i : i + 1], draws[i : i + 1])[0]) for i in range(20)] == picked.tolist()


@given(graphs(directed=st.just(False)), st.floats(0, 1, exclude_max=True))
def test_an_edge_elsewhere_changes_nobodys_pick(graph, draw):
    wider = SocialGraph.from_edges(graph.num_users + 2, graph.edges())
    changed = wider.with_edge(graph.num_users, graph.num_users + 1, "friend", 0.5)
    users = np.arange(graph.num_users)
    assert (
        changed.pick(users, np.full(len(users), draw)).tolist() == graph.pick(users, np.full(len(users), draw)).tolist()
    )


def test_picks_follow_closeness():
    closeness = [0.05, 0.15, 0.3, 1.0]
    graph = SocialGraph.from_edges(6, [Edge(5, other, "friend", c) for other, c in enumerate(closeness)])
    count = 40_000
    picked = graph.pick(np.full(count, 5), uniforms(11, np.arange(count)))
    expected = np.array(closeness) / sum(closeness)
    error = np.sqrt(expected * (1 - expected) / count)
    assert np.all(np.abs(np.bincount(picked, minlength=6)[:4] / count - expected) < 4 * error)
    assert graph.pick(np.array([4]), np.array([0.3])).tolist() == [EMPTY]
    assert graph.pick(np.array([], dtype=int), np.array([])).tolist() == []


def test_picking_takes_users_and_uniforms_only():
    graph = SocialGraph.from_edges(2, [Edge(0, 1, "friend", 0.5)])
    for users, draws in ([-1], [0.5]), ([2], [0.5]), ([0], [1.0]), ([0], [np.nan]), ([0], [-0.1]):
        with pytest.raises(ConfigError, match=r"0\.\.1"):
            graph.pick(np.array(users), np.array(draws))


@given(graphs(), st.data())
def test_an_edge_comes_and_goes_and_the_old_graph_stays(graph, data):
    if graph.num_users < 2:
        return
    one, two = data.draw(st.permutations(range(graph.num_users)))[:2]
    before = [*graph.edges()]
    more = graph.with_edge(one, two, "rival", 0.25)
    assert two in more.neighbours(one)
    assert (one in more.neighbours(two)) or graph.directed
    assert more.relation(one, two) == "rival"
    less = more.without_edge(one, two)
    assert two not in less.neighbours(one)
    untouched = [edge for edge in before if edge[:2] not in ((one, two), (two, one)) or graph.directed]
    assert [*less.edges()] == [edge for edge in untouched if edge[:2] != (one, two)]
    assert [*graph.edges()] == before


def test_graphs_cannot_be_written_to():
    graph = SocialGraph.from_edges(3, [Edge(0, 1, "friend", 0.5)])
    with pytest.raises(nx.NetworkXError):
        graph.graph.add_edge(1, 2)
    with pytest.raises(ValueError, match="read-only"):
        graph.neighbours(0)[0] = 2


@pytest.mark.parametrize(
    ("one", "two", "relation", "closeness", "said"),
    [
        (1, 1, "friend", 0.5, "itself"),
        (0, 3, "friend", 0.5, r"0\.\.2"),
        (-1, 2, "friend", 0.5, r"0\.\.2"),
        (0, 1, "friend", 0.0, "closeness"),
        (0, 1, "friend", 1.1, "closeness"),
        (0, 1, "friend", float("nan"), "closeness"),
        (0, 1, " ", 0.5, "relation"),
        (0, 1, "two\nlines", 0.5, "relation"),
    ],
)
def test_impossible_edges_are_refused(one, two, relation, closeness, said):
    graph = SocialGraph.from_edges(3, [])
    with pytest.raises(ConfigError, match=said):
        graph.with_edge(one, two, relation, closeness)
    with pytest.raises(ConfigError):
        SocialGraph.from_edges(3, [Edge(one, two, relation, closeness)])


def test_removing_what_is_not_there_is_refused():
    with pytest.raises(ConfigError, match="no edge"):
        SocialGraph.from_edges(3, []).without_edge(0, 1)
    with pytest.raises(ConfigError, match="no user"):
        SocialGraph.from_edges(3, []).neighbours(-1)


@given(graphs())
def test_summary_agrees_with_networkx(graph):
    summary = graph.summary()
    plain = nx.Graph(graph.graph)
    assert summary.density == pytest.approx(nx.density(graph.graph))
    assert (summary.nodes, summary.edges) == (len(plain), graph.graph.number_of_edges())
    assert summary.components == nx.number_connected_components(plain)
    assert summary.mean_degree == pytest.approx(np.mean([graph.graph.degree(n) for n in plain]) / (1 + graph.directed))


def test_a_complete_graph_has_density_one():
    pairs = [(a, b) for a in range(5) for b in range(5) if a != b]
    for directed in (False, True):
        graph = SocialGraph.from_edges(5, [Edge(a, b, "friend", 1.0) for a, b in pairs], directed=directed)
        assert graph.summary().density == 1.0


@settings(deadline=None)
@given(graph=graphs())
def test_a_file_gives_the_same_graph_back(tmp_path_factory, graph):
    path = tmp_path_factory.mktemp("graph") / "friends.csv"
    save_graph(graph, people(graph.num_users), path)
    assert same(load_graph(path, people(graph.num_users), directed=graph.directed), graph)


def test_both_directions_are_one_edge_and_may_have_names(tmp_path):
    path = tmp_path / "friends.csv"
    path.write_text(HEADER + "a,b,friend,0.5\nb,a,friend,0.5\nc,b,mother,0.9\nb,c,child,0.9\na,b,friend,0.5\n")
    named = [Person(0, "a"), Person(1, "b"), Person(2, "c")]
    graph = load_graph(path, named)
    assert [*graph.edges()] == [Edge(0, 1, "friend", 0.5, "friend"), Edge(1, 2, "child", 0.9, "mother")]
    assert graph.relation(2, 1) == "mother"
    assert load_graph(path, named, directed=True).summary().edges == 4


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ("a,x,friend,0.5\n", ["line 2", "'user_2'", "'x'", "Add it"]),
        ("a,b,friend,0.5\n,a,friend,0.5\n", ["line 3", "'user_1'", "''"]),
        ("a,b,friend,0.5\nb,b,friend,0.5\n", ["line 3", "'b'", "itself"]),
        ("a,b,friend,0\n", ["line 2", "'closeness'", "0.0"]),
        ("a,b,friend,1.5\n", ["line 2", "'closeness'", "1.5"]),
        ("a,b,friend,nan\n", ["line 2", "'closeness'", "nan"]),
        ("a,b,friend,near\n", ["line 2", "'closeness'", "'near'"]),
        ("a,b,,0.5\n", ["line 2", "'relationship'", "''"]),
        ("a,b,friend,0.5\na,b,friend,0.6\n", ["line 3", "'closeness'", "0.6", "line 2", "0.5"]),
        ("a,b,friend,0.5\nb,a,friend,0.6\n", ["line 3", "'closeness'", "0.6", "line 2", "directed"]),
        ("a,b,friend,0.5\na,b,rival,0.5\n", ["line 3", "'relationship'", "'rival'", "'friend'"]),
        ("a,b,friend\n", ["line 2", "4 columns"]),
    ],
)
def test_a_bad_file_is_refused_by_line(tmp_path, rows, said):
    path = tmp_path / "friends.csv"
    path.write_text(HEADER + rows)
    with pytest.raises(DataError) as caught:
        load_graph(path, [Person(0, "a"), Person(1, "b")])
    for word in ("friends.csv", *said):
        assert word in str(caught.value)


def test_a_missing_column_or_file_is_named(tmp_path):
    path = tmp_path / "friends.csv"
    path.write_text("user_1,user_2,closeness\na,b,0.5\n")
    with pytest.raises(DataError, match="'relationship' is missing"):
        load_graph(path, [Person(0, "a"), Person(1, "b")])
    with pytest.raises(DataError, match=r"away\.csv"):
        load_graph(tmp_path / "away.csv", [])
    path.write_text(HEADER)
    assert load_graph(path, [Person(0, "a")]).summary().edges == 0


def test_generators_repeat_themselves_and_heed_the_seed(world):
    for name, graph in generated(world).items():
        assert same(graph, generated(world)[name]), name
        assert not same(graph, generated(world, seed=1)[name]), name


def test_degrees_are_as_asked(world):
    for seed in range(3):
        graphs = generated(world, seed)
        edges = 300 * 12 / 2
        assert abs(graphs["homophily"].summary().edges - edges) < 4 * np.sqrt(edges)
        assert graphs["watts-strogatz"].summary().mean_degree == 10
        assert graphs["barabasi-albert"].summary().edges == 3 * (300 - 3)


@pytest.mark.parametrize("mean_degree", [0.0, 0.5, 30.0, 59.0])
def test_any_mean_degree_can_be_had(mean_degree):
    tastes = np.random.default_rng(0).normal(size=(60, 4))
    sizes = [homophily(tastes, mean_degree, seed, strength=8.0).summary().mean_degree for seed in range(8)]
    assert np.mean(sizes) == pytest.approx(mean_degree, abs=4 * np.sqrt(2 * mean_degree / 60 / 8) if mean_degree else 0)


def test_neighbours_are_alike(world):
    tastes = genre_tastes(world.ratings, world.catalogue)
    units = tastes / np.linalg.norm(tastes, axis=1, keepdims=True)
    cosines = units @ units.T
    everybody = cosines[np.triu_indices(300, 1)].mean()
    for strength, alike in ((3.0, True), (0.0, False)):
        ends = np.array([edge[:2] for edge in homophily(tastes, 12.0, 5, strength).edges()])
        near = cosines[ends[:, 0], ends[:, 1]]
        error = near.std() / np.sqrt(len(near))
        low, high = near.mean() - 4 * error, near.mean() + 4 * error
        assert low > everybody if alike else low < everybody < high


def test_closeness_rises_with_likeness(world):
    tastes = genre_tastes(world.ratings, world.catalogue)
    units = tastes / np.linalg.norm(tastes, axis=1, keepdims=True)
    for edge in homophily(tastes, 12.0, 5).edges():
        cosine = units[edge.user_1] @ units[edge.user_2]
        assert edge.closeness == pytest.approx(max((1 + cosine) / 2, 0.01))


def test_blocks_do_not_change_a_graph(world, monkeypatch):
    tastes = genre_tastes(world.ratings, world.catalogue)
    whole = homophily(tastes, 12.0, 5)
    monkeypatch.setattr(generators, "_BLOCK_CELLS", 701)
    blocked = homophily(tastes, 12.0, 5)
    assert [edge[:3] for edge in blocked.edges()] == [edge[:3] for edge in whole.edges()]


def test_popularity_and_neighbourhood_do_not_follow_ids():
    ids = np.arange(400)
    degrees = np.mean([barabasi_albert(400, 3, seed).degrees for seed in range(20)], axis=0)
    assert abs(np.corrcoef(ids, degrees)[0, 1]) < 4 / np.sqrt(400)
    ends = np.array([edge[:2] for edge in watts_strogatz(400, 4, 0.0, 1).edges()])
    assert np.mean(np.abs(ends[:, 0] - ends[:, 1])) == pytest.approx(400 / 3, rel=0.15)


def test_relations_are_drawn_as_declared():
    drawn = [edge.relation for edge in barabasi_albert(2000, 5, 0).edges()]
    for name, weight in RELATIONS.items():
        share = weight / sum(RELATIONS.values())
        error = np.sqrt(share * (1 - share) / len(drawn))
        assert abs(drawn.count(name) / len(drawn) - share) < 4 * error


def test_nobody_without_taste_is_a_stranger_to_all():
    tastes = np.random.default_rng(0).normal(size=(200, 4))
    tastes[:20] = 0.0
    graph = homophily(tastes, 20.0, 0)
    assert 0 < graph.degrees[:20].mean() < 20
    assert np.isfinite(graph.closeness(0)).all()


@pytest.mark.parametrize(
    "make",
    [
        lambda: homophily(np.zeros((5, 2)), 5.0, 0),
        lambda: homophily(np.zeros((5, 2)), -1.0, 0),
        lambda: homophily(np.zeros((5, 2)), 2.0, 0, float("nan")),
        lambda: homophily(np.full((5, 2), np.nan), 2.0, 0),
        lambda: homophily(np.zeros(5), 2.0, 0),
        lambda: barabasi_albert(5, 5, 0),
        lambda: barabasi_albert(5, 0, 0),
        lambda: watts_strogatz(5, 3, 0.1, 0),
        lambda: watts_strogatz(5, 6, 0.1, 0),
        lambda: watts_strogatz(5, 2, 1.5, 0),
    ],
)
def test_impossible_graphs_are_refused(make):
    with pytest.raises(ConfigError):
        make()


@pytest.mark.parametrize("spec", ["homophily", "homophily:20", "homophily:9,1", "barabasi-albert:3", "watts-strogatz"])
def test_specs_make_graphs(world, spec):
    graph = make_graph(spec, world.people, world.ratings, world.catalogue, 4)
    assert graph.num_users == 300
    assert same(graph, make_graph(spec, world.people, world.ratings, world.catalogue, 4))


def test_specs_mean_their_numbers(world, tmp_path):
    rest = world.people, world.ratings, world.catalogue, 4
    tastes = genre_tastes(world.ratings, world.catalogue)
    assert same(make_graph("homophily:9,1", *rest), homophily(tastes, 9.0, 4, 1.0))
    assert same(make_graph("homophily", *rest), homophily(tastes, 20.0, 4))
    assert same(make_graph("barabasi-albert:2", *rest), barabasi_albert(300, 2, 4))
    assert same(make_graph("watts-strogatz:6,0.3", *rest), watts_strogatz(300, 6, 0.3, 4))
    assert make_graph("none", *rest).summary().edges == 0
    save_graph(homophily(tastes, 9.0, 4), world.people, tmp_path / "friends.csv")
    assert same(make_graph(str(tmp_path / "friends.csv"), *rest), homophily(tastes, 9.0, 4))


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("homophilly:20", "Did you mean 'homophily'"),
        ("friends.csv", "no file"),
        ("", "no file"),
        ("none:3", "1 numbers"),
        ("barabasi-albert:2.5", "whole"),
        ("barabasi-albert:nan", "whole"),
        ("watts-strogatz:4,0.1,3", "3 numbers"),
        ("homophily:many", "no numbers"),
        ("homophily:nan", "mean_degree"),
    ],
)
def test_specs_that_mean_nothing_are_refused(world, spec, said):
    with pytest.raises(ConfigError, match=said):
        make_graph(spec, world.people, world.ratings, world.catalogue, 0)


def test_small_populations_have_a_default():
    for count in (1, 2, 5):
        small = make_world(seed=0, num_users=count, num_items=30, ratings_per_user=10).dataset
        assert make_graph("homophily", small.people, small.ratings, small.catalogue, 0).num_users == count


@pytest.mark.filterwarnings("ignore::recsim_llm.errors.IsolationWarning")
@pytest.mark.parametrize("count", [10, 20])
@pytest.mark.parametrize("spec", ["homophily", "homophily:4", "barabasi-albert", "watts-strogatz"])
def test_a_small_society_of_many_people_is_drawn_among_its_members(spec, count):
    # Cut out of a graph over all 200 people, a tenth of whom anybody knows, 10 members would be alone.
    asked = {"homophily": (count - 1) / 2, "homophily:4": 4.0, "barabasi-albert": 6 * (count - 3) / count}
    degrees = []
    for seed in range(5):
        society = make_society("synthetic", graph=spec, agents=count, seed=seed)
        assert len(society.members) == count
        away = np.setdiff1d(np.arange(200), society.members)
        assert not society.graph.degrees[away].any()
        mine = society.graph.degrees[society.members]
        if spec != "homophily:4":  # of 20 people with 4 acquaintances each, some are alone by chance
            assert mine.min() > 0
        degrees.append(mine.mean())
    assert np.mean(degrees) == pytest.approx(asked.get(spec, min(10, (count - 1) // 2 * 2)), rel=0.15)


def test_a_graph_among_some_people_is_the_same_graph_under_their_names():
    graph = SocialGraph.from_edges(3, [Edge(0, 1, "mother", 0.5, "child"), Edge(1, 2, "friend", 1.0)])
    placed = graph.among(np.array([2, 5, 9]), 12)
    assert list(placed.edges()) == [Edge(2, 5, "mother", 0.5, "child"), Edge(5, 9, "friend", 1.0, "friend")]
    assert placed.num_users == 12


def test_a_graph_of_other_people_is_refused():
    with pytest.raises(ConfigError, match="graph has 3 users, the data set 200"):
        make_society("synthetic", graph=SocialGraph.from_edges(3, []))


def test_isolated_people_are_named_with_the_way_out(tmp_path):
    members = make_society("synthetic", graph="none", agents=8).members.tolist()  # "none" is meant: no warning
    people = load_dataset("synthetic").people
    one, two, *rest = (people[user].raw_id for user in members)
    file = tmp_path / "friends.csv"
    file.write_text(f"user_1,user_2,relationship,closeness\n{one},{two},friend,0.5\n")
    with pytest.warns(IsolationWarning, match="6 of 8 people know nobody in this society.*graph homophily:3") as told:
        make_society("synthetic", graph=str(file), agents=8)
    assert f"users {', '.join(rest[:5])}, ...)" in str(told[0].message)


def test_without_networkx_the_extra_is_named(monkeypatch):
    real = builtins.__import__

    def fake(name, *args, **kwargs):
        if name.split(".")[0] == "networkx":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", fake)
    with pytest.raises(MissingExtraError, match=r"recsim-llm\[social\]"):
        SocialGraph.from_edges(3, [])


@pytest.mark.skipif(not DOCS.exists(), reason="tests run outside the repository")
def test_the_documentation_runs(tmp_path):
    text = DOCS.read_text("utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    exec(compile(code, "social_graph.md", "exec"), {})
    (file,) = re.findall(r"```csv\n(.*?)```", text, flags=re.DOTALL)
    (tmp_path / "friends.csv").write_text(file, "utf-8")
    graph = load_graph(tmp_path / "friends.csv", [Person(u, str(u)) for u in range(30)])
    assert (graph.relation(17, 23), graph.relation(23, 17)) == ("mother", "child")
    assert graph.neighbours(17).tolist() == [18, 23]


@pytest.mark.slow
def test_ten_thousand_people():
    tastes = np.random.default_rng(0).dirichlet(np.full(18, 0.5), size=10_000) - 1 / 18
    graph = homophily(tastes, 20.0, 0)
    assert graph.summary().mean_degree == pytest.approx(20.0, rel=0.02)
