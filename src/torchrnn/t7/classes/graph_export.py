"""A `Graph` as nngraph writes it: twice, forward and backward, as nodes and as edges."""

from __future__ import annotations

from collections import Counter
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
    # An input of nngraph goes to one node, which takes nothing else.
    uses = Counter(s for taken in sources for s in taken if s < 0)
    lost = sorted({s for taken in sources for s in taken if s < 0 and (uses[s] > 1 or len(taken) > 1)}, reverse=True)
    if lost:
        moved = [[lost.index(s) if s in lost else s + len(lost) * (s >= 0) for s in taken] for taken in sources]
        inside = [*(exporter.object("nn.Identity") for _ in lost), *inside]
        sources, outputs = [*([s] for s in lost), *moved], [len(lost) + position for position in outputs]
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
    """The ``nn.gModule`` of objects, with sources and outputs as those of a `Graph`.

    Several inputs come as one table, to a node that is split: one more node for each input selects it.
    """
    parts = [_node_of(made) for made in inside]
    first: Data = {"input": [], "annotations": {}, "mapindex": []}
    last: Data = {"input": [], "annotations": {}}
    before: list[Data] = [first]
    inputs = {-1: first}
    if n_inputs > 1:
        split: Data = {"nSplitOutputs": n_inputs, "annotations": {}, "mapindex": _both_ways([first])}
        taken = sorted({s for each in sources for s in each if s < 0}, reverse=True)
        inputs = {s: {"selectindex": -s, "input": [], "annotations": {}} for s in taken}
        for select in inputs.values():
            select["mapindex"] = _both_ways([split])
        before += [split, *inputs.values()]
    for part, each in zip(parts, sources, strict=True):
        part["mapindex"] = _both_ways([inputs[s] if s < 0 else parts[s] for s in each])
    last["mapindex"] = _both_ways([parts[position] for position in outputs])

    everything = [*before, *parts, last]
    place = {id(data): position for position, data in enumerate(everything)}
    taken_by = [[place[id(data)] for data in _listed(data)] for data in everything]
    backward = [(here, there) for here in reversed(range(len(everything))) for there in taken_by[here]]
    bg_nodes, bg = _graph(everything, backward)
    fg_nodes, fg = _graph(everything, [(there, here) for here, there in backward])
    return exporter.container(
        "nn.gModule",
        [data["module"] for data in parts if "module" in data],
        nInputs=n_inputs,
        verbose=False,
        bg=bg,
        fg=fg,
        innode=fg_nodes[0],
        outnode=bg_nodes[-1],
        forwardnodes=fg_nodes,
        backwardnodes=bg_nodes[::-1],
    )


def _node_of(made: TorchObject) -> Data:
    # A node can select an element by itself, but only one that is counted from the first.
    if made.class_name == "nn.SelectTable" and made.fields["index"] > 0:
        return {"selectindex": made.fields["index"], "input": [], "annotations": {}}
    return {"module": made, "annotations": {}}


def _listed(data: Data) -> list[Data]:
    """The data of the nodes that a node takes something from."""
    mapindex = data["mapindex"]
    return mapindex.array if isinstance(mapindex, LuaTable) else []


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
