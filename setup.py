"""Builds the native engine with whatever C++ compiler there is; without one the package works by the reference.

Everything else about the package stands in pyproject.toml.
"""

from __future__ import annotations

import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from setuptools import Distribution, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
SOURCE = ROOT / "csrc" / "engine.cpp"
FOLDER = Path("torchrnn", "scan", "_native")
FLAGS = ["-O3", "-std=c++17", "-shared", "-fPIC", "-fvisibility=hidden", "-fopenmp"]
AVX512 = ["-mavx512f", "-mavx512dq", "-mavx512bw", "-mavx512vl", "-mfma", "-mprefer-vector-width=512"]
X86_VARIANTS = {
    "amx": [*AVX512, "-mavx512bf16", "-mamx-tile", "-mamx-bf16"],
    "avx512_bf16": [*AVX512, "-mavx512bf16"],
    "avx512": AVX512,
    "avx2": ["-mavx2", "-mfma"],
}
LINUX_ONLY = ("amx",)


def compiler() -> list[str] | None:
    """The command of a C++ compiler, or none; ``CXX`` in the environment names it."""
    names = [os.environ["CXX"]] if os.environ.get("CXX") else ["c++", "g++", "clang++"]
    return next((shlex.split(name) for name in names if shutil.which(shlex.split(name)[0])), None)


def reason_for_none() -> str | None:
    """Why the engine is not to be compiled, if it is not."""
    if os.environ.get("TORCHRNN_NO_NATIVE"):
        return "TORCHRNN_NO_NATIVE was set"
    if sys.platform == "win32":
        return "the engine is not compiled on Windows"
    if compiler() is None:
        return f"no C++ compiler was found ({os.environ.get('CXX') or 'c++, g++, clang++'})"
    return None


def build_engine(target: Path) -> list[Path]:
    """Compile the engine for every kind of processor into the folder ``target``; returns what was written.

    Where nothing is compiled, the file ``not_built.txt`` says why, and `torchrnn.scan.explain` after it.
    """
    target.mkdir(parents=True, exist_ok=True)
    is_x86 = platform.machine().lower() in ("x86_64", "amd64")
    variants = {"portable": [], **(X86_VARIANTS if is_x86 else {})}
    if sys.platform != "linux":
        variants = {name: flags for name, flags in variants.items() if name not in LINUX_ONLY}
    suffix = ".dylib" if sys.platform == "darwin" else ".so"
    reason, command, errors = reason_for_none(), compiler() or [], []

    def compile_variant(name: str) -> Path | None:
        path = target / f"engine_{name}{suffix}"
        with tempfile.TemporaryDirectory(dir=target) as folder:
            made = Path(folder, path.name)
            arguments = [*command, *FLAGS, *variants[name], str(SOURCE), "-o", str(made)]
            result = subprocess.run(arguments, capture_output=True, text=True)
            if result.returncode:
                errors.append(f"{shlex.join(command)} failed: {result.stderr.strip()[:300]}")
                print(f"torchrnn: the {name} engine was not built:\n{result.stderr[-2000:]}")
                return None
            made.replace(path)
        return path

    written: list[Path] = []
    if reason is None:
        with ThreadPoolExecutor() as pool:
            written = [path for path in pool.map(compile_variant, variants) if path is not None]
    if not written:
        reason = reason or errors[0]
        print(f"torchrnn: {reason}; sequences will run by the reference engine.", file=sys.stderr)
        written = [target / "not_built.txt"]
        written[0].write_text(reason, encoding="utf-8")
    for path in [*target.glob("engine_*"), *target.glob("not_built.txt")]:
        if path not in written:
            path.unlink()  # an earlier build left it there
    return written


class BuildWithEngine(build_py):
    """Copies the Python files, and puts the compiled engine beside them."""

    def run(self) -> None:
        super().run()
        source = Path(self.get_package_dir("torchrnn")).parent
        self.engine_files = build_engine((source if self.editable_mode else Path(self.build_lib)) / FOLDER)

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        built = [] if self.editable_mode else [str(path) for path in getattr(self, "engine_files", [])]
        return [*super().get_outputs(include_bytecode), *built]


class PlatformDistribution(Distribution):
    """A distribution whose wheel is for one platform wherever there is something to compile with."""

    def has_ext_modules(self) -> bool:
        return reason_for_none() is None


class EngineWheel(bdist_wheel):
    """A wheel for any Python: the engine is loaded through ctypes, and knows nothing of it."""

    def get_tag(self) -> tuple[str, str, str]:
        *_, system = super().get_tag()
        return "py3", "none", system


if __name__ == "__main__":
    setup(cmdclass={"bdist_wheel": EngineWheel, "build_py": BuildWithEngine}, distclass=PlatformDistribution)
