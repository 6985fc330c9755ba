"""The sizes of recurrent objects that have all their weights in one matrix."""

from __future__ import annotations

from torchrnn.t7.node import Node


def lstm_sizes(node: Node) -> tuple[int, int, int | None]:
    """D, H and P of an LSTM that has a ``weight`` (D + P or H, 4H), and a ``weightO`` (H, P) for a projection."""
    rows, columns = node.tensor("weight").shape
    hidden = columns // 4
    projected = node.tensor("weightO").shape[1] if "weightO" in node else None
    return rows - (hidden if projected is None else projected), hidden, projected


def gru_sizes(node: Node) -> tuple[int, int]:
    """D and H of a GRU that has a ``weight`` (D + H, 3H)."""
    rows, columns = node.tensor("weight").shape
    return rows - columns // 3, columns // 3
