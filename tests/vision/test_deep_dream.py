"""Deep Dream: its metrics, files and errors."""

import csv

import pytest
import torch
from PIL import Image
from torch import nn

from dlpipe.compute import Compute
from dlpipe.config.check import load_pipeline
from dlpipe.engine.execute import run
from dlpipe.errors import InputError
from dlpipe.evaluation import Examples
from dlpipe.registry.loading import load_plugins
from dlpipe_vision.cnn import CNN
from dlpipe_vision.deep_dream import DeepDream
from dlpipe_vision.residual_net import ResidualNet

SHAPE, LABELS = (1, 5, 7), ["sad", "<i>", "glad"]
LAYERS = [{"conv": 4}, {"conv": 6}, {"global_pool": "average"}]
STAGE = """
[stages.{name}.data]
use = "vision.textures"
size = 12
train_size = 20
test_size = 10
normalize = "symmetric"
seed = {seed}
[stages.{name}.model]
use = "vision.cnn"
layers = [{{ conv = 3 }}, {{ global_pool = "average" }}]
[stages.{name}.trainer]
use = "core.supervised"
steps = 1
"""
PIPELINE = (
    'name = "dreams"\nthreads = 1\ndevice = "cpu"\n'
    + STAGE.format(name="judge", seed=1)
    + STAGE.format(name="dream", seed=0)
    + """
[stages.dream.evaluators.dreams]
use = "vision.deep_dream"
splits = ["test"]
classes = ["dots"]
size = 12
octaves = 1
jitter = 0
steps = 1
judge = { stage = "judge" }
"""
)


def cnn(seed=0, layers=LAYERS):
    torch.manual_seed(seed)
    return CNN(SHAPE, 3, layers=layers)


def deep_dream(**options):
    small = {"size": 12, "octaves": 2, "steps": 5, "jitter": 1, "step_size": 0.05}
    return DeepDream(**{"image_shape": SHAPE, "labels": LABELS, **small, **options})


def test_a_layer_is_enhanced_on_images_larger_than_those_of_the_training(faces_examples):
    metrics = deep_dream().evaluate(cnn(layers=[*LAYERS[:2], {"dense": 5}]), faces_examples)

    assert metrics.keys() == {"gain", "gain_lowest", "gain_untrained"}
    assert metrics["gain"] == metrics["gain_lowest"] > 1.2


def test_channels_and_their_layer_are_as_asked(faces_examples):
    evaluator = deep_dream(layer="layers.0.conv", channels=[3, 1])

    metrics = evaluator.evaluate(cnn(), faces_examples)

    assert [str(dream.target) for dream in evaluator._dreams] == [
        "channel 3 of layers.0.conv",
        "channel 1 of layers.0.conv",
    ]
    gains = [dream.gain for dream in evaluator._dreams]
    assert metrics["gain"] == pytest.approx(sum(gains) / 2)
    assert metrics["gain_lowest"] == min(gains)


def test_the_activation_of_the_dream_is_that_of_the_network(faces_examples):
    model, evaluator = cnn(), deep_dream(layer="layers.0.conv")

    evaluator.evaluate(model, faces_examples)

    (dream,) = evaluator._dreams
    for images, value in ((dream.start, dream.trained.before), (dream.trained.octaves[-1], dream.trained.after)):
        maps = model.get_submodule("layers.0.conv")(images).detach()
        assert maps.square().mean().sqrt().item() == pytest.approx(value, rel=1e-5)


@pytest.mark.parametrize("options", [{}, {"start": "noise", "count": 3}, {"count": 2, "seed": 5}])
def test_dreams_are_the_same_each_time(faces_examples, options):
    model, evaluators, before = cnn(), [deep_dream(**options) for _ in range(2)], torch.get_rng_state()

    metrics = [evaluator.evaluate(model, faces_examples) for evaluator in evaluators]

    assert metrics[0] == metrics[1]
    assert evaluators[0]._dreams[0].start.shape == (options.get("count", 1), 1, 12, 12)
    assert torch.get_rng_state().equal(before)


