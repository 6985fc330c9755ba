"""What is built at installation, with a compiler that only writes down how it was called, and without one."""

from __future__ import annotations

import importlib.util
import platform
import shutil
import stat
import subprocess
import sys
import zipfile
from pathlib import Path
from types import ModuleType

import pytest
import torch

import torchrnn
from torchrnn.scan import explain, native

pytest.importorskip("setuptools")
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the engine is not compiled on Windows")

SUFFIX = ".dylib" if sys.platform == "darwin" else ".so"
X86 = ["avx2", "avx512", "avx512_bf16", *(["amx"] if sys.platform == "linux" else [])]
VARIANTS = ["portable", *(X86 if platform.machine().lower() in ("x86_64", "amd64") else [])]
FAKE = """#!/bin/sh
for last; do :; done
case "$last" in *{broken}*) echo "error: $last is too new" >&2; exit 1;; esac
echo "$@" > "$last"
"""


@pytest.fixture
def setup(root: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.delenv("TORCHRNN_NO_NATIVE", raising=False)
    spec = importlib.util.spec_from_file_location("setup_of_torchrnn", root / "setup.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def fake_compiler(folder: Path, broken: str = "nothing") -> str:
    path = folder / "compiler"
    path.write_text(FAKE.format(broken=broken))
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def test_each_kind_of_processor_gets_its_library(
    setup: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", f"{fake_compiler(tmp_path)} --fast")
    target = tmp_path / "native"
    target.mkdir()
    (target / "not_built.txt").write_text("of an earlier build")
    built = setup.build_engine(target)
    assert sorted(target.iterdir()) == sorted(built) == sorted(target / f"engine_{v}{SUFFIX}" for v in VARIANTS)
    for path in built:
        arguments = path.read_text().split()
        assert arguments[:2] == ["--fast", "-O3"]
        assert ("-mavx2" in arguments) == ("avx2" in path.name)
        assert any(argument.endswith("engine.cpp") for argument in arguments)


def test_a_processor_that_the_compiler_does_not_know(
    setup: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if len(VARIANTS) == 1:
        pytest.skip("there is one build only")
    monkeypatch.setenv("CXX", fake_compiler(tmp_path, broken="engine_avx512_bf16"))
    built = setup.build_engine(tmp_path / "native")
    assert "the avx512_bf16 engine was not built" in capsys.readouterr().out
    assert {path.name for path in built} == {f"engine_{v}{SUFFIX}" for v in VARIANTS if v != "avx512_bf16"}


@pytest.mark.parametrize(
    ("capability", "features", "named", "expected"),
    [
        ("AVX512", "avx512f avx512_bf16 amx_bf16 amx_tile", "", ["amx", "avx512_bf16", "avx512", "portable"]),
        ("AVX512", "avx512f avx512_bf16", "", ["avx512_bf16", "avx512", "portable"]),
        ("AVX512", "avx512f", "", ["avx512", "portable"]),
        ("AVX2", "avx512_bf16 amx_bf16 amx_tile", "", ["avx2", "portable"]),  # ATEN_CPU_CAPABILITY says so
        ("DEFAULT", "", "", ["portable"]),
        ("AVX512", "avx512f avx512_bf16 amx_bf16 amx_tile", "avx512", ["avx512", "portable"]),
    ],
)
def test_the_build_that_fits_the_processor(
    capability: str, features: str, named: str, expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    monkeypatch.setattr(native, "_features", lambda: set(features.split()))
    monkeypatch.setenv("TORCHRNN_ISA", named)
    assert native.variants() == expected


@pytest.mark.parametrize(
    ("variables", "reason"),
    [
        ({"CXX": "/nonexistent"}, "no C++ compiler was found (/nonexistent)"),
        ({"TORCHRNN_NO_NATIVE": "1"}, "TORCHRNN_NO_NATIVE was set"),
        ({"CXX": "broken"}, "error: "),
    ],
)
def test_without_a_compiler_the_reference_runs_and_says_why(
    setup: ModuleType,
    variables: dict[str, str],
    reason: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, fake_compiler(tmp_path, broken="engine") if value == "broken" else value)
    target = tmp_path / "native"
    target.mkdir()
    (target / f"engine_portable{SUFFIX}").write_text("of an earlier build")
    assert [path.name for path in setup.build_engine(target)] == ["not_built.txt"]
    assert [path.name for path in target.iterdir()] == ["not_built.txt"]
    assert reason in capsys.readouterr().err
    monkeypatch.setattr(native, "FOLDER", target)
    native.library.cache_clear()
    try:
        cell, x = torchrnn.FastLSTM(4, 6), torch.randn(5, 3, 4)
        answer = explain(cell, x)
        assert answer.startswith("reference: the native library was not built: ")
        assert reason in answer
        assert torchrnn.Sequencer(cell)(x).shape == (5, 3, 6)
    finally:
        native.library.cache_clear()


@pytest.mark.slow
@pytest.mark.parametrize("has_compiler", [True, False])
def test_a_wheel_carries_the_library(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_compiler: bool
) -> None:
    pytest.importorskip("setuptools.command.bdist_wheel")
    source = tmp_path / "source"
    source.mkdir()
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE", "MANIFEST.in"):
        shutil.copy(root / name, source)
    shutil.copytree(root / "csrc", source / "csrc")
    ignored = shutil.ignore_patterns("_native", "__pycache__", "*.egg-info")
    shutil.copytree(root / "src", source / "src", ignore=ignored)
    monkeypatch.setenv("CXX", fake_compiler(tmp_path) if has_compiler else "/nonexistent")
    subprocess.run([sys.executable, "setup.py", "-q", "bdist_wheel"], cwd=source, check=True, capture_output=True)
    (wheel,) = (source / "dist").iterdir()
    names = {Path(name).name for name in zipfile.ZipFile(wheel).namelist() if "/_native/" in name}
    if has_compiler:
        assert names == {f"engine_{variant}{SUFFIX}" for variant in VARIANTS}
        assert "-py3-none-" in wheel.name
        assert not wheel.name.endswith("-any.whl")
    else:
        assert names == {"not_built.txt"}
        assert wheel.name.endswith("-py3-none-any.whl")
