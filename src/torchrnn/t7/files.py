"""Reading and writing whole files."""

from __future__ import annotations

import os
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, Literal

from torchrnn.t7.ascii import AsciiPrinter, AsciiScanner
from torchrnn.t7.binary import BinaryPrinter, BinaryScanner
from torchrnn.t7.errors import T7Error, T7ForeignFileError, T7FormatError
from torchrnn.t7.limits import Limits
from torchrnn.t7.reader import Reader
from torchrnn.t7.scanner import Printer
from torchrnn.t7.sniff import FIRST_BYTES, byte_order, foreign_kind
from torchrnn.t7.writer import Writer

Format = Literal["binary", "ascii"]
PRINTERS: dict[str, Callable[[BinaryIO], Printer]] = {"binary": BinaryPrinter, "ascii": AsciiPrinter}


def load(path: str | os.PathLike[str], *, limits: Limits | None = None) -> Any:
    """The object in a Torch7 file.

    Binary or ascii, byte order and size of longs (64 or 32 bits) are found out from the file.

    ==========================  =====================================================================
    in the file                 here
    ==========================  =====================================================================
    number                      int if it is whole and below 2^53 (and not -0), else float
    string                      str if it is UTF-8, else bytes
    boolean, nil                bool, None
    table with keys 1 to n      list, also where it is empty
    other table                 dict; `LuaTable` where its keys are not all numbers, strings or booleans,
                                or where Python takes two of them for one (1 and true)
    tensor                      torch.Tensor; what are views of one storage are views of one storage.
                                ``Cuda`` and ``Cl`` tensors are those of the CPU, an empty one is (0,)
    storage                     `Storage`
    function                    `LuaFunction`; it is never run
    object of any other class   `TorchObject`
    ==========================  =====================================================================

    What the file refers to several times is one object here, and what holds itself does so here.

    Arguments:
        path: the file.
        limits: budgets, see `Limits`.

    Raises `T7Error`: one of its kinds for what is wrong with the file; ``OSError`` if it cannot be opened.

    >>> import tempfile
    >>> from torchrnn import t7
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     t7.save(f"{folder}/sizes.t7", {"sizes": [12, 3]})
    ...     t7.load(f"{folder}/sizes.t7")
    {'sizes': [12, 3]}
    """
    return _only(load_all(path, limits=limits))


def load_all(path: str | os.PathLike[str], *, limits: Limits | None = None) -> list[Any]:
    r"""All objects of a file into which several were written one after the other; see `load`.

    >>> import tempfile
    >>> from pathlib import Path
    >>> from torchrnn import t7
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "two.t7")
    ...     size = path.write_bytes(b"1\n12\n2\n3\nend\n")
    ...     t7.load_all(path)
    [12, 'end']
    """
    with Path(path).open("rb") as stream:
        return _read(stream, os.fstat(stream.fileno()).st_size, limits)


def loads(data: bytes, *, limits: Limits | None = None) -> Any:
    r"""The object in the bytes of a Torch7 file; see `load`.

    >>> from torchrnn import t7
    >>> t7.loads(b"3\n1\n1\n2\n4\nsize\n1\n12\n")
    {'size': 12}
    """
    return _only(loads_all(data, limits=limits))


def loads_all(data: bytes, *, limits: Limits | None = None) -> list[Any]:
    r"""All objects in the bytes of a Torch7 file; see `load`.

    >>> from torchrnn import t7
    >>> t7.loads_all(b"1\n12\n2\n3\nend\n")
    [12, 'end']
    """
    return _read(BytesIO(data), len(data), limits)


def save(path: str | os.PathLike[str], obj: Any, format: Format = "binary") -> None:  # noqa: A002
    """Write a Torch7 file that Lua reads; a file that is there is replaced once the new one is complete.

    Takes what `load` gives, and tuples (as lists), NumPy arrays and scalars. Of a tensor the whole storage is
    written, as Torch7 does it: ``.clone()`` a small view of a large tensor. Torch7 knows one empty tensor and
    no tensors without dimensions, so all empty ones are written alike, a 0-dim one as a vector of 1, and booleans as
    bytes.

    Arguments:
        path: the file.
        obj: what to write.
        format: ``"binary"`` or ``"ascii"``.

    Raises ``TypeError`` or ``ValueError`` for what Torch7 cannot hold: other types of tensors, whole numbers
    above 2^53.

    >>> import tempfile, torch
    >>> from pathlib import Path
    >>> from torchrnn import t7
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "net.t7")
    ...     t7.save(path, t7.from_module(torch.nn.Tanh()), "ascii")
    ...     t7.load(path), path.read_text().split()[:6]
    (<nn.Tanh with _type, output, gradInput, train>, ['4', '1', '3', 'V', '1', '7'])
    """
    _require_format(format)
    path = Path(path)
    beside = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with beside.open("wb") as stream:
            Writer(PRINTERS[format](stream)).write(obj)
            stream.flush()
            os.fsync(stream.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def dumps(obj: Any, format: Format = "binary") -> bytes:  # noqa: A002
    r"""The bytes that `save` writes.

    >>> from torchrnn import t7
    >>> t7.dumps({"size": 12}, "ascii")
    b'3\n1\n1\n2\n4\nsize\n1\n12\n'
    """
    _require_format(format)
    stream = BytesIO()
    Writer(PRINTERS[format](stream)).write(obj)
    return stream.getvalue()


def _read(stream: BinaryIO, size: int, limits: Limits | None) -> list[Any]:
    limits = limits or Limits()
    head = stream.read(FIRST_BYTES)
    stream.seek(0)
    if kind := foreign_kind(head, size):
        raise T7ForeignFileError(f"not a Torch7 file but {kind}")
    order = byte_order(head)
    if order is None:
        return Reader(AsciiScanner(stream.read()), limits).read_all()
    try:
        return Reader(BinaryScanner(stream, size, order, long_size=8), limits).read_all()
    except T7Error as error:
        with_64_bits = error.with_traceback(None)  # which would keep what was read so far
    stream.seek(0)
    try:
        return Reader(BinaryScanner(stream, size, order, long_size=4), limits).read_all()
    except T7Error as with_32_bits:
        # The one that came further tells more.
        raise max(with_64_bits, with_32_bits, key=lambda error: error.offset or 0) from None


def _only(objects: list[Any]) -> Any:
    if len(objects) > 1:
        raise T7FormatError(f"the file holds {len(objects)} objects; read them with load_all or loads_all")
    return objects[0]


def _require_format(name: str) -> None:
    if name not in PRINTERS:
        raise ValueError(f"format must be 'binary' or 'ascii'; got {name!r}.")
