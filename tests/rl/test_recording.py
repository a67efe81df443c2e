import numpy as np
import pytest
from PIL import Image

from dlpipe_rl.catch import catch
from dlpipe_rl.checked_env import Episode
from dlpipe_rl.greedy import EpisodeTrace
from dlpipe_rl.gymnasium_id import environment
from dlpipe_rl.recording import frames_per_second, long_enough, pictures, record, timesteps_per_frame

from .conftest import Corridor, corridor


def trace(length, seed=3):
    return EpisodeTrace(Episode(seed, 1.0, length, True), [1] * length, [0.0] * (length - 1) + [1.0])


def film(path):
    with Image.open(path) as gif:
        for number in range(gif.n_frames):
            gif.seek(number)
            yield np.array(gif.convert("L")), gif.info["duration"]


def test_a_film_runs_at_the_speed_of_its_environment_and_its_last_frame_stays(tmp_path):
    assert record(tmp_path / "a.gif", catch(), [trace(9)])

    assert [duration for _, duration in film(tmp_path / "a.gif")] == [200] * 9 + [1000]  # 5 timesteps per second


def test_the_line_above_a_picture_says_where_the_film_is(tmp_path):
    record(tmp_path / "a.gif", catch(), [trace(9)], title="step 1,200")
    record(tmp_path / "b.gif", catch(), [trace(9)], title="step 5,000")

    [first, *_, last], [other, *_] = ([picture for picture, _ in film(tmp_path / f"{name}.gif")] for name in "ab")
    assert first[:14].min() < 100
    assert (first[:14, :70] != other[:14, :70]).any()  # the step
    assert (first[:14, 70:] != last[:14, 70:]).any()  # timestep and return
    assert (first[14:] == other[14:]).all()


def test_a_film_shows_the_environment_below_the_line(tmp_path):
    record(tmp_path / "a.gif", catch(), [trace(9)])

    shown = [picture[14:] for picture, _ in film(tmp_path / "a.gif")]
    rendered = [np.array(picture.convert("L")) for picture in pictures(catch(), 3, [1] * 9)]
    assert len(shown) == len(rendered) == 10
    for one, other in zip(shown, rendered, strict=True):
        assert np.abs(one.astype(int) - other).max() <= 8  # the palette of a GIF
    assert (rendered[0] != rendered[-1]).any()


def test_short_episodes_are_followed_by_others():
    nine, long = trace(9), trace(600)

    assert long_enough(catch(), [nine] * 5) == [nine] * 2  # 2.8 s each
    assert long_enough(catch(), [long, nine]) == [long]
    assert long_enough(catch(), [nine]) == [nine]


def test_several_episodes_follow_each_other(tmp_path):
    record(tmp_path / "a.gif", catch(), [trace(9), trace(9, seed=4)])

    assert [duration for _, duration in film(tmp_path / "a.gif")] == ([200] * 9 + [1000]) * 2


@pytest.mark.parametrize(
    ("length", "fps", "every"), [(400, 50, 1), (401, 50, 2), (1700, 15, 5), (10, 200, 4), (10, 5, 1)]
)
def test_long_or_fast_films_leave_timesteps_out(length, fps, every):
    assert timesteps_per_frame([trace(length)], fps) == every


def test_leaving_timesteps_out_keeps_the_speed(tmp_path):
    record(tmp_path / "a.gif", environment(), [trace(9)])
    fast = [duration for _, duration in film(tmp_path / "a.gif")]

    assert frames_per_second(environment()) == 50
    assert sum(fast[:-1]) == 9 * 20


@pytest.mark.parametrize("played", [[1] * 9, [0, 0, 77, 1]], ids=["ends", "raises"])
def test_a_film_ends_where_its_episode_ends_or_fails_when_it_is_replayed(tmp_path, played):
    class Short(Corridor):
        metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012

        def step(self, action):
            if action == 77 or self.place == self.length:
                raise IndexError(self.place)
            return super().step(action)

        def render(self):
            return np.full((40, 60, 3), 20 * self.place, np.uint8)

    shown = EpisodeTrace(Episode(3, 1.0, len(played), True), played, [0.0] * len(played))

    with pytest.warns(UserWarning, match=rf"the episode with seed 3 ends after \d timesteps instead of {len(played)}"):
        assert record(tmp_path / "a.gif", corridor(Short, length=2), [shown])

    assert [duration for _, duration in film(tmp_path / "a.gif")] == [100, 100, 1000]


def test_an_environment_that_cannot_be_rendered_leaves_no_film(tmp_path):
    assert not record(tmp_path / "a.gif", corridor(), [trace(3)])

    assert list(tmp_path.iterdir()) == []
