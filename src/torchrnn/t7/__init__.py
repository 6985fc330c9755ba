"""Torch7 files (``.t7``): read, write, and bring the models in them back to life."""

from torchrnn.t7.errors import (
    T7ConversionError,
    T7Error,
    T7ForeignFileError,
    T7FormatError,
    T7LimitError,
    T7TruncatedError,
)
from torchrnn.t7.files import dumps, load, load_all, loads, loads_all, save
from torchrnn.t7.from_module import from_module
from torchrnn.t7.graph import Graph
from torchrnn.t7.limits import Limits
from torchrnn.t7.objects import LuaFunction, LuaTable, Storage, TorchObject
from torchrnn.t7.of_table import OfTable
from torchrnn.t7.one_hot import OneHot
from torchrnn.t7.padding import Padding
from torchrnn.t7.softmax import LogSoftMax, SoftMax, SoftMin
from torchrnn.t7.spatial import SpatialCrossMapLRN, SpatialDropout, SpatialUpSamplingNearest
from torchrnn.t7.temporal import TemporalConvolution, TemporalMaxPooling
from torchrnn.t7.to_module import load_t7, to_module

__all__ = [
    "Graph",
    "Limits",
    "LogSoftMax",
    "LuaFunction",
    "LuaTable",
    "OfTable",
    "OneHot",
    "Padding",
    "SoftMax",
    "SoftMin",
    "SpatialCrossMapLRN",
    "SpatialDropout",
    "SpatialUpSamplingNearest",
    "Storage",
    "T7ConversionError",
    "T7Error",
    "T7ForeignFileError",
    "T7FormatError",
    "T7LimitError",
    "T7TruncatedError",
    "TemporalConvolution",
    "TemporalMaxPooling",
    "TorchObject",
    "dumps",
    "from_module",
    "load",
    "load_all",
    "load_t7",
    "loads",
    "loads_all",
    "save",
    "to_module",
]
