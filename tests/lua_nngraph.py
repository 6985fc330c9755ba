"""What nngraph does in Lua, step by step: nodes, their splitting, the graphs of a ``gModule``, and running one.

It builds the objects that end up in files, without any of ours, and runs those that are to be read in Lua.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from torchrnn import t7

Data = dict[str, Any]


class Node:
    """``nngraph.Node``: its data, which the nodes of all graphs share, and the nodes that it takes something from."""

    def __init__(self, data: Data) -> None:
        self.data = data
        self.children: list[Node] = []
        self.id: int | None = None
        self.object = t7.TorchObject("nngraph.Node")
        data.setdefault("annotations", {"_debugLabel": "[./model/LSTM.lua]:21_lstm"})
        data.setdefault("mapindex", [])

    def add(self, child: Node, is_mapped: bool = False) -> None:
        if child not in self.children:
            self.children.append(child)
        if is_mapped:
            self.data["mapindex"].append(child.data)

    def split(self, count: int) -> list[Node]:
        table = Node({"nSplitOutputs": count})
        table.add(self, True)
        parts = [Node({"selectindex": number, "input": []}) for number in range(1, count + 1)]
        for part in parts:
            part.add(table, True)
        return parts

    def annotate(self, name: str) -> Node:
        self.data["annotations"]["name"] = name
        return self

    def in_breadth(self) -> Iterator[Node]:
        waiting, seen = [self], {self}
        while waiting:
            node = waiting.pop(0)
            yield node
            waiting += [child for child in node.children if child not in seen]
            seen |= set(node.children)

    def in_depth(self, seen: set[Node]) -> Iterator[Node]:
        """Each node after its children."""
        if self in seen:
            return
        seen.add(self)
        for child in self.children:
            yield from child.in_depth(seen)
        yield self


class Graph:
    """``graph.Graph``: edges, and the nodes as they turn up in them."""

    def __init__(self, edges: list[tuple[Node, Node]]) -> None:
        self.edges = edges
        self.nodes = list(dict.fromkeys(node for edge in edges for node in edge))
        for number, node in enumerate(self.nodes, 1):
            node.id = number
        for here, there in edges:
            here.add(there)

    def reverse(self) -> tuple[Graph, dict[Node, Node]]:
        """The same data in new nodes."""
        copies = {node: Node(node.data) for node in self.nodes}
        return Graph([(copies[there], copies[here]) for here, there in self.edges]), copies

    def roots(self) -> list[Node]:
        taken = {there for _, there in self.edges}
        return [node for node in self.nodes if node not in taken]

    def sorted(self) -> list[Node]:
        """Sources first."""
        turned, copies = self.reverse()
        original = {copy: node for node, copy in copies.items()}
        seen: set[Node] = set()
        return [original[node] for root in turned.roots() for node in root.in_depth(seen)]


def call(module: t7.TorchObject, *sources: Node) -> Node:
    """``module(sources)`` in the notation of nngraph."""
    node = Node({"module": module})
    for source in sources:
        node.add(source, True)
    return node


def g_module(inputs: Sequence[Node], outputs: Sequence[Node], is_old: bool = False) -> t7.TorchObject:
    """``nn.gModule(inputs, outputs)``, as it was up to July 2013, or since."""
    out = Node({"input": []})
    for output in outputs:
        out.add(output, True)
    first = Node({"data": [], "gradOutput": []} if is_old else {"input": []})
    if is_old or len(inputs) == 1:
        for source in inputs:
            source.add(first, True)
            if is_old:
                first.data["mapindex"].append(source.data)
    else:
        for source, part in zip(inputs, first.split(len(inputs)), strict=True):
            source.add(part, True)
    bg = Graph([(node, child) for node in out.in_breadth() for child in node.children])
    fg, _ = bg.reverse()
    forward, backward = fg.sorted(), bg.sorted()
    fields: dict[str, Any] = {"_type": "torch.FloatTensor", "train": True, "verbose": False}
    if not is_old:
        for node in forward:
            node.data["forwardNodeId"] = node.id
            node.data["reverseMap"] = t7.LuaTable(
                [(parent.object, True) for parent in bg.nodes if node in parent.children]
            )
        fields |= {"nInputs": len(inputs), "modules": [n.data["module"] for n in forward if "module" in n.data]}
    for data in {id(node.data): node.data for node in bg.nodes}.values():
        data["mapindex"] = both_ways(data["mapindex"])
    for node in (*bg.nodes, *fg.nodes):
        children = both_ways([child.object for child in node.children])
        node.object.fields |= {
            "data": node.data,
            "children": children,
            "id": node.id,
            "visited": False,
            "marked": False,
        }
    fields |= {"bg": graph_object(bg), "fg": graph_object(fg), "outnode": out.object, "innode": fg.roots()[0].object}
    fields |= {"forwardnodes": [n.object for n in forward], "backwardnodes": [n.object for n in backward]}
    return t7.TorchObject("nn.gModule", {**fields, "output": out.data["input"]})


def graph_object(graph: Graph) -> t7.TorchObject:
    edges = [t7.TorchObject("graph.Edge", {"from": here.object, "to": there.object}) for here, there in graph.edges]
    nodes = both_ways([node.object for node in graph.nodes])
    return t7.TorchObject("graph.Graph", {"nodes": nodes, "edges": both_ways(edges)})


def both_ways(entries: list[Any]) -> t7.LuaTable:
    numbered = list(enumerate(entries, 1))
    return t7.LuaTable([*numbered, *((entry, number) for number, entry in numbered)])


# ---------------------------------------------------------------------- running a gModule, as is done since 2013


def forward_and_backward(made: t7.TorchObject, inputs: list[Tensor], grads: list[Tensor]) -> tuple[list[Tensor], Any]:
    """``updateOutput`` and ``updateGradInput`` of a ``gModule`` out of a file; modules run by themselves."""
    fields = made.fields
    for node in fields["forwardnodes"]:
        data_of(node)["input"] = {}
    data_of(fields["innode"])["input"] = dict(enumerate(inputs, 1))
    results: dict[int, tuple[Any, Any]] = {}
    for node in fields["forwardnodes"]:
        data = data_of(node)
        taken = [data["input"][number] for number in range(1, len(data["input"]) + 1)]
        if "selectindex" in data:
            assert len(taken) == 1
            output = taken[0][data["selectindex"] - 1]
        else:
            output = taken[0] if len(taken) == 1 else taken
            if "module" in data:
                own = [x.detach().requires_grad_(x.is_floating_point()) for x in taken] if is_flat(taken) else taken
                output = t7.to_module(data["module"])(own[0] if len(own) == 1 else own)
                results[id(data)] = own, output
                output = [x.detach() for x in output] if isinstance(output, list) else output.detach()
            if "nSplitOutputs" in data:
                assert data["nSplitOutputs"] == len(output)
        for child in listed(node.fields["children"]):
            place = data_of(child)["mapindex"][data]
            assert place not in data_of(child)["input"], "each input should have one source"
            data_of(child)["input"][place] = output
    last = data_of(fields["outnode"])
    outputs = [last["input"][number] for number in range(1, len(last["input"]) + 1)]
    return outputs, backward(made, grads if len(grads) > 1 else grads[0], results)


def backward(made: t7.TorchObject, grads: Any, results: dict[int, tuple[Any, Any]]) -> Any:
    for node in made.fields["backwardnodes"]:
        data_of(node)["gradOutput"] = {}
    data_of(made.fields["outnode"])["gradOutput"] = {1: grads}
    for node in made.fields["backwardnodes"]:
        data, children = data_of(node), listed(node.fields["children"])
        total = summed(list(data["gradOutput"].values()))
        if "selectindex" in data:
            assert len(children) == 1
            there = data_of(children[0])["gradOutput"]
            assert len(there) <= 1, "the split node should be used only once"
            assert data["selectindex"] not in there.setdefault(1, {})
            there[1][data["selectindex"]] = total
            continue
        grad = total
        if "module" in data:
            own, output = results[id(data)]
            flat = output if isinstance(output, list) else [output]
            flat_grads = [total[number] for number in range(1, len(flat) + 1)] if isinstance(total, dict) else [total]
            needed = [x for x in own if x.requires_grad]
            found = iter(torch.autograd.grad(flat, needed, flat_grads) if needed else ())
            grad = [next(found) if x.requires_grad else None for x in own]
            grad = grad[0] if len(grad) == 1 else grad
        for child in children:
            place = data["mapindex"][data_of(child)]
            there = data_of(child)["gradOutput"]
            there[len(there) + 1] = grad if len(children) == 1 else grad[place - 1]
    (grad_input,) = data_of(made.fields["innode"])["gradOutput"].values()
    return grad_input


def data_of(node: t7.TorchObject) -> Data:
    data: Data = node.fields["data"]
    return data


def listed(table: t7.LuaTable | list[Any]) -> list[Any]:
    return table.array if isinstance(table, t7.LuaTable) else table


def is_flat(taken: list[Any]) -> bool:
    return all(isinstance(x, Tensor) for x in taken)


def summed(grads: list[Any]) -> Any:
    assert grads, "expecting gradients to sum"
    return grads[0] if len(grads) == 1 else torch.stack(grads).sum(0)
