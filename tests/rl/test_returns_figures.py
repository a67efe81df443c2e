import numpy as np
from matplotlib.figure import Figure

from dlpipe_rl.returns_figures import draw_returns


def test_episodes_are_counted_in_whole_numbers(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(Figure, "savefig", lambda self, path, **options: drawn.append(self))

    draw_returns(tmp_path / "returns.png", np.array([1.0, 2.0, 3.0]), np.array([0.0, 1.0]))

    [axes] = drawn[0].axes
    assert all(tick == int(tick) for tick in axes.get_yticks())
