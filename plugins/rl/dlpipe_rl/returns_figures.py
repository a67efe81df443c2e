"""Figures of returns and of estimated values."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dlpipe.figures import BLUE, GREY, ORANGE, VERMILION, drawing
from dlpipe.report_items import ReportItem
from dlpipe_rl.checked_env import Array
from dlpipe_rl.greedy import EpisodeTrace
from dlpipe_rl.overestimation import discounted_returns, value_return_pairs

#: Most points in the figure of values.
SHOWN = 2000


def draw_returns(path: Path, returns: Array, random: Array) -> None:
    """Draw the distribution of the returns together with that of the random policy."""
    with drawing(path, 6, 3.2) as figure:
        axes = figure.subplots()
        low, high = min(returns.min(), random.min()), max(returns.max(), random.max())
        bins = np.linspace(low, high if high > low else low + 1, 41)
        axes.hist(random, bins.tolist(), color=GREY, alpha=0.7, label=f"random policy: mean {random.mean():.1f}")
        axes.hist(returns, bins.tolist(), color=BLUE, alpha=0.8, label=f"greedy policy: mean {returns.mean():.1f}")
        axes.set(xlabel="return of an episode", ylabel="episodes")
        axes.locator_params(axis="y", integer=True)  # nobody counts 2.5 episodes
        axes.legend(frameon=False)


def draw_values(path: Path, traces: Sequence[EpisodeTrace], gamma: float) -> ReportItem:
    """Draw the values along the best episode, and estimated values against actual returns where these are known."""
    best = max(traces, key=lambda each: each.episode.total)
    values, returns = value_return_pairs(traces, gamma)
    panels = 2 if len(values) else 1
    with drawing(path, 4 * panels, 3.4) as figure:
        curve, *scatters = figure.subplots(1, panels, squeeze=False)[0]
        curve.plot(best.values, color=BLUE, label="value estimate")
        curve.plot(discounted_returns(np.array(best.rewards), gamma), color=ORANGE, label="actual")
        curve.set(xlabel="timestep of the best episode", ylabel=f"discounted return (γ = {gamma:g})")
        curve.legend(frameon=False)
        for scatter in scatters:
            shown = np.random.default_rng(0).permutation(len(values))[:SHOWN]
            ends = [min(values.min(), returns.min()), max(values.max(), returns.max())]
            scatter.plot(ends, ends, color=GREY, linewidth=1)
            scatter.plot(returns[shown], values[shown], ".", color=VERMILION, markersize=3, alpha=0.4)
            error = float((values - returns).mean())
            scatter.set_title(f"{'over' if error > 0 else 'under'}-estimated by {abs(error):.2f} on average")
            scatter.set(xlabel="actual discounted return", ylabel="value estimate")
    cut = "" if best.episode.terminated else " As this episode was cut off, the actual return lacks what came after it."
    about = (
        f"The model's estimates of the discounted return (γ = {gamma:g}, rewards as in training) in the best episode "
        f"(blue), and the actual return from each timestep on (orange).{cut}"
    )
    if len(values):
        about += (
            f" Right: {min(len(values), SHOWN)} timesteps, from all episodes, whose return is known; those above the "
            "grey line are overestimated, those below underestimated."
        )
    else:
        about += " All episodes are cut off too early to know the whole return of any timestep."
    return ReportItem(path.name, "Value estimates", about)
