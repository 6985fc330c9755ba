"""Files that are damaged or made to harm end in a typed error: fast, without memory, without running anything."""

from __future__ import annotations

import io
import json
import pickle
import random
import struct
import tracemalloc
import zipfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save as save_safetensors
from t7_data import NIL, Binary, recorded
from t7_mutate import mutated

from torchrnn import t7

B = Binary()
HUGE = 2**62


def tensor(size: list[int], stride: list[int], offset: int = 1, elements: int = 6) -> bytes:
    """A float tensor that views a storage of so many elements."""
    return B.view(1, b"Float", size, stride, offset, B.storage(2, b"Float", "f", [0.0] * elements))


def storage_of_size(count: int, name: bytes = b"torch.DoubleStorage") -> bytes:
    return B.torch(1, name, B.longs(count))


HOSTILE: dict[str, tuple[bytes, type[t7.T7Error], str]] = {
    # sizes that are not there
    "storage of 2^62 elements": (storage_of_size(HUGE), t7.T7LimitError, "bytes"),
    "storage of a GB": (storage_of_size(2**27), t7.T7TruncatedError, "0 bytes are left"),
    "storage of -1 elements": (storage_of_size(-1), t7.T7FormatError, "got -1"),
    "string of 2 GB": (B.ints(2, 2**31 - 1), t7.T7TruncatedError, "2147483647 bytes"),
    "string of -1 bytes": (B.ints(2, -1), t7.T7FormatError, "got -1"),
    "table of 2^31 pairs": (B.ints(3, 1, 2**31 - 1), t7.T7TruncatedError, "bytes are left"),
    "table of -1 pairs": (B.ints(3, 1, -1), t7.T7FormatError, "size of a table"),
    "tds.Vec of 2^62": (B.torch(1, b"tds.Vec", B.longs(HUGE)), t7.T7TruncatedError, "bytes are left"),
    "tds.Hash of -1": (B.torch(1, b"tds.Hash", B.longs(-1)), t7.T7FormatError, "size of a table"),
    "name of 2 GB": (B.ints(4, 1, 2**31 - 1), t7.T7FormatError, "name of a class"),
    "name of nothing": (B.ints(4, 1, 0), t7.T7FormatError, "name of a class"),
    "name of bytes": (B.torch(1, b"nn.\xff\x00"), t7.T7FormatError, "name of a class"),
    "function of 2 GB": (B.ints(8, 1, 2**31 - 1), t7.T7TruncatedError, "bytes are left"),
    # views
    "dimensions": (B.torch(1, b"torch.FloatTensor", B.ints(2**30)), t7.T7FormatError, "dimensions"),
    "-1 dimensions": (B.torch(1, b"torch.FloatTensor", B.ints(-1)), t7.T7FormatError, "dimensions"),
    "negative size": (tensor([-2, -3], [3, 1]), t7.T7FormatError, "sizes cannot be negative"),
    "negative stride": (tensor([2, 3], [3, -1], 3), t7.T7FormatError, "strides cannot be negative"),
    "beyond the storage": (tensor([2, 3], [3, 1], 2), t7.T7FormatError, "elements 1 to 6 are not in a storage of 6"),
    "before the storage": (tensor([2], [1], 0), t7.T7FormatError, "elements -1 to 0"),
    "far before": (tensor([2], [1], -HUGE), t7.T7FormatError, "are not in a storage"),
    "far stride": (tensor([2, 2], [HUGE, 1]), t7.T7FormatError, "are not in a storage"),
    "repeated 2^62 times": (tensor([HUGE, 1], [0, 1]), t7.T7LimitError, "over the budget"),
    "overlapping beyond the storage": (tensor([4, 4], [1, 1]), t7.T7FormatError, "elements 0 to 6 are not in"),
    "overlapping 2^62 times": (tensor([HUGE, 6], [0, 1]), t7.T7LimitError, "over the budget"),
    "repeated 2^62 times but for 0": (tensor([HUGE, 0, HUGE], [0, 1, 0]), t7.T7LimitError, "over the budget"),
    "without storage": (B.view(1, b"Float", [2], [1], 1, NIL), t7.T7FormatError, "no elements in its storage"),
    "storage of another type": (
        B.view(1, b"Float", [2], [1], 1, B.storage(2, b"Double", "d", [1, 2])),
        t7.T7FormatError,
        "cannot view a storage of",
    ),
    "a table for storage": (B.view(1, b"Float", [2], [1], 1, B.table(2)), t7.T7FormatError, "expected the storage"),
    "another tensor for storage": (
        B.table(1, B.number(1), tensor([2], [1]).replace(b"\x04\0\0\0\x01", b"\x04\0\0\0\x05", 1), B.number(2))
        + B.view(6, b"Float", [2], [1], 1, B.ints(4, 5)),
        t7.T7FormatError,
        "expected the storage",
    ),
    "itself for storage": (B.view(1, b"Float", [2], [1], 1, B.ints(4, 1)), t7.T7TruncatedError, "bytes are left"),
    # tags and references
    "tag 9": (B.table(1, B.number(1), B.ints(9)), t7.T7FormatError, "expected the tag of an object"),
    "tag -1": (B.table(1, B.number(1), B.ints(-1)), t7.T7FormatError, "expected the tag of an object"),
    "boolean 2": (B.ints(5, 2), t7.T7FormatError, "expected 0 or 1"),
    "reference with another tag": (B.table(1, B.number(1), B.ints(4, 1)), t7.T7FormatError, "referred to with tag 4"),
    "reference to nothing": (B.table(1, B.number(1), B.ints(3, 7)), t7.T7TruncatedError, "bytes are left"),
    "object without fields": (B.torch(1, b"nn.X", B.number(1)), t7.T7FormatError, "expected the fields"),
    "object that is its fields": (B.torch(1, b"nn.X", B.ints(4, 1)), t7.T7FormatError, "expected the fields"),
    "rubbish after the end": (B.number(1) + b"\x63\x63", t7.T7TruncatedError, "2 bytes are left"),
    # ascii
    "ascii: storage": (b"4\n1\n3\nV 1\n19\ntorch.DoubleStorage\n99999999\n1 2\n", t7.T7TruncatedError, "numbers"),
    "ascii: string": (b"2\n99999999\nabc\n", t7.T7TruncatedError, "bytes are left"),
    "ascii: too few": (b"4\n1\n3\nV 1\n19\ntorch.DoubleStorage\n3\n1 2\n3 4 5\n", t7.T7FormatError, "of 3 numbers"),
    "ascii: no number": (b"1\nabc\n", t7.T7FormatError, "expected a number, got 'abc'"),
    "ascii: no numbers": (b"4\n1\n3\nV 1\n19\ntorch.DoubleStorage\n2\n1 x\n", t7.T7FormatError, "other words"),
    "ascii: long words": (
        b"4\n1\n3\nV 1\n19\ntorch.DoubleStorage\n2\n1 " + b"0" * 99999 + b"1\n",
        t7.T7FormatError,
        "other words",
    ),
    "ascii: underscores": (b"1\n1_000\n", t7.T7FormatError, "expected a number"),
    "ascii: fraction": (b"3\n1.5\n0\n", t7.T7FormatError, "expected an integer"),
    "ascii: long integer": (b"3\n" + b"9" * 5000 + b"\n0\n", t7.T7Error, "at byte"),
    "ascii: out of range": (
        b"4\n1\n3\nV 1\n18\ntorch.ShortStorage\n2\n1 70000\n",
        t7.T7FormatError,
        "that torch.int16 can hold",
    ),
    "ascii: 2^70": (b"4\n1\n3\nV 1\n17\ntorch.LongStorage\n1\n1180591620717411303424\n", t7.T7FormatError, "words"),
    "ascii: infinite length": (b"2\ninf\n", t7.T7FormatError, "expected an integer"),
}