def test_another_seed_chooses_another_start_image(faces_examples):
    starts = []
    for seed in (0, 1):
        evaluator = deep_dream(seed=seed)
        evaluator.evaluate(cnn(), faces_examples)
        starts.append(evaluator._dreams[0].start)

    assert not starts[0].equal(starts[1])


def test_the_model_is_left_as_it_was(faces_examples):
    model = cnn().train()
    before = {name: weight.clone() for name, weight in model.state_dict().items()}

    deep_dream(classes=["sad"], judge=cnn(1)).evaluate(model, faces_examples)

    assert all(part.training for part in model.modules())
    assert all(weight.grad is None for weight in model.parameters())
    assert all(before[name].equal(weight) for name, weight in model.state_dict().items())


def test_a_judge_that_is_the_network_itself_recognizes_the_dream(faces_examples):
    """The classes of an untrained network differ by its random weights, which the judge has as well."""
    model = cnn()

    metrics = deep_dream(classes=["glad", "<i>"], judge=model, steps=20).evaluate(model, faces_examples)

    assert metrics["judge_probability"] > metrics["judge_probability_start"]
    assert metrics["judge_sure"] == 0  # three logits that differ little
    assert metrics["judge_accuracy"] == pytest.approx(1 / 3)
    assert {"judge_probability_untrained", "judge_sure_start", "judge_sure_untrained"} < metrics.keys()


def test_a_quick_trial_takes_few_steps(faces):
    evaluator = deep_dream(steps=1000)

    evaluator.evaluate(cnn(), Examples(faces, "test", Compute(torch.device("cpu")), limit=1))

    assert evaluator._ascent.steps == 1000  # and this ended


def test_a_picture_of_a_person_is_the_start_image(faces_examples, tmp_path):
    Image.new("RGB", (30, 30), (51, 51, 51)).save(tmp_path / "own.png")
    evaluator = deep_dream(start="picture", picture=tmp_path / "own.png")

    evaluator.evaluate(cnn(), faces_examples)

    assert evaluator._dreams[0].start == pytest.approx(0.2)
    assert "The start image was cropped and resized from 30×30 to 12×12." in evaluator.write(tmp_path)[0].caption


def test_a_figure_all_dreams_and_a_table_are_written(faces_examples, tmp_path):
    evaluator = deep_dream(classes=["glad", "<i>"], judge=cnn(1), count=3)
    evaluator.evaluate(cnn(), faces_examples)

    items = evaluator.write(tmp_path)

    assert [item.file for item in items] == ["deep_dream.png", "dreams.png", "deep_dream.csv"]
    assert "Each row is a target; from left" in items[0].caption
    assert Image.open(tmp_path / "dreams.png").size == (3 * 14 - 2, 2 * 14 - 2)
    with (tmp_path / "deep_dream.csv").open(encoding="utf-8", newline="") as file:
        heading, *rows = csv.reader(file)
    assert heading[:4] == ["target", "start", "dream", "gain"]
    assert [row[0] for row in rows] == ["class glad", "class <i>"]
    assert float(rows[0][3]) == pytest.approx(float(rows[0][2]) - float(rows[0][1]))
    assert len(heading) == len(rows[0]) == 13


@pytest.mark.parametrize(("channels", "size"), [(4, (4, 1)), (7, (5, 2))])
def test_single_dreams_stand_in_rows(faces_examples, tmp_path, channels, size):
    evaluator = deep_dream(layer="layers.0.conv", channels=([0, 1, 2, 3] * 2)[:channels], steps=1)
    evaluator.evaluate(cnn(), faces_examples)

    evaluator.write(tmp_path)

    sheet = Image.open(tmp_path / "dreams.png")
    assert sheet.size == (14 * size[0] - 2, 14 * size[1] - 2)
    last = evaluator._dreams[channels - 1].trained.octaves[-1][0, 0]
    row, column = divmod(channels - 1, 5)
    assert sheet.getpixel((14 * column + 3, 14 * row + 8)) == round(float(last[8, 3]) * 255)


