"""Export to networkx, and the graph's own order against networkx's algorithms."""

import networkx

import graphnet as gn
from graphnet.export import to_networkx
from graphnet.models import MODELS


def test_a_graph_and_its_updates_as_a_networkx_graph():
    x = gn.input("x", (3,))
    w = gn.parameter("w", (3,))
    y = w * x
    graph = gn.make_graph([gn.sum(y * y)], [x], {w: w - y})
    g = to_networkx(graph)
    assert g.number_of_nodes() == len(graph.nodes())
    assert g.number_of_edges(y, y * y) <= 2 and g.nodes[y]["op"] == "mul" and g.nodes[y]["shape"] == (3,)
    assert g.get_edge_data(x, y)[0]["position"] == 1
    assert any(d.get("update") for _, _, d in g.in_edges(w, data=True))
    assert "test_export.py" in g.nodes[y]["lines"][0]


def test_the_order_of_nodes_is_topological():
    m = MODELS["lenet"]()
    graph = gn.make_graph(gn.gradient(m.loss, list(m.params.values())), [m.x, m.y])
    g = to_networkx(graph)
    assert networkx.is_directed_acyclic_graph(g)
    place = {n: k for k, n in enumerate(graph.nodes())}
    assert all(place[a] < place[b] for a, b in g.edges())