def after_a_storage(data: bytes) -> bytes:
    """The same in a table behind a storage, which shows that the longs of the file have 64 bits."""
    good = B.storage(901, b"Double", "d", [1.5, 2.5])
    return B.table(900, B.number(1), good, B.number(2), data)


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files(name: str) -> None:
    data, kind, match = HOSTILE[name]
    tracemalloc.start()
    with pytest.raises(kind, match=match):
        t7.loads(data if name.startswith("ascii") else after_a_storage(data))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 20_000_000


def test_depth_is_limited() -> None:
    deep = b"".join(B.ints(3, index, 1) + B.number(1) for index in range(1, 20_000))
    with pytest.raises(t7.T7LimitError, match="more than 10000 deep"):
        t7.loads(deep + B.number(1))
    with pytest.raises(t7.T7LimitError, match="more than 3 deep"):
        t7.loads(t7.dumps([[[[1]]]]), limits=t7.Limits(depth=3))


def test_objects_and_bytes_are_limited() -> None:
    data = t7.dumps([torch.zeros(100), torch.zeros(100)])
    with pytest.raises(t7.T7LimitError, match="more than 3 objects"):
        t7.loads(data, limits=t7.Limits(objects=3))
    with pytest.raises(t7.T7LimitError, match="storages of more than 799 bytes"):
        t7.loads(data, limits=t7.Limits(bytes=799))
    assert len(t7.loads(data, limits=t7.Limits(objects=5, bytes=800))) == 2
    expanded = t7.dumps(torch.zeros(1).expand(1000))
    assert t7.loads(expanded, limits=t7.Limits(bytes=4000)).shape == (1000,)
    with pytest.raises(t7.T7LimitError, match="over the budget"):
        t7.loads(expanded, limits=t7.Limits(bytes=3999))


