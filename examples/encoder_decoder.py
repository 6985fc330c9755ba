"""Encoder and decoder, coupled by their states: one reads a number, the other writes it in Roman numerals.

    python examples/encoder_decoder.py [--quick]

The decoder begins in the state in which the encoder ended; the gradient of that state goes the other way. Autograd does
that by itself, in the explicit protocol it is one call. Here are both, with the same gradients; they train in turns.
"""

from __future__ import annotations

import argparse

import torch
from torch import Tensor, nn

import torchrnn as tr

LETTERS = "^MDCLXVI."  # the decoder is given "^" to begin with, and ends with a full stop


def roman(number: int) -> str:
    signs = {900: "CM", 500: "D", 400: "CD", 100: "C", 90: "XC", 50: "L", 40: "XL", 10: "X", 9: "IX", 5: "V", 4: "IV"}
    text = ""
    for value, letters in {**signs, 1: "I"}.items():
        text += letters * (number // value)
        number %= value
    return text


def ragged(texts: list[str], alphabet: str) -> tuple[Tensor, Tensor]:
    """Texts as indices (T, N), padded at their ends, and their lengths (N,)."""
    rows = [torch.tensor([alphabet.index(letter) for letter in text]) for text in texts]
    return nn.utils.rnn.pad_sequence(rows), torch.tensor([len(row) for row in rows])


class Translator(nn.Module):
    def __init__(self, size: int) -> None:
        super().__init__()
        self.encoder = tr.Sequencer(tr.Sequential(tr.LookupTable(10, size), tr.FastLSTM(size)))
        step = (tr.LookupTable(len(LETTERS), size), tr.FastLSTM(size), nn.Linear(size, len(LETTERS)))
        self.decoder = tr.Sequencer(tr.Sequential(*step, nn.LogSoftmax(-1)))
        self.criterion = tr.MaskZeroCriterion(tr.ClassNLLCriterion())

    def batch(self, numbers: list[int]) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """What the encoder reads, what the decoder reads, each with its lengths, and what it is to write."""
        texts = [roman(number) for number in numbers]
        given, lengths = ragged(["^" + text for text in texts], LETTERS)
        wanted, _ = ragged([text + "." for text in texts], LETTERS)
        self.criterion.set_zero_mask(tr.padding_mask(lengths, len(given)))
        return *ragged([str(number) for number in numbers], "0123456789"), given, lengths, wanted

    def by_autograd(self, numbers: list[int]) -> float:
        """One loss and its gradients in PyTorch's way: the state that is handed over has its history with it."""
        digits, n_digits, given, n_letters, wanted = self.batch(numbers)
        self.encoder(digits, n_digits)
        self.decoder.set_start_state(self.encoder.get_hidden_state())
        loss = self.criterion(self.decoder(given, n_letters), wanted)
        loss.backward()
        return loss.item()

    def by_protocol(self, numbers: list[int]) -> float:
        """The same in Torch7's way: the state goes to the decoder, its gradient goes back to the encoder."""
        digits, n_digits, given, n_letters, wanted = self.batch(numbers)
        read = self.encoder.update_output(digits, lengths=n_digits)
        self.decoder.set_start_state(self.encoder.get_hidden_state())
        written = self.decoder.update_output(given, lengths=n_letters)
        loss = self.criterion.forward(written, wanted)
        self.decoder.backward(given, self.criterion.backward(written, wanted))
        self.encoder.set_grad_hidden_state(-1, self.decoder.get_grad_hidden_state(0))
        self.encoder.backward(digits, torch.zeros_like(read))  # only its state was used, not its outputs
        return loss.item()

    @torch.no_grad()
    def translate(self, numbers: list[int]) -> list[str]:
        """Letter by letter: the decoder reads what it has just written, and remembers what was before."""
        digits, n_digits, *_ = self.batch(numbers)
        self.encoder(digits, n_digits)
        self.decoder.remember().forget().set_start_state(self.encoder.get_hidden_state())
        letters = torch.zeros_like(digits[:1])
        while len(letters) <= len("DCCCLXXXVIII."):  # the longest there is
            letters = torch.cat([letters, self.decoder(letters[-1:]).argmax(-1)])
        self.decoder.remember("neither")
        return ["".join(LETTERS[letter] for letter in row[1:]).split(".")[0] for row in letters.T.tolist()]


def main(arguments: list[str] | None = None) -> float:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="numbers up to 20 and a small network")
    options = parser.parse_args(arguments)
    torch.manual_seed(0)
    size, highest, updates = (32, 20, 100) if options.quick else (96, 999, 500)
    numbers = (torch.randperm(highest) + 1).tolist()
    pairs, unseen = numbers[highest // 10 :], numbers[: highest // 10]
    translator = Translator(size)
    translator.by_autograd(pairs[:8])
    gradients = [parameter.grad.clone() for parameter in translator.parameters()]
    translator.zero_grad()
    translator.by_protocol(pairs[:8])
    same = all(torch.allclose(a, b.grad) for a, b in zip(gradients, translator.parameters(), strict=True))
    print(f"both ways have the same gradients: {same}")
    optimizer = torch.optim.Adam(translator.parameters(), lr=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, updates)
    for update in range(1, updates + 1):
        optimizer.zero_grad()
        way = translator.by_protocol if update % 2 else translator.by_autograd
        loss = way([pairs[i] for i in torch.randint(len(pairs), (64,))])
        nn.utils.clip_grad_norm_(translator.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if update % (updates // 5) == 0:
            print(f"update {update:3}: loss {loss:.4f}")
    written = dict(zip(numbers, translator.translate(numbers), strict=True))
    print("".join(f"  {number} {written[number]}" for number in unseen[:8]))
    learned, guessed = (sum(written[number] == roman(number) for number in part) for part in (pairs, unseen))
    print(f"pairs learned: {learned} of {len(pairs)}, pairs never seen: {guessed} of {len(unseen)}")
    return learned / len(pairs)


if __name__ == "__main__":
    main()
