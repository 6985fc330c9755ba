"""Torch7 files, read and written: against what the original wrote, and against files written by hand."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from t7_data import NIL, Binary, recorded, vectors

from torchrnn import t7

DTYPES = {
    "double": torch.float64,
    "float": torch.float32,
    "long": torch.int64,
    "int": torch.int32,
    "short": torch.int16,
    "char": torch.int8,
    "byte": torch.uint8,
}
ENCODINGS = {"bin": "binary", "ascii": "ascii"}
DESCRIBED_IN_WORDS = {"function", "cyclic"}


def agrees(ours: Any, theirs: Any) -> bool:
    """Whether a loaded value is the one that JSON describes."""
    if isinstance(theirs, dict) and set(theirs) == {"dtype", "shape", "data"}:
        expected = torch.tensor(theirs["data"], dtype=DTYPES[theirs["dtype"]]).reshape(theirs["shape"] or [0])
        return ours.dtype == expected.dtype and torch.equal(ours.nan_to_num(7), expected.nan_to_num(7))
    if isinstance(ours, t7.Storage):
        return ours.data.tolist() == theirs
    if isinstance(theirs, dict):
        named = {str(key): value for key, value in ours.items()}
        return named.keys() == theirs.keys() and all(agrees(named[key], theirs[key]) for key in theirs)
    if isinstance(theirs, list):
        return len(ours) == len(theirs) and all(map(agrees, ours, theirs))
    return type(ours) is type(theirs) and ours == theirs


VECTORS = vectors()


@pytest.mark.parametrize("path", [path for path in recorded() if path.endswith(".t7")])
def test_what_was_read_is_written_byte_for_byte(path: str) -> None:
    data = recorded()[path]
    encoding = "ascii" if ".ascii." in path else "binary"
    assert t7.dumps(t7.loads(data), encoding) == data


@pytest.mark.parametrize("suffix", ["bin.t7", "ascii.t7", "norefs.bin.t7"])
@pytest.mark.parametrize("name", [n for n, v in VECTORS.items() if not n.startswith("nn_") and n != "serialize_string"])
def test_vectors_have_the_recorded_values(name: str, suffix: str) -> None:
    path = f"t7-format/{name}.{suffix}"
    if path not in recorded():
        assert name == "cyclic"
        return
    value = t7.loads(recorded()[path])
    if name not in DESCRIBED_IN_WORDS:
        assert agrees(value, VECTORS[name].get("value", False))


def test_serialize_to_a_string() -> None:
    assert agrees(t7.loads(recorded()["t7-format/serialize_string.bin"]), VECTORS["serialize_string"]["value"])


@pytest.mark.parametrize("suffix", ENCODINGS)
@pytest.mark.parametrize("name", [name for name in VECTORS if name.startswith("nn_")])
def test_modules_are_objects_with_the_recorded_tensors(name: str, suffix: str) -> None:
    def parameters(made: t7.TorchObject) -> list[torch.Tensor]:
        found = [made.fields[key] for key in ("weight", "bias") if key in made.fields]
        inside = list({id(m): m for m in made.fields.get("modules", [])}.values())
        return found + [parameter for part in inside for parameter in parameters(part)]

    made = t7.loads(recorded()[f"t7-format/{name}.{suffix}.t7"])
    theirs = VECTORS[name]["value"]
    expected = theirs.get("params") or [theirs["weight"], theirs["bias"]]
    ours = parameters(made)
    assert all(agrees(*pair) for pair in zip(ours, expected, strict=False))
    assert isinstance(made, t7.TorchObject)


@pytest.mark.parametrize("suffix", ENCODINGS)
def test_views_of_one_storage_stay_so(suffix: str) -> None:
    table = t7.loads(recorded()[f"t7-format/shared_storage.{suffix}.t7"])
    table["whole"][1, 0] = 42
    assert table["row"][0] == 42
    assert table["same"] is table["whole"]
    model = t7.loads(recorded()[f"t7-format/nn_flat_float.{suffix}.t7"])
    first, last = model.fields["modules"][0].fields, model.fields["modules"][-1].fields
    assert first["weight"].untyped_storage().data_ptr() == last["bias"].untyped_storage().data_ptr()
    again = t7.loads(t7.dumps(model, ENCODINGS[suffix])).fields["modules"]
    again[0].fields["weight"][0, 0] = 42
    assert (
        again[0].fields["weight"].untyped_storage().data_ptr() == again[-1].fields["bias"].untyped_storage().data_ptr()
    )


@pytest.mark.parametrize("suffix", ENCODINGS)
def test_what_is_one_object_stays_one(suffix: str) -> None:
    cycle = t7.loads(recorded()[f"t7-format/cyclic.{suffix}.t7"])
    assert cycle["self"] is cycle
    table = t7.loads(recorded()[f"t7-format/shared_table.{suffix}.t7"])
    assert table["a"] is table["b"]
    apart = t7.loads(recorded()["t7-format/shared_table.norefs.bin.t7"])
    assert apart["a"] is not apart["b"]
    modules = t7.loads(recorded()[f"t7-format/nn_shared_module.{suffix}.t7"]).fields["modules"]
    assert len({id(module) for module in modules}) < len(modules)


@pytest.mark.parametrize("encoding", ["binary", "ascii"])
def test_views_that_overlap_are_kept(encoding: str) -> None:
    """What Torch7's ``unfold`` gives: windows over the same memory, which is written once."""
    signal = torch.arange(7.0)
    windows = signal.unfold(0, 3, 2)
    data = t7.dumps([windows, signal], encoding)
    loaded, memory = t7.loads(data)
    assert loaded.tolist() == [[0, 1, 2], [2, 3, 4], [4, 5, 6]]
    assert loaded.stride() == (2, 1)
    memory[2] = 9
    assert loaded.tolist()[:2] == [[0, 1, 9], [9, 3, 4]]
    memory[2] = 2
    assert t7.dumps([loaded, memory], encoding) == data
    diagonals = signal.as_strided((3, 3), (1, 1))  # more elements than the storage has
    assert t7.loads(t7.dumps(diagonals, encoding)).tolist() == [[0, 1, 2], [1, 2, 3], [2, 3, 4]]


