"""Convolution, pooling and their kin out of Torch7 files.

No file of the originals is at hand for these. The objects are built by hand, with the fields that the sources of
Torch7's nn (2014 to 2017) and of cudnn give them; the numbers are compared with formulas and torch.nn.functional.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import torchrnn
from torchrnn import t7


def made(name: str, version: int | None = 1, **fields: Any) -> t7.TorchObject:
    return t7.TorchObject(name, {"_type": "torch.DoubleTensor", "train": True, **fields}, version)


def randn(*size: int) -> Tensor:
    generator = torch.Generator().manual_seed(sum(size))
    return torch.randn(*size, dtype=torch.float64, generator=generator)


class Case(NamedTuple):
    """An object, an input, and what it gives."""

    object: t7.TorchObject
    input: Tensor
    expected: Callable[[Tensor], Tensor]
    kind: type[nn.Module]
    class_name: str
    """Of what is written."""


WINDOW = {"kW": 3, "kH": 2, "dW": 2, "dH": 1}
PAD = {"padW": 1, "padH": 0}
PLANES = {"nInputPlane": 2, "nOutputPlane": 4}
W, B, B5 = randn(4, 2, 2, 3), randn(4), randn(5)
W3, W3_FULL, W_FULL = randn(4, 2, 2, 2, 3), randn(2, 4, 2, 2, 3), randn(2, 4, 2, 3)
W_GROUPS, W_TIME = randn(4, 1, 2, 3), randn(5, 3 * 4)
IMAGE, VOLUME = randn(3, 2, 5, 7), randn(3, 2, 4, 5, 7)
CONV = {**PLANES, **WINDOW, "weight": W, "bias": B}
CONV3 = {**PLANES, **WINDOW, "kT": 2, "dT": 1, "weight": W3, "bias": B}
MEAN, VAR = randn(2), randn(2).exp()
NORM = {"running_mean": MEAN, "running_var": VAR, "eps": 1e-3, "momentum": 0.2, "train": False}


def normalised(x: Tensor) -> Tensor:
    shape = (2,) + (1,) * (x.dim() - 2)
    return (x - MEAN.view(shape)) / (VAR + 1e-3).sqrt().view(shape)


def windows(x: Tensor, ceil: bool = False) -> Tensor:
    """Sums over windows of 2 rows and 3 columns, at every row and every other column."""
    rows, columns = x.shape[-2] - 1, (x.shape[-1] - 3 + ceil) // 2 + 1
    sums = [
        [x[..., i : i + 2, 2 * j : 2 * j + 3].sum((-1, -2)) for j in range(columns)]  # what is beyond the edge is 0
        for i in range(rows)
    ]
    return torch.stack([torch.stack(row, -1) for row in sums], -2)


def over_time(x: Tensor) -> Tensor:
    steps = range(0, x.shape[-2] - 2, 2)
    return torch.stack([W_TIME @ x[..., t : t + 3, :].flatten(-2)[..., None] for t in steps], -3)[..., 0] + B5


def across(x: Tensor) -> Tensor:
    """y_c = x_c / (k + alpha / size * sum)^beta, over the channel itself and one on either side."""
    channels = range(x.shape[-3])
    sums = [sum(x[..., d, :, :] ** 2 for d in range(max(c - 1, 0), min(c + 2, len(channels)))) for c in channels]
    return x / (2 + 0.5 / 3 * torch.stack(sums, -3)) ** 0.75


CASES: dict[str, Case] = {
    "convolution": Case(
        made("nn.SpatialConvolution", **CONV, **PAD),
        IMAGE,
        lambda x: F.conv2d(x, W, B, (1, 2), (0, 1)),
        nn.Conv2d,
        "nn.SpatialConvolution",
    ),
    "convolution, without padding": Case(
        made("nn.SpatialConvolution", None, **CONV),
        IMAGE,
        lambda x: F.conv2d(x, W, B, (1, 2)),
        nn.Conv2d,
        "nn.SpatialConvolution",
    ),
    "convolution, one padding": Case(
        made("nn.SpatialConvolutionMM", **{**CONV, "weight": W.flatten(1)}, padding=2),
        IMAGE,
        lambda x: F.conv2d(x, W, B, (1, 2), 2),
        nn.Conv2d,
        "nn.SpatialConvolution",
    ),
    "convolution without bias": Case(
        made("nn.SpatialConvolution", **PLANES, **WINDOW, **PAD, weight=W.flatten(1)),
        IMAGE,
        lambda x: F.conv2d(x, W, None, (1, 2), (0, 1)),
        nn.Conv2d,
        "nn.SpatialConvolution",
    ),
    "convolution of cudnn": Case(
        made("cudnn.SpatialConvolution", **{**CONV, "weight": W_GROUPS}, **PAD, groups=2),
        IMAGE,
        lambda x: F.conv2d(x, W_GROUPS, B, (1, 2), (0, 1), groups=2),
        nn.Conv2d,
        "cudnn.SpatialConvolution",
    ),
    "dilated": Case(
        made("nn.SpatialDilatedConvolution", **CONV, **PAD, dilationW=2, dilationH=3),
        IMAGE,
        lambda x: F.conv2d(x, W, B, (1, 2), (0, 1), (3, 2)),
        nn.Conv2d,
        "nn.SpatialDilatedConvolution",
    ),
    "full": Case(
        made("nn.SpatialFullConvolution", **{**CONV, "weight": W_FULL}, **PAD, adjW=1, adjH=0),
        IMAGE,
        lambda x: F.conv_transpose2d(x, W_FULL, B, (1, 2), (0, 1), (0, 1)),
        nn.ConvTranspose2d,
        "nn.SpatialFullConvolution",
    ),
    "volumetric": Case(
        made("nn.VolumetricConvolution", **CONV3, padT=1, padW=1, padH=0),
        VOLUME,
        lambda x: F.conv3d(x, W3, B, (1, 1, 2), (1, 0, 1)),
        nn.Conv3d,
        "nn.VolumetricConvolution",
    ),
    "volumetric, dilated": Case(
        made("nn.VolumetricDilatedConvolution", **CONV3, padT=1, padW=1, padH=0, dilationT=3, dilationW=2, dilationH=1),
        VOLUME,
        lambda x: F.conv3d(x, W3, B, (1, 1, 2), (1, 0, 1), (3, 1, 2)),
        nn.Conv3d,
        "nn.VolumetricDilatedConvolution",
    ),
    "volumetric, full": Case(
        made("nn.VolumetricFullConvolution", **{**CONV3, "weight": W3_FULL}, padT=1, padW=1, padH=0, adjT=0, adjW=1),
        VOLUME,
        lambda x: F.conv_transpose3d(x, W3_FULL, B, (1, 1, 2), (1, 0, 1), (0, 0, 1)),
        nn.ConvTranspose3d,
        "nn.VolumetricFullConvolution",
    ),
    "temporal": Case(
        made("nn.TemporalConvolution", inputFrameSize=4, outputFrameSize=5, kW=3, dW=2, weight=W_TIME, bias=B5),
        randn(3, 8, 4),
        over_time,
        t7.TemporalConvolution,
        "nn.TemporalConvolution",
    ),
    "max": Case(
        made("nn.SpatialMaxPooling", **WINDOW, **PAD, ceil_mode=True),
        IMAGE,
        lambda x: F.max_pool2d(x, (2, 3), (1, 2), (0, 1), ceil_mode=True),
        nn.MaxPool2d,
        "nn.SpatialMaxPooling",
    ),
    "max, first version": Case(
        made("nn.SpatialMaxPooling", None, **WINDOW, indices=torch.zeros(1)),
        IMAGE,
        lambda x: F.max_pool2d(x, (2, 3), (1, 2)),
        nn.MaxPool2d,
        "nn.SpatialMaxPooling",
    ),
    "max, dilated": Case(
        made("nn.SpatialDilatedMaxPooling", **WINDOW, **PAD, dilationW=2, dilationH=1, ceil_mode=False),
        IMAGE,
        lambda x: F.max_pool2d(x, (2, 3), (1, 2), (0, 1), (1, 2)),
        nn.MaxPool2d,
        "nn.SpatialDilatedMaxPooling",
    ),
    "max, volumetric": Case(
        made("nn.VolumetricMaxPooling", **WINDOW, kT=2, dT=2, ceil_mode=False),
        VOLUME,
        lambda x: F.max_pool3d(x, (2, 2, 3), (2, 1, 2)),
        nn.MaxPool3d,
        "nn.VolumetricMaxPooling",
    ),
    "max, volumetric and dilated": Case(
        made("nn.VolumetricDilatedMaxPooling", **WINDOW, kT=2, dT=2, dilationT=2, dilationW=1, dilationH=3),
        VOLUME,
        lambda x: F.max_pool3d(x, (2, 2, 3), (2, 1, 2), 0, (2, 3, 1)),
        nn.MaxPool3d,
        "nn.VolumetricDilatedMaxPooling",
    ),
    "max, temporal": Case(
        made("nn.TemporalMaxPooling", kW=3, dW=2),
        randn(3, 8, 4),
        lambda x: torch.stack([x[..., t : t + 3, :].amax(-2) for t in (0, 2, 4)], -2),
        t7.TemporalMaxPooling,
        "nn.TemporalMaxPooling",
    ),
    "max, adaptive": Case(
        made("nn.SpatialAdaptiveMaxPooling", W=3, H=2),
        IMAGE,
        lambda x: F.adaptive_max_pool2d(x, (2, 3)),
        nn.AdaptiveMaxPool2d,
        "nn.SpatialAdaptiveMaxPooling",
    ),
    "average": Case(
        made("nn.SpatialAveragePooling", **WINDOW, divide=True, ceil_mode=False),
        IMAGE,
        lambda x: windows(x) / 6,
        nn.AvgPool2d,
        "nn.SpatialAveragePooling",
    ),
    "average, padding counted": Case(
        made("nn.SpatialAveragePooling", **WINDOW, **PAD, divide=True, ceil_mode=False, count_include_pad=True),
        IMAGE,
        lambda x: windows(F.pad(x, (1, 1))) / 6,
        nn.AvgPool2d,
        "nn.SpatialAveragePooling",
    ),
    "average, padding not counted": Case(
        made("nn.SpatialAveragePooling", **WINDOW, **PAD, divide=True, ceil_mode=False, count_include_pad=False),
        IMAGE,
        lambda x: windows(F.pad(x, (1, 1))) / windows(F.pad(torch.ones_like(x), (1, 1))),
        nn.AvgPool2d,
        "nn.SpatialAveragePooling",
    ),
    "average, of whole windows": Case(
        made("nn.SpatialAveragePooling", **WINDOW, divide=True, ceil_mode=True, count_include_pad=True),
        IMAGE[..., :6],
        lambda x: windows(x, ceil=True) / windows(torch.ones_like(x), ceil=True),
        nn.AvgPool2d,
        "nn.SpatialAveragePooling",
    ),
    "average, first version": Case(  # which took the sum
        made("nn.SpatialAveragePooling", None, **WINDOW), IMAGE, windows, nn.AvgPool2d, "nn.SpatialAveragePooling"
    ),
    "average of cudnn": Case(
        made("cudnn.SpatialAveragePooling", **WINDOW, **PAD, ceil_mode=False, mode="CUDNN_POOLING_AVERAGE"),
        IMAGE,
        lambda x: windows(F.pad(x, (1, 1))) / 6,
        nn.AvgPool2d,
        "nn.SpatialAveragePooling",
    ),
    "average, adaptive": Case(
        made("nn.SpatialAdaptiveAveragePooling", W=1, H=5),
        IMAGE,
        lambda x: x.mean(-1, keepdim=True),
        nn.AdaptiveAvgPool2d,
        "nn.SpatialAdaptiveAveragePooling",
    ),
    "average, volumetric": Case(
        made("nn.VolumetricAveragePooling", kT=4, kW=7, kH=5, dT=1, dW=1, dH=1),
        VOLUME,
        lambda x: x.mean((-1, -2, -3), keepdim=True),
        nn.AvgPool3d,
        "nn.VolumetricAveragePooling",
    ),
    "zeros around": Case(
        made("nn.SpatialZeroPadding", pad_l=1, pad_r=2, pad_t=-1, pad_b=3),
        IMAGE,
        lambda x: F.pad(x[..., 1:, :], (1, 2, 0, 3)),
        nn.ZeroPad2d,
        "nn.SpatialZeroPadding",
    ),
    "reflected": Case(
        made("nn.SpatialReflectionPadding", pad_l=1, pad_r=2, pad_t=0, pad_b=3),
        IMAGE,
        lambda x: torch.cat([x, x[..., [-2, -3, -4], :]], -2)[..., [1, *range(7), 5, 4]],
        nn.ReflectionPad2d,
        "nn.SpatialReflectionPadding",
    ),
    "replicated": Case(
        made("nn.SpatialReplicationPadding", pad_l=1, pad_r=2, pad_t=0, pad_b=1),
        IMAGE,
        lambda x: torch.cat([x, x[..., -1:, :]], -2)[..., [0, *range(7), 6, 6]],
        nn.ReplicationPad2d,
        "nn.SpatialReplicationPadding",
    ),
    "padded channels": Case(
        made("nn.Padding", dim=1, pad=3, nInputDim=3, value=0.5, index=1),
        IMAGE,
        lambda x: torch.cat([x, x.new_full((*x.shape[:-3], 3, 5, 7), 0.5)], -3),
        t7.Padding,
        "nn.Padding",
    ),
    "padded on the left": Case(
        made("nn.Padding", dim=3, pad=-2, nInputDim=3, value=0, index=1),
        IMAGE,
        lambda x: torch.cat([x.new_zeros(*x.shape[:-1], 2), x], -1),
        t7.Padding,
        "nn.Padding",
    ),
    "repeated": Case(
        made("nn.SpatialUpSamplingNearest", scale_factor=2),
        IMAGE,
        lambda x: F.interpolate(x.reshape(-1, 2, 5, 7), scale_factor=2).reshape(*x.shape[:-2], 10, 14),
        t7.SpatialUpSamplingNearest,
        "nn.SpatialUpSamplingNearest",
    ),
    "local response": Case(
        made("nn.SpatialCrossMapLRN", size=3, alpha=0.5, beta=0.75, k=2),
        randn(3, 5, 2, 2),
        across,
        t7.SpatialCrossMapLRN,
        "nn.SpatialCrossMapLRN",
    ),
    "local response of cudnn": Case(
        made("cudnn.SpatialCrossMapLRN", size=3, alpha=0.5, beta=0.75, K=2),
        randn(3, 5, 2, 2),
        across,
        t7.SpatialCrossMapLRN,
        "nn.SpatialCrossMapLRN",
    ),
    "dropout, evaluating": Case(
        made("nn.SpatialDropout", p=0.25, train=False),
        IMAGE,
        lambda x: x * 0.75,
        t7.SpatialDropout,
        "nn.SpatialDropout",
    ),
    "soft max": Case(made("nn.SpatialSoftMax"), IMAGE, lambda x: x.softmax(-3), t7.SoftMax, "nn.SoftMax"),
    "soft max of cudnn": Case(
        made("cudnn.SpatialLogSoftMax"), IMAGE, lambda x: x.log_softmax(-3), t7.LogSoftMax, "nn.LogSoftMax"
    ),
    "shuffled": Case(
        made("nn.PixelShuffle", upscaleFactor=2, upscaleFactorSquared=4),
        randn(3, 8, 2, 2),
        lambda x: F.pixel_shuffle(x, 2),
        nn.PixelShuffle,
        "nn.PixelShuffle",
    ),
    "normalised": Case(
        made("nn.SpatialBatchNormalization", 2, **NORM),
        IMAGE,
        normalised,
        nn.BatchNorm2d,
        "nn.SpatialBatchNormalization",
    ),
    "normalised, scaled": Case(
        made("cudnn.SpatialBatchNormalization", **NORM, weight=B[:2], bias=B[2:]),
        IMAGE,
        lambda x: normalised(x) * B[:2].view(2, 1, 1) + B[2:].view(2, 1, 1),
        nn.BatchNorm2d,
        "nn.SpatialBatchNormalization",
    ),
    "normalised, first version": Case(
        made(
            "nn.SpatialBatchNormalization",
            None,
            **{name: value for name, value in NORM.items() if name != "running_var"},
            running_std=(VAR + 1e-3) ** -0.5,
        ),
        IMAGE,
        normalised,
        nn.BatchNorm2d,
        "nn.SpatialBatchNormalization",
    ),
    "normalised, volumetric": Case(
        made("nn.VolumetricBatchNormalization", 2, **NORM),
        VOLUME,
        normalised,
        nn.BatchNorm3d,
        "nn.VolumetricBatchNormalization",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_images(name: str) -> None:
    case = CASES[name]
    module = t7.to_module(t7.loads(t7.dumps(case.object)))
    assert type(module) is case.kind
    torch.testing.assert_close(module(case.input), case.expected(case.input), rtol=0, atol=1e-12)
    if "ormalised" not in name:  # which wants batches, here as there
        one = case.input[0]
        torch.testing.assert_close(module(one), case.expected(one), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", CASES)
def test_images_are_written(name: str) -> None:
    """What is written has the fields of the object that was read, and gives the same bytes when it is read again."""
    case = CASES[name]
    module = t7.to_module(case.object).double()
    written = t7.from_module(module)
    assert written.class_name == case.class_name
    for field, value in case.object.fields.items():
        if isinstance(value, int | float) and field not in ("padding", "K"):
            assert written.fields[field] == value, field
    data = t7.dumps(written)
    again = t7.to_module(t7.loads(data))
    assert t7.dumps(t7.from_module(again)) == data
    torch.testing.assert_close(again(case.input), case.expected(case.input), rtol=0, atol=1e-12)


def test_parameters_stay_in_the_memory_of_the_file() -> None:
    """Also those that are seen in another shape: ties survive."""
    flat = torch.randn(4 * 6 + 5 * 12, dtype=torch.float64)
    matrix, steps = flat[:24].view(2, 12), flat[24:].view(5, 12)
    conv = {"nInputPlane": 2, "nOutputPlane": 2, **WINDOW, "weight": matrix, "bias": randn(2)}
    time = {"inputFrameSize": 4, "outputFrameSize": 5, "kW": 3, "dW": 1, "weight": steps, "bias": B5}
    net = t7.to_module(
        made(
            "nn.Sequential",
            modules=[
                made("nn.SpatialConvolutionMM", **conv),
                made("nn.SpatialConvolution", **{**conv, "weight": matrix.view(2, 2, 2, 3)}),
                made("nn.TemporalConvolution", **time),
            ],
        )
    )
    assert net[0].weight is net[1].weight
    with torch.no_grad():
        net[0].weight.fill_(7)
        net[2].convolution.weight.fill_(8)
    assert (flat[:24] == 7).all()
    assert (flat[24:] == 8).all()
    assert t7.from_module(net).fields["modules"][2].fields["weight"].data_ptr() == steps.data_ptr()


def test_dropout_of_channels() -> None:
    dropout, image = t7.SpatialDropout(0.25), torch.ones(64, 64, 3, 2)
    for x in (image, image[0]):
        torch.manual_seed(0)
        kept = dropout(x).flatten(-2)
        assert set(kept.unique().tolist()) == {0.0, 1.0}
        assert (kept.amin(-1) == kept.amax(-1)).all()
    assert dropout(image).mean().item() == pytest.approx(0.75, abs=0.03)
    # PyTorch's, which makes up for what is dropped, becomes two modules.
    theirs = nn.Dropout2d(0.25)
    both = t7.to_module(t7.from_module(theirs))
    torch.testing.assert_close(both.eval()(image), image)
    assert both.train()(image).mean().item() == pytest.approx(1, abs=0.03)


def test_training_updates_running_averages_as_there() -> None:
    norm = t7.to_module(made("nn.SpatialBatchNormalization", 2, **{**NORM, "train": True}))
    mean, var = MEAN.clone(), VAR.clone()
    norm = copy.deepcopy(norm)
    norm(IMAGE)
    channels = IMAGE.transpose(0, 1).flatten(1)
    torch.testing.assert_close(norm.running_mean, 0.8 * mean + 0.2 * channels.mean(1))
    torch.testing.assert_close(norm.running_var, 0.8 * var + 0.2 * channels.var(1))


@pytest.mark.parametrize(
    ("module", "match"),
    [
        (nn.Conv2d(1, 1, 3, padding="same"), "a number of zeros on each side"),
        (nn.Conv2d(1, 1, 3, padding=1, padding_mode="reflect"), "a number of zeros on each side"),
        (nn.Conv2d(2, 2, 3, groups=2, dilation=2), "no dilation together with groups"),
        (nn.ConvTranspose2d(2, 2, 3, dilation=2), "no dilation .* in a transposed convolution"),
        (nn.MaxPool2d(2, return_indices=True), "return_indices must be false"),
        (nn.AvgPool2d(2, divisor_override=3), "divisor_override must be None"),
        (nn.AdaptiveAvgPool2d((None, 2)), "a fixed output size"),
        (nn.LocalResponseNorm(2), "an odd number of channels"),
        (t7.Padding(-1, 2), "no negative dimensions"),
        (nn.BatchNorm2d(2, momentum=None), "keeps running statistics"),
        (nn.BatchNorm2d(2, track_running_stats=False), "keeps running statistics"),
        (nn.Dropout2d(1.0), "a p of 1 drops everything"),
    ],
)
def test_what_cannot_be_written_is_named(module: nn.Module, match: str) -> None:
    with pytest.raises(t7.T7ConversionError, match=match):
        t7.from_module(module)


@pytest.mark.parametrize(
    ("object_", "match"),
    [
        (made("nn.SpatialConvolution", **{**CONV, "weight": W[:3]}), "expected parameters of shapes"),
        (made("nn.SpatialConvolution", **{**CONV, "kW": 2.5}), "field kW must be int; got float"),
        (made("nn.SpatialConvolution", **{**CONV, "nOutputPlane": 2**62}), "cannot be built"),
        (made("nn.SpatialConvolution", **{**CONV, "nOutputPlane": 0}), "must be positive"),
        (made("nn.TemporalConvolution", inputFrameSize=4, outputFrameSize=5, kW=2, weight=W_TIME), "shape \\(5, 8\\)"),
        (made("nn.SpatialAveragePooling", **WINDOW, divide=False, ceil_mode=True), "a sum over windows"),
        (made("nn.SpatialDropout", p=0.5, stochastic_inference=True), "drops in evaluation, too"),
        (made("nn.Padding", dim=1, pad=2, nInputDim=3, value=0, index=2), "in the middle of a dimension"),
        (made("nn.SpatialCrossMapLRN", size=4), "size must be odd; got 4"),
        (made("nn.SpatialUpSamplingBilinear", scale_factor=2), "class nn.SpatialUpSamplingBilinear is not known"),
        (made("nn.SpatialLPPooling"), "class nn.SpatialLPPooling is not known"),
    ],
)
def test_what_cannot_be_built_is_named(object_: t7.TorchObject, match: str) -> None:
    with pytest.raises(t7.T7ConversionError, match=match) as caught:
        t7.to_module(made("nn.Sequential", modules=[object_]))
    assert (caught.value.class_name, caught.value.path) == (object_.class_name, ".modules[1]")


@pytest.mark.parametrize(
    ("layer", "size", "match"),
    [
        (t7.SpatialDropout(), (2, 3), r"SpatialDropout: input must be \(C, H, W\)"),
        (t7.TemporalConvolution(2, 3, 1), (4,), r"TemporalConvolution: input must be \(T, D\)"),
    ],
)
def test_inputs_of_another_shape(layer: nn.Module, size: tuple[int, ...], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        layer(torch.zeros(size))


def test_a_network_of_images() -> None:
    """The parts of a small network of 2015, put together and read back."""
    net = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.MaxPool2d(2, ceil_mode=True),
        nn.LocalResponseNorm(5),
        nn.Conv2d(4, 6, (3, 2), stride=2),
        nn.PReLU(6),
        nn.AvgPool2d(2),
        torchrnn.View(-1, n_input_dims=3),
        nn.Linear(6, 3),
        nn.LogSoftmax(-1),
    ).double()
    x = randn(2, 1, 11, 12)
    expected = net.eval()(x)
    again = t7.to_module(t7.loads(t7.dumps(t7.from_module(net))))
    torch.testing.assert_close(again(x), expected, rtol=0, atol=1e-12)
    assert [bool(module.training) for module in again] == [False] * 11
