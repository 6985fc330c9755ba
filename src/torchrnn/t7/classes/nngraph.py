"""nngraph's ``nn.gModule``, as char-rnn uses it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from torchrnn.layers import SelectTable
from torchrnn.t7.classes.graph_export import graph_object
from torchrnn.t7.exporter import Exporter
from torchrnn.t7.graph import Graph
from torchrnn.t7.importer import set_buffer
from torchrnn.t7.node import Node
from torchrnn.t7.objects import LuaTable, TorchObject
from torchrnn.t7.one_hot import OneHot
from torchrnn.t7.registry import exports, imports
from torchrnn.t7.types import TENSOR_TYPES

exports(Graph)(graph_object)


@dataclass(eq=False)
class GraphNode:
    """A node: the module in it, or the element that it selects, or neither, and what it takes."""

    module: Node | None = None
    select: int | None = None
    input: int | None = None
    """The input of the graph that it takes, instead of other nodes."""
    sources: list[GraphNode] = field(default_factory=list)


@imports("nn.gModule")
def g_module(node: Node) -> nn.Module:
    nodes = graph_nodes(node)
    *inner, out = nodes
    position = {id(part): index for index, part in enumerate(inner)}

    def sources(part: GraphNode) -> list[int]:
        return [-1 - part.input] if part.input is not None else [position[id(source)] for source in part.sources]

    modules = [_module_of(node, part) for part in inner]
    # The first files do not say how many inputs there are.
    n_inputs = node.integer("nInputs", None) or 1 + max((part.input or 0 for part in inner), default=0)
    return Graph(modules, [sources(part) for part in inner], [position[id(source)] for source in out.sources], n_inputs)


def _module_of(node: Node, part: GraphNode) -> nn.Module:
    if part.module is not None:
        return node.importer.module(part.module)
    return nn.Identity() if part.select is None else SelectTable(part.select)


def graph_nodes(node: Node) -> list[GraphNode]:
    """The nodes of a graph, each after those it takes something from; the last one gathers the outputs.

    The graph stands in the file several times. What says all is the table ``mapindex`` in the ``data`` of each node:
    its array lists the data of the nodes that it takes something from, in their order.
    """
    inputs, outputs = (_data(node, name) for name in ("innode", "outnode"))
    # Up to July 2013 the input node listed where each input goes; since then it is a table that is split.
    input_of = {id(data): position for position, data in enumerate(_listed(node, inputs))}

    def sources_of(data: dict[Any, Any]) -> list[dict[Any, Any] | int]:
        """What a node takes: the data of others, or numbers of inputs."""
        found: list[dict[Any, Any] | int] = []
        for part in _listed(node, data):
            select, tables = part.get("selectindex"), _listed(node, part)
            if part is inputs:
                found.append(input_of.get(id(data), 0))
            elif type(select) is int and select > 0 and len(tables) == 1 and _unsplit(node, tables[0]) is inputs:
                found.append(select - 1)
            else:
                found.append(_unsplit(node, part))
        return found

    made: dict[Any, GraphNode] = {}
    order: list[GraphNode] = []
    waiting: list[tuple[dict[Any, Any], bool]] = [(outputs, False)]
    open_now: set[int] = set()
    while waiting:
        data, is_ready = waiting.pop()
        if id(data) in made:
            continue
        before = sources_of(data)
        others = [part for part in before if isinstance(part, dict)]
        if not is_ready:
            if id(data) in open_now:
                raise node.error("the graph has a cycle")
            open_now.add(id(data))
            waiting.append((data, True))
            waiting += [(part, False) for part in reversed(others) if id(part) not in made]
            continue
        module = data.get("module")
        if module is not None and not isinstance(module, TorchObject):
            raise node.error(f"expected a module in a node of the graph; got {module!r}")
        select = data.get("selectindex")
        part = GraphNode(
            None if module is None else Node(module, f"{node.path}.forwardnodes[{len(order) + 1}]", node.importer),
            select - 1 if isinstance(select, int) else None,
        )
        if len(before) == 1 and isinstance(before[0], int) and data is not outputs:
            part.input = before[0]
        else:
            for number in before:
                if isinstance(number, int) and ("input", number) not in made:
                    made["input", number] = GraphNode(input=number)
                    order.append(made["input", number])
            part.sources = [made[("input", s) if isinstance(s, int) else id(s)] for s in before]
        made[id(data)] = part
        order.append(part)
    return _as_listed(node, order, made)


def _unsplit(node: Node, data: dict[Any, Any]) -> dict[Any, Any]:
    """What stands before a node that only hands a table on to the nodes that each select an element."""
    if "nSplitOutputs" not in data or data.get("module") is not None:
        return data
    sources = _listed(node, data)
    if len(sources) != 1:
        raise node.error(f"expected a node that is split to take one table; got {len(sources)}")
    return sources[0]


def _as_listed(node: Node, order: list[GraphNode], made: dict[Any, GraphNode]) -> list[GraphNode]:
    """The nodes in the order of ``forwardnodes``, in which Lua lists parameters, if that names them all."""
    listed = [part for key, part in made.items() if isinstance(key, tuple)]
    for entry in node.get("forwardnodes", list, []):
        data = entry.fields.get("data") if isinstance(entry, TorchObject) else None
        if id(data) in made and made[id(data)] is not order[-1]:
            listed.append(made[id(data)])
    rank = {id(part): position for position, part in enumerate(listed)}
    complete = len(rank) == len(order) - 1
    if complete and all(rank[id(s)] < rank[id(part)] for part in listed for s in part.sources):
        return [*listed, order[-1]]
    return order


def _data(node: Node, name: str) -> dict[Any, Any]:
    data = node.get(name, TorchObject).fields.get("data")
    if not isinstance(data, dict):
        raise node.error(f"expected a table in {name}.data")
    return data


def _listed(node: Node, data: dict[Any, Any]) -> list[dict[Any, Any]]:
    """The array of the ``mapindex`` of a node's data."""
    mapindex = data.get("mapindex", [])
    if isinstance(mapindex, dict):
        mapindex = LuaTable(list(mapindex.items()))
    entries = mapindex.array if isinstance(mapindex, LuaTable) else mapindex
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise node.error("expected tables in the mapindex of a node")
    return entries


@imports("OneHot", "nn.OneHot")
def one_hot(node: Node) -> nn.Module:
    """That of char-rnn, or of dpnn."""
    # Once char-rnn's has run its matrix holds floats, whatever type the network has.
    dtype = TENSOR_TYPES.get(node.get("_type", str, ""), torch.float32)
    module = OneHot(node.integer("outputSize"))
    set_buffer(module, "like", torch.empty(0, dtype=dtype, device="cpu"), node)
    return module


@exports(OneHot)
def _one_hot(exporter: Exporter, module: OneHot) -> TorchObject:
    eye = torch.eye(module.n_classes, dtype=exporter.dtype)
    return exporter.object("OneHot", module, outputSize=module.n_classes, _eye=eye)