def test_a_bomb_of_references_stays_small() -> None:
    """Each table holds the one before it 50 times: 50^40 entries, if they were copied."""
    tables = [B.table(1, *(part for i in range(1, 51) for part in (B.number(i), B.number(0))))]
    for index in range(2, 42):
        pairs = [part for i in range(1, 51) for part in (B.number(i), B.ints(3, index - 1))]
        tables.append(B.table(index, *pairs))
    data = B.table(99, *(part for i, table in enumerate(tables, 1) for part in (B.number(i), table)))
    loaded = t7.loads(data)
    assert loaded[-1][0] is loaded[-2]
    assert t7.dumps(loaded) == t7.dumps(t7.loads(t7.dumps(loaded)))
    with pytest.raises(t7.T7ConversionError):
        t7.to_module(loaded)


@pytest.mark.parametrize("name", ["nested.bin", "nested.ascii", "nn_linear.bin", "nn_linear.ascii", "function.bin"])
def test_truncation_at_every_byte(name: str) -> None:
    data = recorded()[f"t7-format/{name}.t7"]
    last = len(data.rstrip(b"\n")) if "ascii" in name else len(data)
    whole = t7.dumps(t7.loads(data))
    for end in range(len(data)):
        try:
            loaded = t7.loads(data[:end])
        except t7.T7Error:
            continue
        # The last number of an ascii file has no end of its own.
        assert "ascii" in name
        assert end >= last - 1
        assert end < last or t7.dumps(loaded) == whole


def test_cut_files_are_truncated_ones(tmp_path: Path) -> None:
    path = tmp_path / "x.t7"
    t7.save(path, torch.randn(10_000))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(t7.T7TruncatedError, match=r"expected 10000 numbers, 39999 bytes are left"):
        t7.load(path)


def foreign_files() -> dict[str, tuple[bytes, str]]:
    zipped, torch_file, torch_old, array = (io.BytesIO() for _ in range(4))
    with zipfile.ZipFile(zipped, "w") as archive:
        archive.writestr("x", "y")
    torch.save({"x": torch.zeros(2)}, torch_file)
    torch.save({"x": torch.zeros(2)}, torch_old, _use_new_zipfile_serialization=False)
    np.save(array, np.zeros(3))
    return {
        "nothing": (b"", "an empty file"),
        "lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n", "a Git LFS pointer.*lfs pull"),
        "zip": (zipped.getvalue(), "a zip archive"),
        "torch": (torch_file.getvalue(), "a zip archive.*torch.load"),
        "old torch": (torch_old.getvalue(), "a Python pickle.*torch.load"),
        "pickle": (pickle.dumps([1, 2]), "a Python pickle"),
        "hdf5": (b"\x89HDF\r\n\x1a\n" + b"\0" * 100, "an HDF5 file"),
        "safetensors": (save_safetensors({"x": torch.zeros(2)}), "a safetensors file"),
        "gzip": (b"\x1f\x8b\x08\x00", "compressed with gzip"),
        "numpy": (array.getvalue(), "a NumPy array"),
        "lua": (b"\x1bLJ\x02", "compiled Lua"),
        "text": ("Dies ist nur Text, völlig harmlos.\n".encode() * 40, "plain text"),
        "json": (json.dumps({"a": 1}).encode(), "plain text"),
        "html": (b"<!DOCTYPE html><html>", "plain text"),
        "rubbish": (struct.pack("<4I", 0xDEADBEEF, 0xFFFFFFFF, 7, 8), "something unknown"),
    }


@pytest.mark.parametrize("name", foreign_files())
def test_other_files_are_named(name: str) -> None:
    data, match = foreign_files()[name]
    with pytest.raises(t7.T7ForeignFileError, match=f"not a Torch7 file but {match}"):
        t7.loads(data)


@given(st.binary(max_size=200))
def test_random_bytes(data: bytes) -> None:
    with suppress(t7.T7Error):
        t7.loads_all(data)


@given(st.integers(0, 2**32), st.sampled_from(sorted(path for path in recorded() if path.endswith(".t7"))))
def test_mutated_files(seed: int, path: str) -> None:
    read_and_convert(mutated(recorded()[path], random.Random(seed)))


def test_many_mutated_files() -> None:
    """A short campaign; tests/fuzz_t7.py runs longer ones under a limit of memory."""
    rng = random.Random(0)
    small = [data for path, data in recorded().items() if path.endswith(".t7") and len(data) < 6000]
    for _ in range(1500):
        read_and_convert(mutated(rng.choice(small), rng))


def read_and_convert(data: bytes) -> None:
    """Whatever is wrong raises a typed error; what is read can be written and, maybe, converted."""
    try:
        loaded = t7.loads(data)
    except t7.T7Error:
        return
    assert isinstance(t7.dumps(loaded), bytes)
    with suppress(t7.T7ConversionError):
        t7.to_module(loaded)
