"""Social graphs: the graph, its file, and generators of graphs."""

from recsim_llm.agents.society.graph.generators import (
    RELATIONS,
    barabasi_albert,
    genre_tastes,
    homophily,
    watts_strogatz,
)
from recsim_llm.agents.society.graph.graph import Edge, GraphSummary, SocialGraph
from recsim_llm.agents.society.graph.graph_files import load_graph, save_graph
from recsim_llm.agents.society.graph.graph_specs import GRAPHS, make_graph

__all__ = [
    "GRAPHS",
    "RELATIONS",
    "Edge",
    "GraphSummary",
    "SocialGraph",
    "barabasi_albert",
    "genre_tastes",
    "homophily",
    "load_graph",
    "make_graph",
    "save_graph",
    "watts_strogatz",
]
