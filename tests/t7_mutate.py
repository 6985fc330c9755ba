"""Small damages to files, for fuzzing."""

from __future__ import annotations

import random
import struct

INTERESTING = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 16, 64, 255, 256, 2**16, 2**31 - 1, -1, -2, -(2**31)]
LONGS = [*INTERESTING, 2**31, 2**32, 2**33, 2**53, 2**62, 2**63 - 1, -(2**63)]


def mutated(data: bytes, rng: random.Random) -> bytes:
    """The file with one to four damages: bits, bytes and numbers changed, pieces removed, repeated or moved."""
    changed = bytearray(data)
    for _ in range(rng.choice([1, 1, 1, 2, 4])):
        if not changed:
            break
        rng.choice(DAMAGES)(changed, rng)
    return bytes(changed)


def flip_bit(data: bytearray, rng: random.Random) -> None:
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def set_byte(data: bytearray, rng: random.Random) -> None:
    data[rng.randrange(len(data))] = rng.choice([0, 1, 4, 8, 32, 45, 48, 57, 127, 255, rng.randrange(256)])


def set_int(data: bytearray, rng: random.Random) -> None:
    at = rng.randrange(len(data))
    data[at : at + 4] = struct.pack("<i", rng.choice(INTERESTING))


def set_long(data: bytearray, rng: random.Random) -> None:
    at = rng.randrange(len(data))
    data[at : at + 8] = struct.pack("<q", rng.choice(LONGS))


def set_digits(data: bytearray, rng: random.Random) -> None:
    """Another number in place of one that is written in digits."""
    at = rng.randrange(len(data))
    while at < len(data) and not chr(data[at]).isdigit():
        at += 1
    end = at
    while end < len(data) and chr(data[end]).isdigit():
        end += 1
    data[at:end] = str(rng.choice(LONGS)).encode()


def remove(data: bytearray, rng: random.Random) -> None:
    at = rng.randrange(len(data))
    del data[at : at + rng.choice([1, 4, 8, 12, 40])]


def repeat(data: bytearray, rng: random.Random) -> None:
    at = rng.randrange(len(data))
    piece = data[at : at + rng.choice([1, 4, 8, 12, 40])]
    data[at:at] = piece * rng.choice([1, 1, 2, 20])


def move(data: bytearray, rng: random.Random) -> None:
    at, size = rng.randrange(len(data)), rng.choice([4, 8, 12, 40])
    piece = data[at : at + size]
    del data[at : at + size]
    to = rng.randrange(len(data) + 1)
    data[to:to] = piece


def cut(data: bytearray, rng: random.Random) -> None:
    del data[rng.randrange(len(data)) :]


DAMAGES = [flip_bit, set_byte, set_int, set_int, set_long, set_digits, remove, repeat, move, cut]
