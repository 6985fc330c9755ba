"""The recurrent language model: the next character from all before it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_leaves, tree_map, tree_unflatten

from torchrnn.cells import FastLSTM, RecGRU, RecLSTM, RecVanilla
from torchrnn.checks import require_count, require_tensor
from torchrnn.layers import BatchNormalization, LookupTable
from torchrnn.lm.sampling import BLOCK, stream
from torchrnn.lm.vocabulary import Vocabulary
from torchrnn.module import Module
from torchrnn.recurrent import AbstractRecurrent

CELLS: dict[str, Any] = {"lstm": RecLSTM, "rnn": RecVanilla, "gru": RecGRU, "fastlstm": FastLSTM}


class LanguageModel(Module):
    """Scores of the next character, given all characters so far.

    | ``x = embedding[ids]``, then ``num_layers`` times: a recurrent layer, batch normalization, dropout
    | ``scores = W x + b``; the probabilities are their softmax.

    The state is carried from call to call, without gradients, until `reset_states` (or a switch between `train` and
    `eval`, as everywhere in this library), so a text may be read piece by piece.

    Arguments:
        vocabulary: a `Vocabulary`, or its characters as a string or a list.
        model_type: ``'lstm'``, ``'rnn'``, ``'gru'`` or ``'fastlstm'``: `RecLSTM`, `RecVanilla`, `RecGRU`, `FastLSTM`.
        wordvec_size: size of the vector of a character.
        rnn_size: hidden units of each layer, ``H``.
        num_layers: how many recurrent layers there are.
        dropout: chance that an output of a layer is dropped in training.
        batchnorm: whether the outputs of each layer are normalised over the ``N T`` rows.

    Shapes: ids (N, T) of an integer type, scores (N, T, V).

    Raises ``ValueError`` for ids outside the vocabulary, and for another ``N`` while a state is carried.

    Differs from torch-rnn's: ids start at 0, a character may be any Unicode character, there are two more kinds of
    layers, and `sample` leaves state and mode alone.

    >>> import torch, torchrnn
    >>> model = torchrnn.LanguageModel("abc ", rnn_size=16)
    >>> model(model.encode("a cab")[None]).shape
    torch.Size([1, 5, 4])
    >>> len(model.sample(length=30, start_text="cab "))
    30
    """

    takes_sequences = True

    def __init__(
        self,
        vocabulary: Vocabulary | Iterable[str],
        model_type: str = "lstm",
        wordvec_size: int = 64,
        rnn_size: int = 128,
        num_layers: int = 2,
        dropout: float = 0.0,
        batchnorm: bool = False,
    ) -> None:
        super().__init__()
        if model_type not in CELLS:
            raise ValueError(f"LanguageModel: model_type must be one of {', '.join(CELLS)}; got {model_type!r}.")
        if not 0 <= dropout < 1:
            raise ValueError(f"LanguageModel: dropout must be at least 0 and below 1; got {dropout}.")
        if batchnorm not in (False, True):
            raise ValueError(f"LanguageModel: batchnorm must be true or false; got {batchnorm!r}.")
        self.vocabulary = vocabulary if isinstance(vocabulary, Vocabulary) else Vocabulary(vocabulary)
        self.config: dict[str, Any] = {
            "model_type": model_type,
            "wordvec_size": require_count(self, wordvec_size, "wordvec_size"),
            "rnn_size": require_count(self, rnn_size, "rnn_size"),
            "num_layers": require_count(self, num_layers, "num_layers"),
            "dropout": float(dropout),
            "batchnorm": bool(batchnorm),
        }
        self.lookup = LookupTable(len(self.vocabulary), wordvec_size)
        self.layers = nn.ModuleList()
        for layer in range(num_layers):
            self.layers.append(CELLS[model_type](rnn_size if layer else wordvec_size, rnn_size))
            if batchnorm:
                self.layers.append(BatchNormalization(rnn_size))
            if dropout > 0:
                self.layers.append(nn.Dropout(dropout))
        self.linear = nn.Linear(rnn_size, len(self.vocabulary))
        self._states: dict[int, Any] = {}

    def forward(self, ids: Tensor) -> Tensor:
        """Scores (N, T, V) of the character after each of ``ids`` (N, T)."""
        if require_tensor(self, ids, "ids").dim() != 2:
            raise ValueError(f"LanguageModel: ids must be (N, T); got {tuple(ids.shape)}. A single text is ids[None].")
        self._require_batch_size(len(ids))
        x = self.lookup(ids.t())
        for position, layer in enumerate(self.layers):
            if isinstance(layer, AbstractRecurrent):
                x, state = layer.sequence(x, self._states.get(position))
                self._states[position] = tree_map(Tensor.detach, state)
            elif isinstance(layer, BatchNormalization):
                x = layer(x.flatten(0, 1)).view_as(x)
            else:
                x = layer(x)
        scores: Tensor = self.linear(x.transpose(0, 1))
        return scores

    # ------------------------------------------------------------------ memory

    def reset_states(self) -> None:
        """Forget the text read so far."""
        self._states.clear()

    def get_states(self) -> list[Tensor]:
        """The carried state as tensors (N, H), layer by layer (``h`` before ``c``); none after `reset_states`."""
        return [leaf for state in self._states.values() for leaf in tree_leaves(state)]

    def set_states(self, states: Sequence[Tensor]) -> None:
        """Go on from what `get_states` returned."""
        self.reset_states()
        rest = list(states)
        for position, layer in enumerate(self.layers):
            if rest and isinstance(layer, AbstractRecurrent):
                like, structure = tree_flatten(layer.initial_state(rest[0]))
                own, rest = rest[: len(like)], rest[len(like) :]
                if [tensor.shape for tensor in own] != [tensor.shape for tensor in like]:
                    shapes = [tuple(tensor.shape) for tensor in states]
                    raise ValueError(f"set_states: states of shapes {shapes} do not fit this model.")
                self._states[position] = tree_unflatten([tensor.detach() for tensor in own], structure)
        if rest:
            raise ValueError(f"set_states: {len(states)} states are {len(rest)} too many for this model.")

    def _forget_own(self) -> None:
        self.reset_states()

    def _require_batch_size(self, batch_size: int) -> None:
        for state in self.get_states()[:1]:
            if len(state) != batch_size:
                raise ValueError(
                    f"LanguageModel: the carried state has {len(state)} rows, the ids have {batch_size}; call "
                    f"reset_states() before another batch size."
                )

    # ------------------------------------------------------------------ text

    def encode(self, text: str) -> Tensor:
        """The ids of a text, (len(text),); raises ``ValueError`` that names characters outside the vocabulary."""
        return self.vocabulary.encode(text)

    def decode(self, ids: Tensor | Sequence[int]) -> str:
        """The text of ids."""
        return self.vocabulary.decode(ids)

    def sample(self, length: int = 100, start_text: str = "", **options: Any) -> str:
        """Write a text of ``length`` characters that begins with ``start_text``; it takes the options of `stream`."""
        block = BLOCK if options.get("stop") is None else 1
        return "".join(self._stream(length, start_text, **options, block=block))

    def stream(
        self,
        length: int = 100,
        start_text: str = "",
        temperature: float = 1.0,
        sample: bool = True,
        top_k: int | None = None,
        stop: str | None = None,
        generator: torch.Generator | None = None,
    ) -> Iterator[str]:
        """`sample`, piece by piece as it is written; state, mode and weights of the model stay as they are.

        The text is that of the model as it is now, whatever becomes of it before the last piece. A character takes one
        random number in double precision, when it is written, and at temperature 0 none. The native engine, which
        takes the steps where it can, and the reference use the same numbers, and write the same text.

        Arguments:
            length: characters in all, those of ``start_text`` included.
            start_text: what the text begins with; without it the first character is drawn uniformly from all.
            temperature: the scores are divided by it: below 1 for likelier, above 1 for more surprising text.
            sample: false, like temperature 0, takes the likeliest character every time.
            top_k: draw from the ``top_k`` likeliest characters only, of equally likely ones from the first.
            stop: end once this has been written.
            generator: where the random numbers come from; PyTorch's default generator if it is not given.

        Raises ``ValueError`` for options out of range, a ``start_text`` outside the vocabulary, and, while writing, for
        scores that are not finite.
        """
        return self._stream(length, start_text, temperature, sample, top_k, stop, generator)

    def _stream(
        self,
        length: int,
        start_text: str,
        temperature: float = 1.0,
        sample: bool = True,
        top_k: int | None = None,
        stop: str | None = None,
        generator: torch.Generator | None = None,
        block: int = 1,
    ) -> Iterator[str]:
        return stream(self, length, start_text, temperature if sample else 0.0, top_k, stop, generator, block)
