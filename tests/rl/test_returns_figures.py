import numpy as np
import pytest
from matplotlib.figure import Figure

from dlpipe_rl.checked_env import Episode
from dlpipe_rl.greedy import EpisodeTrace
from dlpipe_rl.returns_figures import draw_returns, draw_values


def test_episodes_are_counted_in_whole_numbers(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(Figure, "savefig", lambda self, path, **options: drawn.append(self))

    draw_returns(tmp_path / "returns.png", np.array([1.0, 2.0, 3.0]), np.array([0.0, 1.0]))

    [axes] = drawn[0].axes
    assert all(tick == int(tick) for tick in axes.get_yticks())


@pytest.mark.parametrize(
    ("terminated", "panels", "said"),
    [
        (True, 2, "Right: 5 timesteps, from all episodes, whose return is known"),
        (False, 1, "All episodes are cut off too early to know the whole return of any timestep."),
    ],
)
def test_values_are_compared_with_returns_where_these_are_known(tmp_path, monkeypatch, terminated, panels, said):
    drawn = []
    monkeypatch.setattr(Figure, "savefig", lambda self, path, **options: drawn.append(self))
    trace = EpisodeTrace(Episode(0, 5.0, 5, terminated), [0] * 5, [1.0] * 5, [2.0] * 5)

    item = draw_values(tmp_path / "values.png", [trace], 0.99)

    assert len(drawn[0].axes) == panels
    assert said in item.caption
