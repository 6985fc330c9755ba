"""What a file is that is not a Torch7 file."""

from __future__ import annotations

import re

MAGIC = {
    b"version https://git-lfs": "a Git LFS pointer: the file itself was not downloaded; fetch it with git lfs pull",
    b"PK\x03\x04": "a zip archive, as torch.save writes them; open it with torch.load",
    b"\x89HDF\r\n\x1a\n": "an HDF5 file; open it with h5py",
    b"\x1f\x8b": "compressed with gzip; decompress it first",
    b"BZh": "compressed with bzip2; decompress it first",
    b"\xfd7zXZ\x00": "compressed with xz; decompress it first",
    b"\x93NUMPY": "a NumPy array; open it with numpy.load",
    b"\x1bLJ": "compiled Lua code",
    b"\x1bLua": "compiled Lua code",
}
FIRST_BYTES = 512


def foreign_kind(head: bytes, size: int) -> str | None:
    """What the file is that begins with ``head`` and has ``size`` bytes; None if it may be a Torch7 file."""
    if not size:
        return "an empty file"
    for magic, kind in MAGIC.items():
        if head.startswith(magic):
            return kind
    if head[:1] == b"\x80" and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        return "a Python pickle, as old versions of torch.save write it; open it with torch.load"
    if head[8:9] == b"{" and 2 <= int.from_bytes(head[:8], "little") <= size - 8:
        return "a safetensors file; open it with safetensors"
    if is_torch7(head):
        return None
    return "plain text" if is_text(head) else "something unknown"


def is_torch7(head: bytes) -> bool:
    """Whether a file begins with the tag of an object, in ascii or in binary of either byte order."""
    return bool(re.match(rb"\s*[0-8]\s", head)) or byte_order(head) is not None


def byte_order(head: bytes) -> str | None:
    """``'<'`` or ``'>'`` by the first tag, as `struct` writes it; None if it is none."""
    for order, name in ("<", "little"), (">", "big"):
        if len(head) >= 4 and int.from_bytes(head[:4], name) <= 8:  # type: ignore[arg-type]
            return order
    return None


def is_text(head: bytes) -> bool:
    try:
        text = head[: FIRST_BYTES - 4].decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 4:
            return False
        text = head[: error.start].decode("utf-8")
    return not re.search(r"[\x00-\x08\x0e-\x1f]", text)
