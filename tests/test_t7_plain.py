"""Layers and criterions of plain nn files that no recorded case covers.

The objects are built by hand, with the fields that the sources of Torch7's nn (2014 to 2017) give them; the numbers
are compared with formulas and torch.nn.functional.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torchrnn import t7


def made(name: str, **fields: Any) -> t7.TorchObject:
    return t7.TorchObject(name, {"_type": "torch.DoubleTensor", **fields})


X = torch.linspace(-3, 8, 24, dtype=torch.float64).view(4, 6)
W6 = torch.linspace(0.1, 0.6, 6, dtype=torch.float64)
LINEAR = made("nn.Linear", weight=W6.view(2, 3), bias=W6[:2])

LAYERS: dict[str, tuple[t7.TorchObject, Callable[[Tensor], Tensor]]] = {
    "ReLU": (made("nn.ReLU", threshold=0, val=0, inplace=False), torch.relu),
    "ReLU of cudnn": (made("cudnn.ReLU", inplace=True), torch.relu),
    "Tanh of cudnn": (made("cudnn.Tanh", inplace=True), torch.tanh),
    "Sigmoid of cudnn": (made("cudnn.Sigmoid", inplace=True), torch.sigmoid),
    "Threshold": (made("nn.Threshold", threshold=1, val=0.5), lambda x: x.where(x > 1, 0.5)),
    "ReLU6": (made("nn.ReLU6", inplace=False), lambda x: x.clamp(0, 6)),
    "LeakyReLU": (made("nn.LeakyReLU", negval=0.25), lambda x: x.where(x > 0, x / 4)),
    "PReLU": (made("nn.PReLU", nOutputPlane=6, weight=W6), lambda x: x.where(x > 0, x * W6)),
    "PReLU of one slope": (made("nn.PReLU", nOutputPlane=0, weight=W6[:1]), lambda x: x.where(x > 0, x / 10)),
    "RReLU": (made("nn.RReLU", lower=0.1, upper=0.3, train=False), lambda x: x.where(x > 0, x / 5)),
    "ELU": (made("nn.ELU", alpha=0.5), lambda x: x.where(x > 0, (x.exp() - 1) / 2)),
    "SoftPlus": (made("nn.SoftPlus", beta=2, threshold=20), lambda x: (1 + (2 * x).exp()).log() / 2),
    "SoftSign": (made("nn.SoftSign"), lambda x: x / (1 + x.abs())),
    "HardTanh": (made("nn.HardTanh", min_val=-2, max_val=1), lambda x: x.clamp(-2, 1)),
    "Clamp": (made("nn.Clamp", min_val=0, max_val=7), lambda x: x.clamp(0, 7)),
    "HardShrink": (made("nn.HardShrink", **{"lambda": 0.5}), lambda x: x.where(x.abs() > 0.5, 0.0)),
    "SoftShrink": (made("nn.SoftShrink", **{"lambda": 2}), lambda x: x.sign() * (x.abs() - 2).clamp(min=0)),
    "TanhShrink": (made("nn.TanhShrink", tanh=made("nn.Tanh")), lambda x: x - x.tanh()),
    "LogSigmoid": (made("nn.LogSigmoid"), lambda x: x.sigmoid().log()),
    "SoftMax of cudnn": (made("cudnn.SoftMax"), lambda x: x.softmax(1)),
    "LogSoftMax of cudnn": (made("cudnn.LogSoftMax"), lambda x: x.log_softmax(1)),
    "GatedLinearUnit": (made("nn.GatedLinearUnit"), lambda x: x[:, :3] * x[:, 3:].sigmoid()),
    "GatedLinearUnit of rows": (made("nn.GatedLinearUnit", dim=1), lambda x: x[:2] * x[2:].sigmoid()),
    "CAdd": (made("nn.CAdd", size=[6], bias=W6), lambda x: x + W6),
    "Padding": (made("nn.Padding", dim=1, pad=2, value=7), lambda x: F.pad(x, (0, 0, 0, 2), value=7)),
    "Collapse": (
        made("nn.Sequential", modules=[made("nn.View", size=[4, 2, 3]), made("nn.Collapse", nInputDim=2)]),
        lambda x: x,
    ),
    "OneHot": (
        made("nn.Sequential", modules=[made("nn.ArgMax", dim=1, nInputDim=1), made("nn.OneHot", outputSize=6)]),
        lambda x: (x == x.amax(1, keepdim=True)).double(),
    ),
    "Concat": (
        made("nn.Concat", dimension=2, modules=[made("nn.Tanh"), made("nn.Sigmoid")]),
        lambda x: torch.cat([x.tanh(), x.sigmoid()], 1),
    ),
    "Parallel": (
        made(
            "nn.Sequential",
            modules=[
                made("nn.Reshape", size=[2, 3], batchMode=True),
                made("nn.Parallel", inputDimension=2, outputDimension=2, modules=[LINEAR, made("nn.Tanh")]),
            ],
        ),
        lambda x: torch.cat([x[:, :3] @ W6.view(2, 3).t() + W6[:2], x[:, 3:].tanh()], 1),
    ),
}


@pytest.mark.parametrize("name", LAYERS)
def test_layers(name: str) -> None:
    made_by_lua, expected = LAYERS[name]
    module = t7.to_module(t7.loads(t7.dumps(made_by_lua)))
    torch.testing.assert_close(module(X), expected(X), rtol=0, atol=1e-12)
    data = t7.dumps(t7.from_module(module.double()))
    again = t7.to_module(t7.loads(data))
    torch.testing.assert_close(again(X), expected(X), rtol=0, atol=1e-12)
    assert t7.dumps(t7.from_module(again)) == data


@pytest.mark.parametrize(
    ("made_by_lua", "match"),
    [
        (made("nn.RReLU", lower=0.1, upper=0.3, channelwise=True), "one slope for a channel"),
        (made("nn.CAdd", bias=W6.view(1, 6)), "spread over a whole dimension"),
        (made("nn.Bilinear", weight=W6.view(2, 3)), "cannot be built"),
        (made("nn.MM", transA=False, transB=False), "class nn.MM is not known"),
    ],
)
def test_layers_that_cannot_be_built(made_by_lua: t7.TorchObject, match: str) -> None:
    with pytest.raises(t7.T7ConversionError, match=match):
        t7.to_module(made_by_lua)


def test_soft_max_of_torch_nn_is_written() -> None:
    image = torch.randn(2, 3, 4, 5)
    for module in (nn.Softmax2d(), nn.GLU()):
        again = t7.to_module(t7.from_module(module))
        x = image if isinstance(module, nn.Softmax2d) else X
        torch.testing.assert_close(again(x), module(x))
    with pytest.raises(t7.T7ConversionError, match="counts dimensions from the first"):
        t7.from_module(nn.GLU(-2))


W223 = torch.linspace(-1, 1, 12, dtype=torch.float64).view(2, 2, 3)
PAIR = [X[:, :3], X[:, 3:]]
OF_TWO: dict[str, tuple[t7.TorchObject, list[Tensor], Callable[[Tensor, Tensor], Tensor]]] = {
    "Bilinear": (
        made("nn.Bilinear", weight=W223, bias=W6[:2]),
        [X[:, :2], X[:, 3:]],
        lambda a, b: torch.stack([((a @ W223[k]) * b).sum(-1) for k in range(2)], -1) + W6[:2],
    ),
    "Bilinear without bias": (
        made("nn.Bilinear", weight=W223),
        [X[:, :2], X[:, 3:]],
        lambda a, b: torch.stack([((a @ W223[k]) * b).sum(-1) for k in range(2)], -1),
    ),
    "CosineDistance": (
        made("nn.CosineDistance"),
        PAIR,
        lambda a, b: (a * b).sum(-1) / (a.square().sum(-1) * b.square().sum(-1)).sqrt(),
    ),
    "PairwiseDistance": (made("nn.PairwiseDistance", norm=1), PAIR, lambda a, b: (a - b).abs().sum(-1)),
    "PairwiseDistance of 3": (
        made("nn.PairwiseDistance", norm=3),
        PAIR,
        lambda a, b: (a - b).abs().pow(3).sum(-1) ** (1 / 3),
    ),
}


@pytest.mark.parametrize("name", OF_TWO)
def test_layers_of_two_inputs(name: str) -> None:
    made_by_lua, inputs, expected = OF_TWO[name]
    module = t7.to_module(t7.loads(t7.dumps(made("nn.Sequential", modules=[made_by_lua]))))
    torch.testing.assert_close(module(inputs), expected(*inputs), rtol=0, atol=1e-11)
    data = t7.dumps(t7.from_module(module.double()))
    again = t7.to_module(t7.loads(data))
    assert str(again) == str(module)
    torch.testing.assert_close(again(inputs), module(inputs), rtol=0, atol=0)
    assert t7.dumps(t7.from_module(again)) == data


@pytest.mark.parametrize(
    "module",
    [
        nn.PairwiseDistance(),
        nn.CosineSimilarity(0),
        nn.TripletMarginLoss(),
        nn.MarginRankingLoss(1, None, None, "none"),
    ],
)
def test_modules_of_two_arguments_that_cannot_be_written(module: nn.Module) -> None:
    with pytest.raises(t7.T7ConversionError, match="Torch7 has no"):
        t7.from_module(t7.OfTable(module))


SCORES = torch.linspace(-1, 2, 12, dtype=torch.float64).view(3, 4).sin()
CLASSES = torch.tensor([2, 0, 3])
SIGNS = torch.tensor([[1.0, -1.0, 1.0, -1.0]] * 3, dtype=torch.float64)
LABELS = torch.tensor([[2, 0, -1, 1], [1, -1, 0, 0], [3, 2, 1, 0]])
W4 = torch.tensor([0.5, 1.0, 2.0, 1.5], dtype=torch.float64)
MAPS = torch.randn(2, 4, 3, 3, dtype=torch.float64).log_softmax(1)
PIXELS = torch.randint(4, (2, 3, 3))


def multi_margin(x: Tensor, target: Tensor) -> Tensor:
    rows = []
    for row, right in zip(x, target.tolist(), strict=True):
        wrong = [W4[right] * max(0.5 - row[right] + row[k], 0) ** 2 for k in range(4) if k != right]
        rows.append(sum(wrong) / 4)
    return torch.stack(rows).mean()


def multi_label(x: Tensor, target: Tensor) -> Tensor:
    rows = []
    for row, labels in zip(x, target.tolist(), strict=True):
        right = labels[: labels.index(-1)] if -1 in labels else labels
        wrong = [k for k in range(4) if k not in right]
        rows.append(sum((1 - row[j] + row[k]).clamp(min=0) for j in right for k in wrong) / 4 if wrong else 0 * row[0])
    return torch.stack(rows).mean()


def pixel_nll(x: Tensor, target: Tensor) -> Tensor:
    picked = x.gather(1, target[:, None])[:, 0]
    return -(picked * W4[target]).sum() / W4[target].sum()


def soft_margin_of_labels(x: Tensor, target: Tensor) -> Tensor:
    y = (target + 1) / 2
    return -(W4 * (y * x.sigmoid().log() + (1 - y) * (-x).sigmoid().log())).mean()


LOSSES: dict[str, tuple[t7.TorchObject, Tensor, Tensor, Callable[[Tensor, Tensor], Tensor]]] = {
    "Abs": (made("nn.AbsCriterion", sizeAverage=True), SCORES, SIGNS, lambda x, y: (x - y).abs().mean()),
    "Abs, summed": (made("nn.AbsCriterion", sizeAverage=False), SCORES, SIGNS, lambda x, y: (x - y).abs().sum()),
    "SmoothL1": (made("nn.SmoothL1Criterion"), SCORES, SIGNS, lambda x, y: F.smooth_l1_loss(x, y)),
    "SoftMargin": (made("nn.SoftMarginCriterion"), SCORES, SIGNS, lambda x, y: (1 + (-x * y).exp()).log().mean()),
    "BinaryLogisticRegression": (
        made("nn.BinaryLogisticRegression", sizeAverage=False),
        SCORES[:, 0],
        SIGNS[:, 0],
        lambda x, y: (1 + (-x * y).exp()).log().sum(),
    ),
    "HingeEmbedding": (
        made("nn.HingeEmbeddingCriterion", margin=0.5),
        SCORES,
        SIGNS,
        lambda x, y: x.where(y > 0, (0.5 - x).clamp(min=0)).mean(),
    ),
    "MultiMargin": (made("nn.MultiMarginCriterion", p=2, margin=0.5, weights=W4), SCORES, CLASSES, multi_margin),
    "MultiLabelMargin": (made("nn.MultiLabelMarginCriterion"), SCORES, LABELS, multi_label),
    "SpatialClassNLL": (made("nn.SpatialClassNLLCriterion", weights=W4), MAPS, PIXELS, pixel_nll),
    "MultiLabelSoftMargin": (
        made("nn.MultiLabelSoftMarginCriterion", lsm=made("nn.Sigmoid"), nll=made("nn.BCECriterion", weights=W4)),
        SCORES,
        SIGNS,
        soft_margin_of_labels,
    ),
}


SIDES = torch.tensor([1.0, -1.0, -1.0], dtype=torch.float64)
LOSSES_OF_TWO: dict[str, tuple[t7.TorchObject, list[Tensor], Callable[[Tensor, Tensor], Tensor]]] = {
    "CosineEmbedding": (
        made("nn.CosineEmbeddingCriterion", margin=0.25),
        [SCORES, SCORES.cos()],
        lambda a, b: (lambda c: (1 - c).where(SIDES > 0, (c - 0.25).clamp(min=0)))(F.cosine_similarity(a, b)).mean(),
    ),
    "MarginRanking": (
        made("nn.MarginRankingCriterion", margin=0.5, sizeAverage=False),
        [SCORES[:, 0], SCORES[:, 1]],
        lambda a, b: (0.5 - SIDES * (a - b)).clamp(min=0).sum(),
    ),
}


@pytest.mark.parametrize("name", LOSSES_OF_TWO)
def test_losses_of_two_inputs(name: str) -> None:
    made_by_lua, inputs, expected = LOSSES_OF_TWO[name]
    criterion = t7.to_module(t7.loads(t7.dumps(made_by_lua)))
    torch.testing.assert_close(criterion(inputs, SIDES), expected(*inputs))
    grads = criterion.backward(inputs, SIDES)
    assert [grad.shape for grad in grads] == [x.shape for x in inputs]
    data = t7.dumps(t7.from_module(criterion))
    again = t7.to_module(t7.loads(data))
    torch.testing.assert_close(again(inputs, SIDES), expected(*inputs))
    assert t7.dumps(t7.from_module(again)) == data


ALL: list[tuple[Any, ...]] = [case for cases in (LAYERS, OF_TWO, LOSSES, LOSSES_OF_TWO) for case in cases.values()]


@pytest.mark.parametrize("name", LOSSES)
def test_losses(name: str) -> None:
    made_by_lua, x, y, expected = LOSSES[name]
    target = (y + 1) / 2 if name == "MultiLabelSoftMargin" else y
    criterion = t7.to_module(t7.loads(t7.dumps(made_by_lua)))
    torch.testing.assert_close(criterion(x, target), expected(x, y))
    data = t7.dumps(t7.from_module(criterion))
    again = t7.to_module(t7.loads(data))
    torch.testing.assert_close(again(x, target), expected(x, y))
    assert t7.dumps(t7.from_module(again)) == data
    written = "nn.SoftMarginCriterion" if name == "BinaryLogisticRegression" else made_by_lua.class_name
    assert t7.from_module(criterion).class_name == written


@pytest.mark.parametrize(
    ("loss", "match"),
    [
        (nn.L1Loss(reduction="none"), "the mean or the sum"),
        (nn.SmoothL1Loss(beta=2.0), "without a beta"),
        (nn.NLLLoss(ignore_index=0), "leaves no class out"),
        (nn.MultiLabelSoftMarginLoss(reduction="sum"), "takes the mean"),
    ],
)
def test_losses_that_cannot_be_written(loss: nn.Module, match: str) -> None:
    with pytest.raises(t7.T7ConversionError, match=match):
        t7.from_module(loss)