def test_strides_of_zero_are_kept() -> None:
    tensor = t7.loads(recorded()["t7-format/tensor_expand.bin.t7"])
    assert tensor.shape == (4, 3)
    assert tensor.stride() == (0, 1)
    assert tensor.untyped_storage().nbytes() == 3 * 8


def test_functions_are_kept_and_not_run() -> None:
    table = t7.loads(recorded()["t7-format/function.bin.t7"])
    assert isinstance(table["f"], t7.LuaFunction)
    assert table["f"].code.startswith(b"\x1bLJ")
    assert table["f"].upvalues == []
    assert table["after"] == "still readable"


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("long_size", [8, 4])
class TestByteOrderAndLongs:
    """No file of 32 bits or of another byte order was found in the wild: these are written by hand."""

    def test_tensors(self, order: str, long_size: int) -> None:
        b = Binary(order, long_size)
        storage = b.storage(3, b"Float", "f", [0, 1, 2, 3, 4, 5])
        tensor = b.view(2, b"Float", [2, 2], [3, 1], 2, storage)
        longs = b.storage(4, b"Long", "q", [-1, 2**31 - 1])
        data = b.table(1, b.string(b"x"), tensor, b.string(b"l"), longs, b.string(b"n"), b.number(0.5))
        table = t7.loads(data)
        assert table["x"].tolist() == [[1, 2], [4, 5]]
        assert table["l"].data.tolist() == [-1, 2**31 - 1]
        assert table["l"].data.dtype == torch.int64
        assert table["n"] == 0.5
        assert t7.loads(t7.dumps(table))["x"].tolist() == [[1, 2], [4, 5]]

    def test_first_zeros_do_not_mislead(self, order: str, long_size: int) -> None:
        b = Binary(order, long_size)
        zeros = [b.storage(2 * i, b"Double", "d", [0.0] * i) for i in range(1, 5)]
        pairs = [part for i, storage in enumerate(zeros, 1) for part in (b.number(i), storage)]
        empty = b.view(99, b"Int", [], [], 1, NIL if order == "<" else b.ints(0))
        values = t7.loads(b.table(1, *pairs, b.number(5), empty))
        assert [len(storage) for storage in values[:4]] == [1, 2, 3, 4]
        assert values[4].shape == (0,)

    def test_an_empty_tensor_alone(self, order: str, long_size: int) -> None:
        b = Binary(order, long_size)
        assert t7.loads(b.view(1, b"Double", [], [], 1, b.ints(0))).shape == (0,)


B = Binary()


def test_unversioned_classes() -> None:
    data = B.torch(1, b"nn.Tanh", B.table(2, B.string(b"p"), B.number(1)), version=b"")
    made = t7.loads(data)
    assert (made.class_name, made.version, made.fields) == ("nn.Tanh", None, {"p": 1})
    assert t7.dumps(made) == data
    tensor = B.view(1, b"Float", [2], [1], 1, B.storage(2, b"Float", "f", [1, 2], version=b""))
    assert t7.loads(tensor).tolist() == [1, 2]


