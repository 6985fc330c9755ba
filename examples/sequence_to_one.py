"""Sequence to one: read a piece of text letter by letter and say whether it runs forwards or backwards.

    python examples/sequence_to_one.py [--quick]

An acceptor: a layer over time, of which only the last output counts. It learns from the manual of Python, half of
whose pieces are turned round, and is tested on pages that it has not seen.
"""

from __future__ import annotations

import argparse

import torch
from torch import Tensor, nn

import torchrnn as tr
from torchrnn.lm import built_in_text

LETTERS = " abcdefghijklmnopqrstuvwxyz"
LENGTH = 16


def make_network(size: int) -> tr.Sequential:
    return tr.Sequential(
        tr.LookupTable(len(LETTERS), size),  # (T, N) letters to (T, N, H)
        tr.SplitTable(0),  # to a list of T steps
        tr.Sequencer(tr.FastLSTM(size)),
        tr.SelectTable(-1),  # the last of its outputs (N, H)
        nn.Linear(size, 2),
        nn.LogSoftmax(-1),
    )


def encode(text: str) -> Tensor:
    """The letters of a text as indices (n,); whatever else it holds becomes one space between words."""
    words = "".join(letter if letter in LETTERS else " " for letter in text.lower()).split()
    return torch.tensor([LETTERS.index(letter) for letter in " ".join(words)])


def pieces(text: Tensor, n_rows: int) -> tuple[Tensor, Tensor]:
    """Pieces of the text (T, N) from anywhere in it, and which of them (N,) are turned round."""
    begin = torch.randint(len(text) - LENGTH, (n_rows,))
    x = text[begin + torch.arange(LENGTH).unsqueeze(1)]
    turned = torch.randint(2, (n_rows,))
    return torch.where(turned.bool(), x.flip(0), x), turned


def main(arguments: list[str] | None = None) -> float:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="a small network and few updates")
    options = parser.parse_args(arguments)
    torch.manual_seed(0)
    size, updates = (24, 150) if options.quick else (48, 500)

    text = encode(built_in_text())
    text, unseen = text[: -len(text) // 10], text[-len(text) // 10 :]
    net, criterion = make_network(size), tr.ClassNLLCriterion()
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, updates)
    for update in range(1, updates + 1):
        x, turned = pieces(text, 64)
        loss = criterion(net(x), turned)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if update % (updates // 5) == 0:
            print(f"update {update:4}: loss {loss.item():.3f}")

    net.evaluate()
    with torch.no_grad():
        x, turned = pieces(unseen, 1000)
        said = net(x).argmax(-1)
    accuracy = (said == turned).float().mean().item()
    for row in range(6):
        piece = "".join(LETTERS[letter] for letter in x[:, row])
        print(f"  {piece}  {('forwards', 'backwards')[said[row]]}{'' if said[row] == turned[row] else ' (wrong)'}")
    print(f"accuracy on pages it has not seen: {accuracy:.1%}")
    return accuracy


if __name__ == "__main__":
    main()
