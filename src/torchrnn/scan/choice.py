"""Which engine runs: the user's choice, and what an engine was chosen for."""

from __future__ import annotations

from types import TracebackType

ENGINES = ("auto", "native", "reference")


class _Choice:
    engine = "auto"


def chosen() -> str:
    return _Choice.engine


class use:  # noqa: N801 - it is called like a function
    """Choose the engine that runs sequences from now on, or only inside a ``with`` block.

    ``'auto'``, the default, is the native engine wherever it can run a step, and else the reference; ``'reference'``
    is the plain loop; ``'native'`` raises where the native engine cannot run a step, and says why.

    Raises ``ValueError`` for another name.

    >>> import torch, torchrnn
    >>> net, x = torchrnn.SeqLSTM(4, 6), torch.randn(5, 3, 4)
    >>> with torchrnn.scan.use("reference"):
    ...     expected = net(x)
    >>> torch.allclose(net(x), expected, atol=1e-6)
    True
    """

    def __init__(self, engine: str) -> None:
        if engine not in ENGINES:
            raise ValueError(f"scan.use: engine must be one of {', '.join(map(repr, ENGINES))}; got {engine!r}.")
        self._before, _Choice.engine = _Choice.engine, engine

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _Choice.engine = self._before
