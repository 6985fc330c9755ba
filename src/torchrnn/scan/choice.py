"""The user's choice: which engine runs, and what it keeps."""

from __future__ import annotations

from types import TracebackType

ENGINES = ("auto", "native", "reference")
MEMORIES = ("keep", "recompute")


class _Choice:
    engine = "auto"
    memory = "keep"


def chosen() -> str:
    return _Choice.engine


def recomputes() -> bool:
    """Whether the native engine runs forward again in backward, instead of keeping what it needs."""
    return _Choice.memory == "recompute"


class use:  # noqa: N801 - it is called like a function
    """Choose the engine that runs sequences, and what it keeps, from now on or only inside a ``with`` block.

    Arguments:
        engine: ``'auto'``, the default, is the native engine wherever it can run a step, and else the reference;
            ``'reference'`` is the plain loop; ``'native'`` raises where the native engine cannot run a step, and says
            why.
        memory: ``'keep'``, the default, keeps what backward needs of every step: of an LSTM 7 N T H numbers;
            ``'recompute'`` keeps the states only, 2 N T H, and runs the native engine forward once more in backward.
            Results and gradients are the same, bit for bit; the reference keeps what autograd keeps.

    What is not named stays as it is. Raises ``ValueError`` for another name, or for none.

    >>> import torch, torchrnn
    >>> net, x = torchrnn.SeqLSTM(4, 6), torch.randn(5, 3, 4)
    >>> with torchrnn.scan.use("reference"):
    ...     expected = net(x)
    >>> with torchrnn.scan.use(memory="recompute"):
    ...     torch.allclose(net(x), expected, atol=1e-6)
    True
    """

    def __init__(self, engine: str | None = None, memory: str | None = None) -> None:
        if engine is None and memory is None:
            raise ValueError("scan.use: name an engine, a memory, or both.")
        for name, value, known in (("engine", engine, ENGINES), ("memory", memory, MEMORIES)):
            if value is not None and value not in known:
                raise ValueError(f"scan.use: {name} must be one of {', '.join(map(repr, known))}; got {value!r}.")
        self._before = _Choice.engine, _Choice.memory
        _Choice.engine = engine or _Choice.engine
        _Choice.memory = memory or _Choice.memory

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _Choice.engine, _Choice.memory = self._before
