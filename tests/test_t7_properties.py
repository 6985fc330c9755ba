"""Whatever is written is read again as it was."""

from __future__ import annotations

import math
from typing import Any

import torch
from hypothesis import given
from hypothesis import strategies as st

from torchrnn import t7

DTYPES = [
    *(torch.float64, torch.float32, torch.float16, torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8),
]
texts = st.text(st.characters(codec="utf-8"), max_size=12)
numbers = st.integers(-(2**53), 2**53) | st.floats(allow_nan=False)
encodings = st.sampled_from(["binary", "ascii"])


@st.composite
def tensors(draw: st.DrawFn) -> torch.Tensor:
    """Tensors of every type, and views of them: transposed, narrowed, with steps, expanded, unfolded."""
    dtype = draw(st.sampled_from(DTYPES))
    shape = draw(st.lists(st.integers(1, 4), min_size=1, max_size=4))
    values = torch.randint(0, 100, shape, generator=torch.Generator().manual_seed(draw(st.integers(0, 99)))).to(dtype)
    view = draw(st.sampled_from(["whole", "transposed", "narrowed", "every other", "expanded", "unfolded", "empty"]))
    if view == "transposed":
        return values.movedim(0, -1)
    if view == "narrowed":
        return values[draw(st.integers(0, len(values) - 1)) :]
    if view == "every other":
        return values[::2]
    if view == "unfolded":
        return values.unfold(0, min(2, len(values)), 1) if len(values) else values
    if view == "expanded":
        return values[:1].expand(3, *values.shape[1:])
    return values[:0].flatten() if view == "empty" else values


def nested(inside: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    fields = st.dictionaries(texts, inside, max_size=4)
    names = st.text("abcXYZ.", min_size=1, max_size=8)
    objects = st.builds(t7.TorchObject, names, fields, st.none() | st.integers(0, 9))
    functions = st.builds(
        t7.LuaFunction, st.binary(max_size=9), st.lists(inside, max_size=2), st.sampled_from([6, 7, 8])
    )
    return (
        st.lists(inside, max_size=4)
        | st.dictionaries(texts | st.integers(5, 99) | st.floats(0.1, 0.9), inside, min_size=1, max_size=4)
        | objects
        | functions
    )


values = st.recursive(
    st.none()
    | st.booleans()
    | numbers
    | texts
    | st.binary(max_size=9)
    | tensors()
    | st.builds(t7.Storage, tensors().map(lambda tensor: tensor.flatten().contiguous().clone())),
    nested,
    max_leaves=20,
)


def same(left: Any, right: Any) -> bool:
    if isinstance(left, torch.Tensor):
        same_storage = left.untyped_storage().nbytes() == right.untyped_storage().nbytes()
        return (
            left.dtype == right.dtype and torch.equal(left, right) and same_storage and strides(left) == strides(right)
        )
    if isinstance(left, bytes) and isinstance(right, str):
        return left == right.encode("utf-8")
    if type(left) is not type(right):
        return bool(isinstance(left, float) and left.is_integer() and left == right)
    if isinstance(left, t7.Storage):
        return left.data.dtype == right.data.dtype and torch.equal(left.data, right.data)
    if isinstance(left, t7.TorchObject):
        return (left.class_name, left.version) == (right.class_name, right.version) and same(left.fields, right.fields)
    if isinstance(left, t7.LuaFunction):
        return (left.code, left.tag) == (right.code, right.tag) and same(left.upvalues, right.upvalues)
    if isinstance(left, list):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, dict):
        return list(left) == list(right) and all(same(left[key], right[key]) for key in left)
    return bool(left == right) and (left != 0 or math.copysign(1, left) == math.copysign(1, right))


def strides(tensor: torch.Tensor) -> Any:
    return tensor.stride() if tensor.numel() else None


@given(values, encodings)
def test_what_is_written_is_read(value: Any, encoding: str) -> None:
    data = t7.dumps(value, encoding)
    loaded = t7.loads(data)
    assert same(value, loaded)
    assert t7.dumps(loaded, encoding) == data


@given(st.lists(values, min_size=1, max_size=5), st.data(), encodings)
def test_what_is_shared_stays_shared(parts: list[Any], data: st.DataObject, encoding: str) -> None:
    """A table that refers to its parts several times, and to itself."""
    chosen = data.draw(st.lists(st.sampled_from(range(len(parts))), max_size=8))
    table: list[Any] = [*parts, *(parts[position] for position in chosen)]
    table.append(table)
    loaded = t7.loads(t7.dumps(table, encoding))
    assert loaded[-1] is loaded
    for offset, position in enumerate(chosen):
        once, again = loaded[position], loaded[len(parts) + offset]
        has_identity = isinstance(once, list | dict | torch.Tensor | t7.Storage | t7.TorchObject)
        assert once is again or not has_identity


@given(tensors(), tensors(), encodings)
def test_views_of_one_storage(whole: torch.Tensor, other: torch.Tensor, encoding: str) -> None:
    views = [whole, whole[-1:], whole.movedim(0, -1), t7.Storage(t7.objects.storage_of(whole)), other]
    *ours, storage, apart = t7.loads(t7.dumps(views, encoding))
    addresses = {view.untyped_storage().data_ptr() for view in [*ours, storage.data]}
    assert len(addresses) == 1
    if other.untyped_storage().nbytes():
        assert apart.untyped_storage().data_ptr() not in addresses
    for mine, theirs in zip(ours, views, strict=False):
        assert torch.equal(mine, theirs)
