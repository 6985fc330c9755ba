"""Every public name, with what it stands for."""

from __future__ import annotations

from typing import Any

import torchrnn
from torchrnn import layouts, t7

PUBLIC: dict[str, Any] = {name: getattr(torchrnn, name) for name in torchrnn.__all__}
for module in (layouts, t7):
    PUBLIC |= {f"{module.__name__.rpartition('.')[2]}.{name}": getattr(module, name) for name in module.__all__}
