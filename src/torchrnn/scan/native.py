"""The machine: a small library of C++, found beside this file, and called through ctypes.

It knows nothing of PyTorch. It is compiled once for each kind of processor; the one that fits is loaded at its first
use. It shares the OpenMP threads of PyTorch, since it names the same library.
"""

from __future__ import annotations

import ctypes
import os
import platform
import sys
from functools import cache
from pathlib import Path

import torch

from torchrnn.scan.operations import Unsupported

FOLDER = Path(os.environ.get("TORCHRNN_NATIVE") or Path(__file__).parent / "_native")
"""Where the library is; the environment variable ``TORCHRNN_NATIVE`` names another folder."""
SUFFIX = ".dylib" if platform.system() == "Darwin" else ".so"
VARIANTS = {"AVX512": "avx512", "AVX2": "avx2"}
"""For what PyTorch calls the processor; every other one gets ``portable``."""
BFLOAT16_VARIANTS = {"amx": {"amx_bf16", "amx_tile", "avx512_bf16"}, "avx512_bf16": {"avx512_bf16"}}
"""Builds in place of ``avx512`` that multiply in bfloat16, and what Linux calls what they need."""


class Run(ctypes.Structure):
    """The arguments of a run; ``Run`` in csrc/engine.cpp."""

    _fields_ = [
        ("program", ctypes.c_void_p),
        ("buffers", ctypes.c_void_p),
        ("weights", ctypes.c_void_p),
        ("steps", ctypes.c_int64),
        ("rows", ctypes.c_int64),
        ("backwards", ctypes.c_int64),
        ("row_groups", ctypes.c_int64),
        ("column_groups", ctypes.c_int64),
        ("workspace", ctypes.c_void_p),
        ("threads", ctypes.c_int64),
        ("before", ctypes.c_void_p),
        ("n_before", ctypes.c_int64),
        ("after", ctypes.c_void_p),
        ("n_after", ctypes.c_int64),
    ]


def variants() -> list[str]:
    """The builds that run on this processor, best first; the environment variable ``TORCHRNN_ISA`` names another."""
    named = os.environ.get("TORCHRNN_ISA")
    if named:
        return [named, "portable"]
    name = VARIANTS.get(torch.backends.cpu.get_cpu_capability(), "portable")
    better = [other for other, needed in BFLOAT16_VARIANTS.items() if name == "avx512" and needed <= _features()]
    return [*better, *dict.fromkeys([name, "portable"])]


def _features() -> set[str]:
    """What the processor can do, as Linux says."""
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8") as lines:
            return set(next((line for line in lines if line.startswith("flags")), "").split())
    except OSError:
        return set()


@cache
def library() -> ctypes.CDLL:
    """The machine, or `Unsupported` where it was not built."""
    for name in variants():
        path = FOLDER / f"engine_{name}{SUFFIX}"
        if path.is_file():
            try:
                return _declared(ctypes.CDLL(str(path)))
            except OSError as e:
                raise Unsupported(f"the native library cannot be loaded: {e}") from e
    note = FOLDER / "not_built.txt"
    reason = f": {note.read_text(encoding='utf-8')}" if note.is_file() else ""
    raise Unsupported(f"the native library was not built{reason}; install torchrnn where there is a C++ compiler")


def _declared(engine: ctypes.CDLL) -> ctypes.CDLL:
    engine.engine_operation_name.restype = ctypes.c_char_p
    engine.engine_program.restype = ctypes.c_void_p
    engine.engine_program.argtypes = [
        ctypes.c_void_p,
        ctypes.c_int64,
        ctypes.c_int,
        ctypes.c_char_p,
        ctypes.c_int64,
    ]
    engine.engine_free.argtypes = [ctypes.c_void_p]
    engine.engine_workspace.restype = ctypes.c_int64
    engine.engine_workspace.argtypes = [ctypes.c_void_p, ctypes.c_int]
    engine.engine_width.restype = ctypes.c_int64
    engine.engine_width.argtypes = [ctypes.c_void_p, ctypes.c_int]
    engine.engine_weights.argtypes = [ctypes.c_void_p]
    engine.engine_run.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p]
    engine.engine_run.restype = None
    engine.engine_use_sgemm.argtypes = [ctypes.c_void_p]
    engine.engine_round.argtypes = [ctypes.c_void_p, *[ctypes.c_int64] * 3, ctypes.c_void_p, ctypes.c_int]
    engine.engine_round.restype = None
    return engine


@cache
def multiplies_by_itself() -> bool:
    """Whether the machine has been given the function for products of matrices that PyTorch uses, which it may hide."""
    try:
        sgemm = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / f"libtorch_cpu{SUFFIX}")).sgemm_
    except (OSError, AttributeError):
        return False
    return sys.byteorder == "little" and bool(library().engine_use_sgemm(sgemm))


@cache
def codes() -> dict[str, int]:
    """The number of each operation, as the machine itself has it."""
    engine = library()
    return {engine.engine_operation_name(i).decode(): i for i in range(engine.engine_operations())}


def multiplies_in_bfloat16() -> bool:
    """Whether the processor has instructions for it."""
    return bool(library().engine_bfloat16())


def code(operation: str) -> int:
    return codes()[operation]


class NativeProgram:
    """A program that the machine has read and found sound."""

    def __init__(self, numbers: list[int], n_buffers: int, n_weights: int) -> None:
        self._engine = library()
        array = (ctypes.c_int32 * len(numbers))(*numbers)
        error = ctypes.create_string_buffer(256)
        self.handle = self._engine.engine_program(array, len(numbers), n_buffers, error, len(error))
        if not self.handle:
            raise RuntimeError(f"the machine refuses the program: {error.value.decode()}")
        if self._engine.engine_weights(self.handle) > n_weights:
            raise RuntimeError("the program names more weights than it brings")

    def __del__(self) -> None:
        if getattr(self, "handle", None):
            self._engine.engine_free(self.handle)

    def width(self, buffer: int) -> int:
        """The most columns that are touched of a buffer."""
        return int(self._engine.engine_width(self.handle, buffer))

    def workspace(self, column_groups: int) -> int:
        return int(self._engine.engine_workspace(self.handle, column_groups))
