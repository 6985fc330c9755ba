"""A `Graph` as nngraph writes it: twice, forward and backward, as nodes and as edges."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torchrnn.t7.exporter import Exporter
from torchrnn.t7.graph import Graph
from torchrnn.t7.objects import LuaTable, TorchObject

Data = dict[str, Any]
Edges = list[tuple[int, int]]


def graph_object(exporter: Exporter, module: Graph) -> TorchObject:
    """The ``nn.gModule`` of a graph."""
    if any(len(set(taken)) < len(taken) for taken in (*module.sources, module.outputs)):
        raise exporter.error(module, "nngraph takes no node twice as input of the same one")
    inside, sources, outputs = exporter.modules(module), module.sources, module.outputs
    takers = [[taken for taken in sources if -1 - number in taken] for number in range(module.n_inputs)]
    # An input of nngraph goes to one node, which takes nothing else.
    lost = [number for number, each in enumerate(takers) if len(each) != 1 or len(each[0]) != 1]
    if lost:
        place = {-1 - number: position for position, number in enumerate(lost)}
        moved = [[place.get(s, s) if s < 0 else len(lost) + s for s in taken] for taken in sources]
        inside = [*(exporter.object("nn.Identity") for _ in lost), *inside]
        sources, outputs = [*([-1 - number] for number in lost), *moved], [len(lost) + p for p in outputs]
    made = wired(exporter, inside, sources, outputs, module.n_inputs)
    made.fields["train"] = bool(module.training)
    return made


def wired(
    exporter: Exporter,
    inside: list[TorchObject],
    sources: Sequence[Sequence[int]],
    outputs: Sequence[int],
    n_inputs: int,
) -> TorchObject:
    """The ``nn.gModule`` of objects, with sources and outputs as those of a `Graph`."""
    datas = [_data(made) for made in inside]
    source: Data = {"data": [], "gradOutput": [], "annotations": {}}
    sink: Data = {"input": [], "annotations": {}}
    everything: list[Data] = [*datas, source, sink]
    first, last = len(datas), len(datas) + 1
    wiring = [[first if s < 0 else s for s in taken] for taken in sources]
    for data, taken in zip(datas, wiring, strict=True):
        data["mapindex"] = _both_ways([everything[position] for position in taken])
    sink["mapindex"] = _both_ways([datas[position] for position in outputs])
    entries = [(-1 - s, p) for p, taken in enumerate(sources) for s in taken if s < 0]
    source["mapindex"] = _both_ways([datas[position] for _, position in sorted(entries)])

    backward: Edges = [(last, position) for position in outputs]
    for position in reversed(range(len(datas))):
        backward += [(position, taken) for taken in wiring[position]]
    bg_nodes, bg = _graph(everything, backward)
    fg_nodes, fg = _graph(everything, [(there, here) for here, there in backward])
    order = [first, *range(len(datas)), last]
    return exporter.container(
        "nn.gModule",
        inside,
        nInputs=n_inputs,
        verbose=False,
        bg=bg,
        fg=fg,
        innode=fg_nodes[first],
        outnode=bg_nodes[last],
        forwardnodes=[fg_nodes[position] for position in order],
        backwardnodes=[bg_nodes[position] for position in reversed(order)],
    )


def _data(made: TorchObject) -> Data:
    # A node can select an element by itself, but only one that is counted from the first.
    if made.class_name == "nn.SelectTable" and made.fields["index"] > 0:
        return {"selectindex": made.fields["index"], "input": [], "annotations": {}}
    return {"module": made, "annotations": {}}


def _both_ways(entries: list[Any]) -> LuaTable:
    """The table that lists entries by number, and the number of each entry."""
    numbered = list(enumerate(entries, 1))
    return LuaTable([*numbered, *((entry, number) for number, entry in numbered)])


def _graph(datas: list[Data], edges: Edges) -> tuple[list[TorchObject], TorchObject]:
    """The nodes and the graph of edges between them."""
    nodes = [TorchObject("nngraph.Node", {"data": data, "visited": False, "marked": False}) for data in datas]
    for position, node in enumerate(nodes):
        node.fields["children"] = _both_ways([nodes[there] for here, there in edges if here == position])
        node.fields["id"] = position + 1
    made = [TorchObject("graph.Edge", {"from": nodes[here], "to": nodes[there]}) for here, there in edges]
    return nodes, TorchObject("graph.Graph", {"nodes": _both_ways(nodes), "edges": _both_ways(made)})
