"""A tagger that reads in both directions: put the spaces back into lines that have lost them.

    python examples/bidirectional_tagger.py [--quick]

Each letter gets a tag: is it the last of its word? The lines, from the manual of Python, are of different lengths, and
one batch holds them all: `lengths` says where each ends, and the backward direction begins there. A tagger that reads
forwards only is trained beside it; it has to say that a word is over before it sees what follows.
"""

from __future__ import annotations

import argparse
import random
import re

import torch
from torch import Tensor, nn

import torchrnn as tr
from torchrnn.lm import built_in_text

LETTERS = "abcdefghijklmnopqrstuvwxyz"


def read_lines(most_words: int) -> list[list[str]]:
    """Runs of plain words from the lines of the manual, at least 3 of them."""
    runs = re.findall(r"(?<!\S)[a-z]+(?: [a-z]+){2,}(?![^\s.,:;])", built_in_text().lower())
    return [run.split()[:most_words] for run in runs]


def batch_of(lines: list[list[str]]) -> tuple[Tensor, Tensor, Tensor]:
    """Letters (T, N), tags (T, N), both padded at the ends, and the lengths (N,)."""
    letters = [torch.tensor([LETTERS.index(letter) for letter in "".join(line)]) for line in lines]
    tags = [torch.cat([torch.arange(len(word)) == len(word) - 1 for word in line]).long() for line in lines]
    pad = nn.utils.rnn.pad_sequence
    return pad(letters), pad(tags), torch.tensor([len(row) for row in letters])


class Tagger(nn.Module):
    """A layer over time, in both directions or one, and tags for each of its steps."""

    def __init__(self, layer: tr.Module, layer_size: int, size: int) -> None:
        super().__init__()
        self.letters = tr.LookupTable(len(LETTERS), size)
        self.layer = layer
        self.tags = nn.Sequential(nn.Linear(layer_size, 2), nn.LogSoftmax(-1))

    def forward(self, letters: Tensor, lengths: Tensor) -> Tensor:
        return self.tags(self.layer(self.letters(letters), lengths))


def train(tagger: Tagger, lines: list[list[str]], updates: int) -> None:
    criterion = tr.MaskZeroCriterion(tr.ClassNLLCriterion())  # the mean over the letters that are there
    optimizer = torch.optim.Adam(tagger.parameters(), lr=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, updates)
    for _ in range(updates):
        letters, tags, lengths = batch_of(random.sample(lines, 32))
        criterion.set_zero_mask(tr.padding_mask(lengths, len(letters)))
        loss = criterion(tagger(letters, lengths), tags)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()


@torch.no_grad()
def evaluate(tagger: Tagger, lines: list[list[str]]) -> tuple[float, list[str]]:
    """The F1 score of the ends of words, and the lines as the tagger spaces them."""
    letters, tags, lengths = batch_of(lines)
    said = tagger(letters, lengths).argmax(-1)
    said[tr.padding_mask(lengths, len(letters))] = 0
    f1 = 2 * (said * tags).sum() / (said.sum() + tags.sum())
    rows = zip(letters.T.tolist(), said.T.tolist(), lengths.tolist(), strict=True)
    return f1.item(), ["".join(LETTERS[a] + " " * b for a, b in zip(x[:n], y[:n], strict=True)) for x, y, n in rows]


def main(arguments: list[str] | None = None) -> tuple[float, float]:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="small networks, short lines and few updates")
    options = parser.parse_args(arguments)
    torch.manual_seed(0)
    random.seed(0)
    size, most_words, updates = (24, 3, 80) if options.quick else (64, 8, 300)

    lines = read_lines(most_words)
    random.shuffle(lines)
    lines, unseen = lines[200:], lines[:200]
    both = Tagger(tr.BiSequencer(tr.FastLSTM(size)), 2 * size, size)
    forwards = Tagger(tr.Sequencer(tr.FastLSTM(size, 2 * size)), 2 * size, size)
    for tagger in (both, forwards):
        train(tagger, lines, updates)
    (f1, spaced), (f1_forwards, _) = evaluate(both, unseen), evaluate(forwards, unseen)
    for words, line in list(zip(unseen, spaced, strict=True))[:6]:
        print(f"  {''.join(words)}\n    {line}")
    print(f"F1 of the ends of words in {len(unseen)} lines it has not seen, reading forwards only: {f1_forwards:.3f}")
    print(f"F1 in both directions: {f1:.3f}")
    return f1, f1_forwards


if __name__ == "__main__":
    main()