@pytest.mark.parametrize("tag", [6, 7, 8])
def test_tags_of_functions(tag: int) -> None:
    index = B.ints(2) if tag != 6 else b""
    function = B.ints(tag) + index + B.raw_string(b"\x1bLua") + B.table(3, B.number(1), B.number(7))
    data = B.table(1, B.number(1), function, B.number(2), B.string(b"after"))
    function, after = t7.loads(data)
    assert (function.tag, function.code, function.upvalues, after) == (tag, b"\x1bLua", [7], "after")
    assert t7.loads(t7.dumps([function]))[0].tag == tag


def test_a_function_may_close_over_itself() -> None:
    pair = B.table(3, B.string(b"name"), B.string(b"f"), B.string(b"value"), B.ints(8, 1))
    function = t7.loads(B.ints(8, 1) + B.raw_string(b"code") + B.table(2, B.number(1), pair))
    assert function.upvalues[0]["value"] is function


@pytest.mark.parametrize("prefix", ["", "Cuda", "Cl"])
@pytest.mark.parametrize(
    ("name", "letter", "dtype"),
    [
        ("Double", "d", torch.float64),
        ("Float", "f", torch.float32),
        ("Half", "e", torch.float16),
        ("Long", "q", torch.int64),
        ("Int", "i", torch.int32),
        ("Short", "h", torch.int16),
        ("Char", "b", torch.int8),
        ("Byte", "B", torch.uint8),
        ("", "f", torch.float32),
    ],
)
def test_types_of_tensors_and_storages(prefix: str, name: str, letter: str, dtype: torch.dtype) -> None:
    kind = (prefix + name).encode()
    if not kind:
        return
    tensor = t7.loads(B.view(1, kind, [3], [1], 1, B.storage(2, kind, letter, [1, 2, 3])))
    assert tensor.dtype == dtype
    assert tensor.tolist() == [1, 2, 3]
    assert t7.loads(t7.dumps(tensor, "ascii")).dtype == dtype


def test_several_objects_in_one_file() -> None:
    shared = B.table(1, B.number(1), B.string(b"x"))
    data = shared + B.number(2) + B.ints(3, 1)
    first, number, again = t7.loads_all(data)
    assert first is again
    assert (first, number) == (["x"], 2)
    with pytest.raises(t7.T7FormatError, match="holds 3 objects; read them with load_all"):
        t7.loads(data)
    assert t7.loads_all(b"3\n1\n0\n1\n0.5\n3\n1\n") == [[], 0.5, []]


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        ([], []),
        ([(1, "a"), (2, "b")], ["a", "b"]),
        ([(2, "b"), (1, "a")], ["a", "b"]),
        ([(1, "a"), (3, "c")], {1: "a", 3: "c"}),
        ([(0, "a"), (1, "b")], {0: "a", 1: "b"}),
        ([(1.5, "a")], {1.5: "a"}),
        ([("1", "a"), (1, "b")], {"1": "a", 1: "b"}),
        ([(True, "a")], {True: "a"}),
        ([(-0.0, "a")], {0: "a"}),
    ],
)
def test_which_tables_are_lists(pairs: list[tuple[Any, str]], expected: Any) -> None:
    def key(value: Any) -> bytes:
        if isinstance(value, bool):
            return B.ints(5, int(value))
        return B.string(value.encode()) if isinstance(value, str) else B.number(value)

    table = t7.loads(B.table(1, *(part for k, v in pairs for part in (key(k), B.string(v.encode())))))
    assert type(table) is type(expected)
    assert table == expected


def test_tables_that_are_neither_list_nor_dict() -> None:
    nan = B.number(math.nan)
    both = t7.loads(B.table(1, B.number(1), B.string(b"number"), B.ints(5, 1), B.string(b"boolean")))
    assert isinstance(both, t7.LuaTable)
    assert (both[1], both[True], both.array) == ("number", "boolean", ["number"])
    inner = B.table(2, B.number(1), B.number(5))
    by_table = t7.loads(B.table(1, inner, B.string(b"by table"), B.string(b"key"), B.ints(3, 2), nan, B.number(1)))
    assert by_table["key"] == [5]
    assert by_table[by_table["key"]] == "by table"
    with pytest.raises(KeyError):
        by_table[[5]]
    assert len(by_table) == 3
    assert t7.loads(t7.dumps(by_table))["key"] == [5]
    itself = t7.loads(B.table(1, B.ints(3, 1), B.ints(3, 1)))
    assert itself[itself] is itself


def test_fields_of_objects_are_a_dict_and_have_names() -> None:
    assert t7.loads(B.torch(1, b"nn.X", B.table(2))).fields == {}
    assert t7.loads(B.torch(1, b"nn.X", B.table(2, B.number(1), B.number(5)))).fields == {1: 5}
    with pytest.raises(t7.T7FormatError, match=r"fields of a nn.X must have names"):
        t7.loads(B.torch(1, b"nn.X", B.table(2, B.table(3), B.number(5))))


