"""A language model of words: a stack of LSTMs that goes on from chunk to chunk, stopped when it begins to overfit.

    python examples/recurrent_language_model.py [--quick] [--figure FILE]

It learns half of the manual that every Python carries, and prints the perplexity of each epoch, then a sample.
After Element-Research/rnn's example of the same name.
"""

import argparse
import copy
import math
import random
import re
from collections import Counter

import torch
from torch import nn

import torchrnn as tr
from torchrnn.lm import Batches, built_in_text


def read_words(quick: bool) -> tuple[list[str], list[str]]:
    """Words and signs, those of nine tenths of the paragraphs for training, the others for validation."""
    paragraphs = re.split(r"\n\s*\n", built_in_text())
    random.Random(0).shuffle(paragraphs)
    paragraphs = paragraphs[: 300 if quick else 1200]
    cut = len(paragraphs) // 10
    texts = "\n".join(paragraphs[cut:]), "\n".join(paragraphs[:cut])
    words = [[m.group() for m in re.finditer(r"\w+|([^\w\s])\1*", text.lower())] for text in texts]
    return words[0], words[1]


def make_network(n_words: int, size: int) -> tr.Sequential:
    layers = tr.LookupTable(n_words, size), tr.FastLSTM(size, size), tr.FastLSTM(size, size)
    step = tr.Sequential(*layers, nn.Linear(size, n_words), nn.LogSoftmax(-1))
    return tr.Sequential(tr.Sequencer(step)).remember("both")


def run_epoch(net: tr.Sequential, batches: Batches, optimizer: torch.optim.Optimizer | None = None) -> float:
    """One pass over a text, training if there is an optimizer; returns the perplexity."""
    criterion = tr.SequencerCriterion(tr.ClassNLLCriterion(), size_average=True)
    net.train(optimizer is not None).forget()
    losses = []
    for x, y in batches:
        with torch.set_grad_enabled(optimizer is not None):
            loss = criterion(net(x.T), y.T)
        losses.append(loss.item())
        if optimizer is not None:
            optimizer.zero_grad()
            loss.backward()
            tr.grad_param_clip(net, 2.0)
            optimizer.step()
    return math.exp(sum(losses) / len(losses))


def train(net: tr.Sequential, train_data: Batches, val_data: Batches, epochs: int, patience: int) -> list[list[float]]:
    """Train until the validation perplexity has not fallen for so many epochs; the best epoch is kept."""
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    history, best, best_epoch = [], math.inf, 0
    for epoch in range(1, epochs + 1):
        history.append([run_epoch(net, train_data, optimizer), run_epoch(net, val_data)])
        training, validation = history[-1]
        print(f"epoch {epoch:2}: perplexity {training:6.1f} in training, {validation:6.1f} in validation")
        if validation < best:
            best, best_epoch, best_state = validation, epoch, copy.deepcopy(net.state_dict())
        elif epoch - best_epoch == patience:
            break
    net.load_state_dict(best_state)
    return history


@torch.no_grad()
def sample(net: tr.Sequential, vocabulary: list[str], first: str, length: int) -> str:
    """A text that goes on from a word, drawn word by word; the network carries the state."""
    net.evaluate().forget()
    ids = [vocabulary.index(first)]
    for _ in range(length):
        probabilities = (net(torch.tensor([[ids[-1]]]))[0, 0] / 0.7).exp()
        probabilities[0] = 0  # the unknown word
        ids.append(int(torch.multinomial(probabilities, 1)))
    return " ".join(vocabulary[position] for position in ids)


def draw(history: list[list[float]], path: str) -> None:
    try:
        from matplotlib import pyplot as plt
    except ImportError:
        print("no figure: it needs matplotlib, pip install matplotlib")
        return
    plt.semilogy(range(1, len(history) + 1), history, label=["training", "validation"])
    plt.gca().set(xlabel="epoch", ylabel="perplexity", title="Early stopping")
    plt.legend()
    plt.savefig(path)


def main(arguments: list[str] | None = None) -> list[list[float]]:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="a small model on less text")
    parser.add_argument("--figure", metavar="FILE", help="save a picture of the perplexities")
    options = parser.parse_args(arguments)
    torch.manual_seed(0)
    torch.set_num_threads(1)  # the matrices are small
    train_words, val_words = read_words(options.quick)
    counts = Counter(train_words)
    ids = {word: position for position, word in enumerate(["<unk>", *sorted(w for w in counts if counts[w] > 1)])}
    train_ids, val_ids = (torch.tensor([ids.get(word, 0) for word in words]) for words in (train_words, val_words))
    print(f"{len(train_ids)} words to train on, {len(ids)} different ones that occur at least twice")
    net = make_network(len(ids), size=16 if options.quick else 80)
    batches = Batches.fitting(train_ids, 16, 16), Batches.fitting(val_ids, 8, 20)
    history = train(net, *batches, epochs=2 if options.quick else 12, patience=2)
    print(f"best: perplexity {min(val for _, val in history):.1f} on words it has not seen\n")
    print(sample(net, list(ids), "if", 60))
    if options.figure:
        draw(history, options.figure)
    return history


if __name__ == "__main__":
    main()
