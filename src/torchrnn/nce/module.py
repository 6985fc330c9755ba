"""The output layer of noise-contrastive estimation."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torchrnn.checks import require_counts, require_number, require_table
from torchrnn.module import Module
from torchrnn.nce.alias import AliasMultinomial
from torchrnn.tree import Tree, describe


class NCEModule(Module):
    """A linear layer over V classes that is trained by telling each target from k noise classes.

    ``p(w) = exp(W_w h + b_w) / Z`` for the target and for the noise only, so that a step of training costs k classes
    instead of V. Noise is drawn from ``q``, the distribution of the unigrams. `NCECriterion` is the loss.

    Arguments:
        input_size: D.
        n_classes: V.
        k: how many noise classes each target is told from.
        unigrams: (V,) how often each class occurs; need not sum to 1, and is left as it is.
        Z: the constant that scores are divided by. At most 0: the first batch sets it to V times the mean of exp(score)
            over its noise (and its targets, without ``batch_noise``). With 1 the model learns to normalise itself.
        batch_noise: one set of k noise classes for the whole batch, one product of matrices; False: each row its own,
            for which (N, k, D) weights are gathered.
        sparse: gradients of ``weight`` that hold only the rows of the classes met, for `torch.optim.SGD` and
            ``SparseAdam``; dense ones are (V, D), whatever k is.

    Shapes: ``[h (N, D), target (N,)]``, ids 0 to V - 1, to ``[p (N,), p (N, k), q (N,), q (N, k)]``: model and noise
    probabilities of targets and noise. With ``normalized`` (an attribute, at first False) evaluation gives the softmax
    over all classes (N, V), with ``log_softmax`` its logarithm, and the target is not looked at.

    Parameters: ``weight`` (V, D), at first uniform within ``1 / sqrt(D)``, and ``bias`` (V,), at first ``-ln V``.

    Raises ``ValueError`` and ``TypeError`` for other shapes and for ids out of range.

    Differs from the original: ids start at 0, ``unigrams`` is not normalised in place, ``backward`` may be called
    again, and there is no model split over two devices. Source: Mnih, Teh, "A Fast and Simple Algorithm for Training
    Neural Probabilistic Language Models", 2012.

    >>> import torch, torchrnn
    >>> layer = torchrnn.NCEModule(4, 1000, k=20, unigrams=torch.ones(1000), Z=1)
    >>> h, target = torch.randn(3, 4), torch.tensor([7, 0, 999])
    >>> [tuple(p.shape) for p in layer([h, target])]
    [(3,), (3, 20), (3,), (3, 20)]
    >>> layer.normalized = True
    >>> layer.eval()([h, target]).shape
    torch.Size([3, 1000])
    """

    Z: Tensor

    def __init__(
        self,
        input_size: int,
        n_classes: int,
        k: int,
        unigrams: Tensor | Sequence[float],
        Z: float = -1.0,
        batch_noise: bool = True,
        sparse: bool = False,
    ) -> None:
        super().__init__()
        require_counts(self, input_size=input_size, n_classes=n_classes, k=k)
        if not math.isfinite(require_number(self, Z, "Z")):
            raise ValueError(f"NCEModule: Z must be finite; got {Z}. At most 0 lets the first batch decide.")
        self.sampler = AliasMultinomial(unigrams)
        if len(self.unigrams) != n_classes:
            raise ValueError(
                f"NCEModule: unigrams must be one number for each of the {n_classes} classes; got {len(self.unigrams)}."
            )
        self.input_size = input_size
        self.n_classes = n_classes
        self.k = k
        self.batch_noise = batch_noise
        self.sparse = sparse
        self.normalized = False
        self.log_softmax = False
        self.register_buffer("Z", torch.tensor(float(Z)))
        self.weight = nn.Parameter(torch.empty(n_classes, input_size))
        self.bias = nn.Parameter(torch.empty(n_classes))
        self.reset_parameters()

    @property
    def unigrams(self) -> Tensor:
        """The noise distribution q (V,)."""
        return self.sampler.probabilities

    def reset_parameters(self) -> None:
        """Draw the weights anew; with these biases the model is about normalised for Z = 1."""
        bound = 1 / math.sqrt(self.input_size)
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.constant_(self.bias, -math.log(self.n_classes))

    def noise(self, target: Tensor) -> Tensor:
        """New noise classes for targets (N,): (1, k) with ``batch_noise``, else (N, k). Override it to draw others."""
        return self.sampler.draw(1 if self.batch_noise else len(target), self.k)

    def forward(self, input: Tree) -> Tree:
        h, target = self._checked(input)
        if self.normalized and not self.training:
            scores = F.linear(h, self.weight, self.bias)
            return scores.log_softmax(-1) if self.log_softmax else scores.softmax(-1)

        noise = self.noise(target)
        n = len(target)
        # One gather for targets and noise, so that there is one gradient of the size of the weights and not two.
        classes = torch.cat([target.long(), noise.flatten()])
        try:
            rows = F.embedding(classes, self.weight, sparse=self.sparse)
        except IndexError:
            raise ValueError(
                f"NCEModule: targets must be 0 to {self.n_classes - 1}; got {int(target.min())} to "
                f"{int(target.max())}. Ids are 0-based."
            ) from None
        biases = self.bias[classes]
        target_scores = (h * rows[:n]).sum(-1) + biases[:n]
        if len(noise) == 1:
            noise_scores = F.linear(h, rows[n:], biases[n:])
        else:
            own_rows = rows[n:].view(*noise.shape, self.input_size)
            noise_scores = torch.einsum("nd,nkd->nk", h, own_rows) + biases[n:].view_as(noise)

        self._settle_normaliser(target_scores.detach(), noise_scores.detach())
        p_target, p_noise = ((scores - self.Z.log()).exp() for scores in (target_scores, noise_scores))
        q_target, q_noise = (self.unigrams[ids].to(h.dtype) for ids in (target, noise))
        return [p_target, p_noise, q_target, q_noise.expand_as(p_noise)]

    def _settle_normaliser(self, target_scores: Tensor, noise_scores: Tensor) -> None:
        """Set Z from these scores, unless it is set already."""
        if len(target_scores):
            scores = noise_scores if self.batch_noise else torch.cat([target_scores[:, None], noise_scores], 1)
            self.Z.copy_(torch.where(self.Z > 0, self.Z, self.n_classes * scores.exp().mean()))

    def _checked(self, input: Tree) -> tuple[Tensor, Tensor]:
        h, target = require_table(self, input, 2)
        if not (isinstance(h, Tensor) and isinstance(target, Tensor)):
            raise TypeError(f"NCEModule: input must be a table of tensors, h and target; got {describe(input)}.")
        if target.is_floating_point() or target.dtype == torch.bool:
            raise TypeError(f"NCEModule: target must hold integer ids; got {target.dtype}. Convert it with .long().")
        if h.dim() != 2 or h.shape[1] != self.input_size or target.shape != h.shape[:1]:
            raise ValueError(
                f"NCEModule: expected h (N, {self.input_size}) and target (N,); got {describe(input)}. Flatten "
                "sequences, or use Sequencer."
            )
        return h, target

    def extra_repr(self) -> str:
        return f"{self.input_size}, {self.n_classes}, k={self.k}, batch_noise={self.batch_noise}"
