"""Recurrent visual attention: read a digit in four glances, each of which decides where to look next.

    python examples/visual_attention.py [--quick] [--figure FILE]

A glance sees 3 x 3 pixels of an 8 x 8 digit of scikit-learn's, and 6 x 6 around them at half the resolution. Where to
look is no differentiable choice: it is learned by REINFORCE, from a reward for the right digit.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn

import torchrnn as tr

GLANCES, SIZE, DEPTH, HIDDEN = 4, 3, 2, 96


def make_agent() -> tr.Sequential:
    """Images (N, 1, 8, 8) to log-probabilities (N, 10) and a baseline (N, 1), the guess of the reward."""
    where = tr.Sequential(tr.SelectTable(1), nn.Linear(2, 32), nn.ReLU())
    what = tr.Sequential(tr.SpatialGlimpse(SIZE, DEPTH), nn.Flatten(), nn.Linear(DEPTH * SIZE**2, 64), nn.ReLU())
    sensor = tr.Sequential(tr.ConcatTable(where, what), tr.JoinTable(0, 1), nn.Linear(96, HIDDEN), nn.ReLU())
    rnn = tr.Sequential(sensor, tr.GRU(HIDDEN, HIDDEN))
    locator = tr.Sequential(nn.Linear(HIDDEN, 2), nn.Tanh(), tr.ReinforceNormal(0.2), nn.Hardtanh())
    classifier = tr.Sequential(nn.Linear(HIDDEN, 10), nn.LogSoftmax(-1))
    baseline = tr.Sequential(tr.ZeroGrad(), nn.Linear(HIDDEN, 1))
    attention = tr.RecurrentAttention(rnn, locator, GLANCES, HIDDEN)
    return tr.Sequential(attention, tr.SelectTable(-1), tr.ConcatTable(classifier, baseline))


def train(agent: tr.Sequential, images: Tensor, digits: Tensor, epochs: int) -> None:
    """The classifier learns from the likelihood of the digit, the locator and the baseline from the reward."""
    likelihood, reward = tr.ClassNLLCriterion(), tr.VRClassReward(agent, scale=0.3)
    optimizer = torch.optim.Adam(agent.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    for epoch in range(1, epochs + 1):
        agent.train()
        for batch in torch.randperm(len(images)).split(32):
            optimizer.zero_grad()
            scores, baseline = agent(images[batch])
            loss = likelihood(scores, digits[batch]) + reward([scores, baseline], digits[batch])
            loss.backward()
            nn.utils.clip_grad_norm_(agent.parameters(), 5.0)
            optimizer.step()
        schedule.step()
        if epoch % 5 == 0 or epoch == epochs:
            print(f"epoch {epoch:2d}: {accuracy(agent, images, digits):.1%} of the training digits", flush=True)


@torch.no_grad()
def accuracy(agent: tr.Sequential, images: Tensor, digits: Tensor) -> float:
    scores, _ = agent.eval()(images)
    return (scores.argmax(1) == digits).float().mean().item()


def accuracy_of_random_glances(agent: tr.Sequential, images: Tensor, digits: Tensor) -> float:
    """Somewhere else than where the agent wants to look, for comparison."""
    (unit,) = (module for module in agent.modules() if isinstance(module, tr.ReinforceNormal))
    unit.stochastic, unit.draw = True, lambda distribution: torch.empty_like(distribution.mean).uniform_(-1, 1)
    found = accuracy(agent, images, digits)
    unit.stochastic = False
    del unit.draw
    return found


def save_figure(agent: tr.Sequential, images: Tensor, path: Path) -> None:
    """The way of the glances over some digits, with the digit that was read."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        print("no figure: matplotlib is not installed")
        return
    with torch.no_grad():
        read = agent.eval()(images)[0].argmax(1)
    # The pixel in the middle of each glance, (GLANCES, N, 2) as (y, x).
    centres = ((torch.stack(agent[0].actions) + 1) / 2 * (images.shape[-1] - 1)).floor()
    figure = Figure(figsize=(1.6 * len(images), 2))
    for i, axes in enumerate(figure.subplots(1, len(images))):
        axes.imshow(images[i, 0].numpy(), cmap="gray_r")
        axes.plot(*centres[:, i].flip(1).T.numpy(), "o-", color="tab:red", alpha=0.6)
        for t, (y, x) in enumerate(centres[:, i].tolist()):
            axes.text(x, y - 0.4, str(t + 1), color="tab:blue", weight="bold")
        axes.set_title(f"read as {int(read[i])}")
        axes.set_axis_off()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, bbox_inches="tight", dpi=120)
    print(f"figure: {path}")


def main(arguments: list[str] | None = None) -> float:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a few epochs, to see that it runs")
    parser.add_argument("--figure", type=Path, default=Path("runs/visual_attention.png"), metavar="FILE")
    options = parser.parse_args(arguments)
    torch.manual_seed(1)
    data = load_digits()
    images, digits = torch.tensor(data.images, dtype=torch.float32).unsqueeze(1) / 16, torch.tensor(data.target)
    train_x, test_x, train_y, test_y = train_test_split(images, digits, test_size=0.2, random_state=0)
    agent = make_agent()
    train(agent, train_x, train_y, epochs=3 if options.quick else 60)
    print(f"glances at random places: {accuracy_of_random_glances(agent, test_x, test_y):.1%} of the held-out digits")
    save_figure(agent, test_x[:8], options.figure)
    held_out = accuracy(agent, test_x, test_y)
    print(f"held-out digits in {GLANCES} glances: {held_out:.1%}")
    return held_out


if __name__ == "__main__":
    main()
