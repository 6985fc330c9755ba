"""Ctrl-C and polite termination as a request to stop at a safe place."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def stop_on_signal() -> Iterator[list[int]]:
    """A list that the first SIGINT or SIGTERM enters; the second acts at once, as ever."""
    received: list[int] = []
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def receive(number: int, frame: FrameType | None) -> None:
        received.append(number)
        restore()
        # Not print: it may have been interrupted in the middle of printing.
        os.write(2, b"\nstopping after this iteration (once more: at once, without saving)\n")

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    for number in before:
        signal.signal(number, receive)
    try:
        yield received
    finally:
        restore()
