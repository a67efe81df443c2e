import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from PIL import Image

from dlpipe.cli import make_program
from dlpipe.config.check import load_pipeline
from dlpipe.engine.execute import run
from dlpipe.errors import InputError
from dlpipe.registry.loading import load_plugins
from dlpipe_rl.catch import catch
from dlpipe_rl.play import as_text, play

from .conftest import CPU, corridor
from .test_returns import Chooser, Follower


def test_an_episode_is_played_timestep_by_timestep():
    answers = list(play(Follower(), catch(), CPU, every=4))

    assert [answer.get("timestep") for answer in answers] == [0, 4, 8, 9, None]
    assert all("picture" in answer for answer in answers[:-1])
    assert (answers[-1]["return"], answers[-1]["length"], answers[-1]["seed"]) == (1, 9, 20_000)


def test_an_environment_that_cannot_be_rendered_is_shown_in_numbers():
    answers = list(play(Chooser(1), corridor(length=2), CPU, every=1))

    assert answers[0] == {"timestep": 0, "action": 1, "reward": 1.0, "value": 2.0}
    assert answers[-1]["return"] == 3


def test_episodes_are_written_as_gifs(tmp_path):
    answers = list(play(Follower(), catch(), CPU, episodes=2, output=tmp_path / "ball.gif"))

    assert [answer["file"] for answer in answers] == [str(tmp_path / name) for name in ("ball.gif", "ball-2.gif")]
    with Image.open(tmp_path / "ball.gif") as gif:
        assert gif.n_frames == 10
        assert gif.size == (260, 260 + 14)


def test_a_gif_of_a_further_episode_replaces_no_file(tmp_path):
    (tmp_path / "ball-3.gif").symlink_to("mine.gif")  # also if it is a link
    asked = {"episodes": 3, "output": tmp_path / "ball.gif"}

    with pytest.raises(InputError, match=r"ball-3\.gif exists; remove it, or choose another name with --output FILE"):
        next(play(Follower(), catch(), CPU, **asked))
    assert not (tmp_path / "ball.gif").exists()  # it is refused before the first episode


def test_a_gif_that_cannot_be_written_is_reported(tmp_path):
    with pytest.raises(InputError, match="Corridor cannot be rendered.*leave out --output"):
        list(play(Chooser(1), corridor(), CPU, output=tmp_path / "corridor.gif"))
    with pytest.raises(InputError, match=r"--output .*nowhere.*the file cannot be written: No such file"):
        list(play(Follower(), catch(), CPU, output=tmp_path / "nowhere" / "ball.gif"))


@pytest.mark.parametrize(
    ("output", "options", "message"),
    [
        ("ball.mp4", {}, r"--output ball\.mp4: episodes are written as GIFs; expected a name that ends in \.gif"),
        ("ball", {}, r"--output ball: episodes are written as GIFs"),
        ("b.gif", {"every": 3}, "^--every 3: no effect with --output, as it is for frames in the terminal; remove it"),
        ("b.gif", {"every": 3, "columns": 5}, "^--every 3 and --columns 5: no effect with --output"),
    ],
)
def test_a_gif_is_refused_with_another_name_or_options_of_the_terminal(tmp_path, monkeypatch, output, options, message):
    monkeypatch.chdir(tmp_path)

    with pytest.raises(InputError, match=message):
        next(play(Follower(), catch(), CPU, output=Path(output), **options))

    assert not list(tmp_path.iterdir())


def test_a_picture_as_text_shows_what_differs_from_the_background():
    image = Image.new("RGB", (40, 40), "white")
    image.paste("black", (20, 0, 40, 20))

    assert as_text(image, 8) == "    @@@@\n    @@@@\n\n"


def test_a_trained_run_plays(root, tmp_path):
    registry = load_plugins()
    folder = run(load_pipeline(root / "pipelines" / "dqn_catch.toml", registry, []), registry, tmp_path, fast=True)

    asked = ["predict", str(folder.path), "--json", "--every", "100"]
    answer = CliRunner().invoke(make_program(registry), asked, obj=registry, catch_exceptions=False)

    assert json.loads(answer.output.splitlines()[-1])["length"] == 9
    assert sorted(path.name for path in (folder.path / "samples" / "play").glob("*.gif")) == [
        "step-00000002.gif",
        "step-00000004.gif",
    ]
