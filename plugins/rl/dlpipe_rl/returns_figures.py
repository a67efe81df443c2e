"""Pictures of what an agent collects and of what it expects."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dlpipe.figures import BLUE, GREY, ORANGE, VERMILION, drawing
from dlpipe_rl.episodes import Array
from dlpipe_rl.greedy import Played
from dlpipe_rl.overestimation import compared, discounted_returns


def draw_returns(path: Path, returns: Array, random: Array) -> None:
    """Draw how the returns are spread, beside those of the random policy."""
    with drawing(path, 6, 3.2) as figure:
        axes = figure.subplots()
        low, high = min(returns.min(), random.min()), max(returns.max(), random.max())
        bins = np.linspace(low, high if high > low else low + 1, 41)
        axes.hist(random, bins.tolist(), color=GREY, alpha=0.7, label=f"random policy: mean {random.mean():.1f}")
        axes.hist(returns, bins.tolist(), color=BLUE, alpha=0.8, label=f"greedy policy: mean {returns.mean():.1f}")
        axes.set(xlabel="return of an episode", ylabel="episodes")
        axes.legend(frameon=False)


def draw_values(path: Path, played: Sequence[Played], gamma: float) -> None:
    """Draw the value along the best episode, and expected against actual discounted returns of all."""
    best = max(played, key=lambda each: each.episode.total)
    expected, followed = compared(played, gamma)
    with drawing(path, 8, 3.4) as figure:
        trace, scatter = figure.subplots(1, 2)
        trace.plot(best.values, color=BLUE, label="expected by the model")
        trace.plot(discounted_returns(np.array(best.rewards), gamma), color=ORANGE, label="what followed")
        trace.set(xlabel="timestep of the best episode", ylabel=f"discounted return (γ = {gamma:g})")
        trace.legend(frameon=False)
        if len(expected):
            shown = np.random.default_rng(0).permutation(len(expected))[:2000]
            ends = [min(expected.min(), followed.min()), max(expected.max(), followed.max())]
            scatter.plot(ends, ends, color=GREY, linewidth=1)
            scatter.plot(followed[shown], expected[shown], ".", color=VERMILION, markersize=3, alpha=0.4)
            error = float((expected - followed).mean())
            scatter.set_title(f"{'over' if error > 0 else 'under'}-estimated by {abs(error):.2f} on average")
        scatter.set(xlabel="what followed", ylabel="expected by the model")
