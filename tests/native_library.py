"""For tests of the native engine alone."""

from __future__ import annotations

import pytest

from torchrnn.scan import native
from torchrnn.scan.operations import Unsupported


def require_library() -> None:
    """Skip a test, or the tests of a module, where the library was not built."""
    try:
        native.library()
    except Unsupported as missing:
        pytest.skip(str(missing), allow_module_level=True)