def test_of_many_targets_the_figure_shows_the_first(faces_examples, tmp_path):
    evaluator = deep_dream(layer="layers.0.conv", channels=[0, 1, 2, 3] * 3, steps=1)
    evaluator.evaluate(cnn(), faces_examples)

    assert "Each row is a target (the first 10 of 12);" in evaluator.write(tmp_path)[0].caption


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"classes": ["glat"]}, r'classes: "glat" is no class of the data; expected some of .* Did you mean "glad"\?'),
        ({"classes": ["sad", "sad"]}, r'classes = \["sad", "sad"\]: "sad" occurs twice; name each once'),
        ({"classes": ["sad"], "labels": ["sad"]}, "classes: the data has one class, sad; expected at least two"),
        ({"start": "picture"}, 'start = "picture" needs the file: picture = "…"'),
        ({"jitter": 4}, "jitter = 4: the smallest octave has 9×9 pixels"),
        (
            {"classes": ["sad"], "judge": nn.Identity(), "size": 6},
            "size = 6: the judge sees crops of 5×7 pixels; expected at least 7",
        ),
    ],
)
def test_options_that_cannot_be_obeyed_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        deep_dream(**options)


@pytest.mark.parametrize(
    ("changed", "found"),
    [
        (["stages.judge.data.normalize='unit'"], r"\[0.0, 1.0\], and here it is \[-1.0, 1.0\]"),
        (  # the statistics are those of the training images, and the judge has others
            ["stages.judge.data.normalize='standardize'", "stages.dream.data.normalize='standardize'"],
            r"\[-\d\.\d+, \d\.\d+\], and here it is \[-\d\.\d+, \d\.\d+\]",
        ),
    ],
)
def test_a_judge_of_pixels_of_another_range_is_refused(tmp_path, changed, found):
    (tmp_path / "dreams.toml").write_text(PIPELINE)
    registry = load_plugins()
    pipeline = load_pipeline(tmp_path / "dreams.toml", registry, changed)

    with pytest.raises(
        InputError, match=rf"judge: .*judge.* was trained with pixel_range = {found}; expected the same"
    ):
        run(pipeline, registry, tmp_path / "runs")


@pytest.mark.usefixtures("without_report")
def test_a_judge_of_other_images_with_pixels_of_the_same_range_is_accepted(tmp_path):
    (tmp_path / "dreams.toml").write_text(PIPELINE)
    registry = load_plugins()

    run(load_pipeline(tmp_path / "dreams.toml", registry), registry, tmp_path / "runs")

    (metrics,) = (tmp_path / "runs").glob("dreams/2*/stages/dream/metrics.jsonl")
    assert "test/dreams/judge_probability" in metrics.read_text()


def test_a_layer_that_does_not_exist_is_refused(faces_examples):
    with pytest.raises(InputError, match=r'CNN has no layer "layers.0.con"; .* Did you mean "layers.0.conv"\?'):
        deep_dream(layer="layers.0.con").evaluate(cnn(), faces_examples)


def test_more_start_images_than_there_are_are_refused(faces_examples):
    with pytest.raises(InputError, match="count = 10: there are 9 images of test to start from"):
        deep_dream(count=10).evaluate(cnn(), faces_examples)


@pytest.mark.parametrize("options", [{"classes": ["sad"]}, {}, {"layer": "blocks.1.layers.0"}])
def test_a_residual_network_dreams_too(faces_examples, options):
    torch.manual_seed(0)
    model = ResidualNet(SHAPE, 3, depth=8, width=3)

    assert deep_dream(**options).evaluate(model, faces_examples)["gain"] > (0 if options else 1)


def test_the_default_layer_is_found_at_the_size_of_the_training(faces_examples):
    evaluator = deep_dream(size=4, octaves=1)

    evaluator.evaluate(cnn(layers=[*LAYERS[:2], {"dense": 5}]), faces_examples)

    assert str(evaluator._dreams[0].target) == "layer layers.1.activation"


def test_other_data_than_images_is_refused(other_examples):
    with pytest.raises(InputError, match="vision.deep_dream needs labeled images"):
        deep_dream().evaluate(cnn(), other_examples)
