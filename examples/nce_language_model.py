"""Noise-contrastive estimation: a language model that looks at a few words of its vocabulary and not at all of them.

    python examples/nce_language_model.py [--quick]

The same model is trained twice on the manual of Python, which every Python carries: with the softmax over all words,
and by telling each word from k others drawn from the unigrams. Both begin as the unigram model and are judged by the
full softmax. After Element-Research/rnn's example noise-contrastive-estimate.
"""

from __future__ import annotations

import argparse
import copy
import math
import random
import re
import time
from collections import Counter
from collections.abc import Callable

import torch
from torch import Tensor, nn

import torchrnn as tr
from torchrnn.lm import Batches, built_in_text


def read_ids(quick: bool) -> tuple[Tensor, Tensor, Tensor]:
    """The words and signs of the manual as ids for training and validation, and how often each occurs in the first."""
    paragraphs = re.split(r"\n\s*\n", built_in_text())
    random.Random(0).shuffle(paragraphs)
    paragraphs = paragraphs[: 300 if quick else 1200]
    cut = len(paragraphs) // 10
    texts = "\n".join(paragraphs[cut:]), "\n".join(paragraphs[:cut])
    train_words, val_words = ([m.group() for m in re.finditer(r"\w+|([^\w\s])\1*", text)] for text in texts)
    counts = Counter(train_words)
    ids = {word: position for position, word in enumerate(sorted(counts), 1)}  # 0 is for what is not in there
    unigrams = torch.tensor([1, *(counts[word] for word in ids)])
    return torch.tensor([ids[word] for word in train_words]), torch.tensor([ids.get(w, 0) for w in val_words]), unigrams


def train(
    stack: tr.Sequential, output: nn.Module, loss: Callable[[Tensor, Tensor], Tensor], batches: Batches, epochs: int
) -> None:
    """``loss`` takes what the stack gives for each word (T N, H), and the words that come next (T N,)."""
    optimizer = torch.optim.Adam([*stack.parameters(), *output.parameters()], lr=5e-3)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.1, epochs * len(batches))
    for epoch in range(epochs):
        stack.train().forget()
        total = 0.0
        for x, y in batches:
            optimizer.zero_grad()
            error = loss(stack(x.T).flatten(0, 1), y.T.flatten())
            error.backward()
            tr.grad_param_clip(stack, 2.0)
            optimizer.step()
            schedule.step()
            total += error.item()
        print(f"  epoch {epoch + 1}: loss {total / len(batches):.3f}")


@torch.no_grad()
def perplexity(stack: tr.Sequential, log_probabilities: Callable[[Tensor], Tensor], batches: Batches) -> float:
    """exp of the mean negative log-likelihood of the words."""
    stack.evaluate().forget()
    losses = [nn.functional.nll_loss(log_probabilities(stack(x.T).flatten(0, 1)), y.T.flatten()) for x, y in batches]
    return math.exp(torch.stack(losses).mean().item())


def main(arguments: list[str] | None = None) -> tuple[float, float]:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="a small model on less text")
    options = parser.parse_args(arguments)
    torch.manual_seed(0)
    torch.set_num_threads(1)  # the matrices are small
    size, k, epochs = (32, 50, 4) if options.quick else (80, 100, 6)

    train_ids, val_ids, unigrams = read_ids(options.quick)
    n_words = len(unigrams)
    train_data = Batches.fitting(train_ids, batch_size=16, seq_length=16)
    val_data = Batches.fitting(val_ids, batch_size=8, seq_length=20)
    print(f"{len(train_ids)} words to train on, {n_words} different ones")
    stack = tr.Sequential(
        tr.LookupTable(n_words, size), tr.Sequencer(tr.FastLSTM(size, size)), tr.Sequencer(tr.FastLSTM(size, size))
    ).remember("both")
    same_stack = copy.deepcopy(stack)

    log_unigrams = (unigrams / unigrams.sum()).log()
    by_unigrams = math.exp(-log_unigrams[val_ids].mean().item())

    print("softmax over all words:")
    began = time.perf_counter()
    linear = nn.Linear(size, n_words)
    linear.bias.data = log_unigrams.clone()
    train(stack, linear, lambda h, y: nn.functional.cross_entropy(linear(h), y), train_data, epochs)
    seconds = time.perf_counter() - began
    by_softmax = perplexity(stack, lambda h: linear(h).log_softmax(-1), val_data)

    print(f"{k} words of noise:")
    began = time.perf_counter()
    nce, criterion = tr.NCEModule(size, n_words, k, unigrams, Z=1), tr.NCECriterion()
    nce.bias.data = log_unigrams.clone()
    train(same_stack, nce, lambda h, y: criterion(nce([h, y])), train_data, epochs)
    nce_seconds = time.perf_counter() - began
    nce.normalized = nce.log_softmax = True
    nce.evaluate()
    by_nce = perplexity(same_stack, lambda h: nce([h, h.new_zeros(len(h), dtype=torch.long)]), val_data)

    print(f"unigrams:     perplexity {by_unigrams:.1f}")
    print(f"full softmax: perplexity {by_softmax:.1f}, trained in {seconds:.0f} s")
    print(f"NCE:          perplexity {by_nce:.1f} ({by_nce / by_softmax - 1:+.1%}), trained in {nce_seconds:.0f} s")
    return by_softmax, by_nce


if __name__ == "__main__":
    main()
