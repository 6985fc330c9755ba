"""How long one waits for the first results: imports, and the first call on a new cell, each in fresh processes.

python benchmarks/start.py
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time

PROCESSES = 7
CELLS = ("FastLSTM", "LayerNormLSTM")


def measure(first: str) -> dict[str, float]:
    """Seconds, in this process, from the start on; ``first`` is the cell that comes first."""
    start = time.perf_counter()
    import torch

    imported = time.perf_counter()
    import torchrnn

    results = {"import torch": imported - start, "import torchrnn": time.perf_counter() - imported}
    x = torch.randn(50, 16, 64, requires_grad=True)
    for name in (first, "GRU"):
        cell = getattr(torchrnn, name)(64, 64)
        start = time.perf_counter()
        torchrnn.Sequencer(cell)(x).sum().backward()
        number = "first" if name == first else "second"
        results[f"{number} cell, a {name}: first call and backward"] = time.perf_counter() - start
        start = time.perf_counter()
        torchrnn.Sequencer(cell)(x).sum().backward()
        results[f"{number} cell, a {name}: another call and backward"] = time.perf_counter() - start
    return results


def main() -> None:
    for first in CELLS:
        found = []
        for _ in range(PROCESSES):
            process = subprocess.run([sys.executable, __file__, first], capture_output=True, text=True, check=True)
            found.append(json.loads(process.stdout))
        for what in found[0]:
            print(f"{statistics.median(result[what] for result in found):8.4f} s  {what}")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(measure(sys.argv[1])))
    else:
        main()
