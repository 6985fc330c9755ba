"""What can be wrong with a Torch7 file, or with turning it into modules."""

from __future__ import annotations


class T7Error(ValueError):
    r"""A Torch7 file that cannot be read; the base of all errors of `torchrnn.t7`.

    Attributes:
        offset: the byte at which reading failed, or None where there is none to name.

    >>> from torchrnn import t7
    >>> try:
    ...     t7.loads(b"PK\x03\x04...")
    ... except t7.T7Error as error:
    ...     print(error)
    not a Torch7 file but a zip archive, as torch.save writes them; open it with torch.load
    """

    def __init__(self, message: str, offset: int | None = None) -> None:
        super().__init__(message if offset is None else f"at byte {offset}: {message}")
        self.offset = offset


class T7ForeignFileError(T7Error):
    """A file of another kind: a Git LFS pointer, a PyTorch checkpoint, HDF5, plain text, ..."""


class T7TruncatedError(T7Error):
    """A file that ends before what it announces."""


class T7FormatError(T7Error):
    """A file with bytes that no Torch7 writes: unknown tags, broken references, views outside their storage, ..."""


class T7LimitError(T7Error):
    """A file that exceeds a budget of `Limits`."""


class T7ConversionError(T7Error):
    """An object that cannot be turned into a module, or a module into an object.

    Attributes:
        class_name: the class that is not known, or not as it is found.
        path: where it stands in the tree, such as ``model.modules[2]``; the first of Lua's tables is ``[1]``.
    """

    def __init__(self, message: str, class_name: str, path: str) -> None:
        super().__init__(f"{path or 'the object itself'}: {message}")
        self.class_name = class_name
        self.path = path