def test_collections_of_tds() -> None:
    def vec(index: int) -> bytes:
        return B.torch(index, b"tds.Vec", B.longs(2) + B.string(b"a") + B.number(2), version=b"V 0")

    made = t7.loads(vec(1))
    assert (made.class_name, made.version, made.fields) == ("tds.Vec", 0, {1: "a", 2: 2})
    assert t7.dumps(made) == vec(1)
    entries = B.longs(2) + B.string(b"a") + B.number(2) + B.number(3) + vec(2)
    made = t7.loads(B.torch(1, b"tds.Hash", entries, version=b"V 0"))
    assert made.fields["a"] == 2
    assert made.fields[3].fields == {1: "a", 2: 2}
    assert t7.loads(t7.dumps(made, "ascii")).fields[3].fields == {1: "a", 2: 2}


def test_numbers_and_strings() -> None:
    for value in (0, -5, 2**53, -(2**53), 0.5, 1e300, math.inf, -math.inf):
        for encoding in ("binary", "ascii"):
            again = t7.loads(t7.dumps(value, encoding))
            assert again == value
            assert type(again) is type(value)
    assert math.copysign(1, t7.loads(t7.dumps(-0.0))) == -1
    assert math.isnan(t7.loads(t7.dumps(math.nan, "ascii")))
    for text in ("", "\n", "3\n1\n", "中文 é", b"\xff\xfe"):
        for encoding in ("binary", "ascii"):
            assert t7.loads(t7.dumps([text, text], encoding)) == [text, text]


def test_what_else_can_be_written() -> None:
    value = {"t": (1, 2), "n": np.float32(0.5), "i": np.int64(3), "b": np.bool_(True), "a": np.arange(3), "none": None}
    loaded = t7.loads(t7.dumps(value))
    assert loaded.pop("a").tolist() == [0, 1, 2]
    assert loaded == {"t": [1, 2], "n": 0.5, "i": 3, "b": True, "none": None}
    parameter = torch.nn.Parameter(torch.ones(2, 3))
    loaded = t7.loads(t7.dumps([parameter, parameter.t(), torch.tensor(2.5), torch.zeros(0, 3), torch.tensor([True])]))
    assert loaded[0].untyped_storage().data_ptr() == loaded[1].untyped_storage().data_ptr()
    assert loaded[1].stride() == (1, 3)
    assert [part.shape for part in loaded[2:]] == [(1,), (0,), (1,)]
    assert loaded[4].dtype == torch.uint8


@pytest.mark.parametrize(
    ("value", "error", "match"),
    [
        (torch.zeros(2, dtype=torch.bfloat16), TypeError, "bfloat16"),
        (torch.zeros(2, dtype=torch.complex64), TypeError, "complex64"),
        (torch.eye(2).to_sparse(), TypeError, "make it dense"),
        (2**53 + 1, ValueError, r"exact up to 2\^53"),
        ({"a": object()}, TypeError, "object cannot be written"),
        (torch.nn.Linear(2, 2), TypeError, "from_module"),
    ],
)
def test_what_cannot_be_written(value: Any, error: type[Exception], match: str, tmp_path: Path) -> None:
    path = tmp_path / "x.t7"
    path.write_bytes(b"before")
    with pytest.raises(error, match=match):
        t7.save(path, value)
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_storage_is_all_of_its_memory() -> None:
    for part in (torch.arange(4)[1:], torch.zeros(2, 2), torch.zeros(1).expand(3)):
        with pytest.raises(ValueError, match="Storage: data must be all of its memory"):
            t7.Storage(part)


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "x.t7"
    t7.save(str(path), {"x": torch.arange(4.0)}, format="ascii")
    assert t7.load(path)["x"].tolist() == [0, 1, 2, 3]
    t7.save(path, [1])
    assert t7.load(str(path)) == [1]
    assert t7.load_all(path) == [[1]]
    with pytest.raises(ValueError, match="format must be 'binary' or 'ascii'"):
        t7.save(path, 1, format="json")
    with pytest.raises(FileNotFoundError):
        t7.load(tmp_path / "missing.t7")


def test_deep_tables_need_no_stack() -> None:
    depth = 9000
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    loaded = t7.loads(t7.dumps(value))
    for _ in range(depth):
        (loaded,) = loaded
    assert loaded == []


def test_errors_say_where_and_what() -> None:
    with pytest.raises(t7.T7FormatError, match=r"at byte 12: expected the tag of an object, 0 to 8, got 77") as caught:
        t7.loads(B.table(1, B.ints(77), B.ints(0)))
    assert caught.value.offset == 12
    assert repr(t7.TorchObject("nn.X", {"a": 1})) == "<nn.X with a>"
