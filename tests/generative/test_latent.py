import pytest
import torch
from torch.testing import assert_close

from dlpipe.compute import Compute
from dlpipe.config.check import load_pipeline
from dlpipe.data.columns import Columns
from dlpipe.errors import PipelineError
from dlpipe.evaluation.examples import Examples
from dlpipe.registry.loading import load_plugins
from dlpipe_generative import latent
from dlpipe_generative.autoencoder import AutoEncoder
from dlpipe_generative.latent import Latent, knn_classify, latent_traversal, linear_interpolation
from dlpipe_generative.vae import VAE


def test_a_linear_interpolation_lies_on_the_line_between_both_codes():
    starts, ends = torch.tensor([[0.0, 1.0], [2.0, 2.0]]), torch.tensor([[4.0, 3.0], [2.0, 0.0]])

    between = linear_interpolation(starts, ends, 3)

    assert_close(between, torch.tensor([[0.0, 1], [2, 2], [4, 3], [2, 2], [2, 1], [2, 0]]))


def test_a_traversal_varies_one_dimension_at_a_time():
    moved = latent_traversal(torch.tensor([5.0, 6.0, 7.0]), torch.tensor([2, 0]), torch.tensor([1.0, 1.0, 2.0]))

    first, second = moved[:11], moved[11:]
    assert_close(first[:, :2], torch.tensor([[5.0, 6.0]]).expand(11, 2))
    assert_close(first[:, 2], torch.linspace(-5, 5, 11))
    assert_close(second[:, 1:], torch.tensor([[6.0, 7.0]]).expand(11, 2))


def test_the_majority_of_the_nearest_codes_decides():
    known = torch.tensor([[0.0], [0.1], [0.2], [5.0], [5.1]])

    answers = knn_classify(torch.tensor([[0.0], [5.0]]), known, torch.tensor([2, 4, 2, 3, 3]), 3)

    assert answers.tolist() == [2, 3]


@pytest.mark.parametrize("kind", ["autoencoder", "vae", "conditional"])
def test_pictures_of_a_two_dimensional_latent_space(examples, tmp_path, kind, grid_names):
    names = grid_names(latent)
    torch.manual_seed(0)
    options = {"hidden": (7,), "latent_dim": 2}
    shape = (1, 4, 6), (0.0, 1.0)
    model = (
        AutoEncoder(*shape, **options)
        if kind == "autoencoder"
        else VAE(*shape, num_classes=3, conditional=kind == "conditional", **options)
    )
    evaluator = Latent((0.0, 1.0))

    metrics = evaluator.evaluate(model, examples)
    items = evaluator.write(tmp_path)
    captions = {item.file.removesuffix(".png"): item.caption for item in items}

    assert list(metrics) == ["knn_accuracy"]
    assert sorted(path.stem for path in tmp_path.iterdir()) == ["codes", "interpolation", "map", "random", "traversal"]
    assert sorted(captions) == sorted(path.stem for path in tmp_path.iterdir())
    interpolation, traversal, codes_map, random = names
    assert interpolation["column_names"] == [f"{share} %" for share in range(0, 101, 10)]
    assert interpolation["row_names"][:2] == ["left to left", "middle to middle"]  # images 0 and 6, 1 and 7
    assert [name.split("\n")[0] for name in traversal["row_names"]] in (
        ["dimension 0", "dimension 1"],
        ["dimension 1", "dimension 0"],
    )
    assert [traversal["column_names"][place] for place in (0, 5, 10)] == ["-2.5", "+0.0", "+2.5"]
    assert (codes_map["row_names"][0], codes_map["column_names"][0]) == ("+2.5", "-2.5")
    assert random.get("captions", [])[:4] == (["left", "middle", "right", "left"] if kind == "conditional" else [])
    assert captions["codes"].startswith("The codes of 15 images of test, colored by class")
    assert ("with their class below" in captions["random"]) == (kind == "conditional")


@pytest.mark.parametrize(
    ("count", "rows"),
    [
        (1, []),
        (2, [["left to middle"]]),
        (5, [["left to right", "middle to left"]]),
        (6, [["left to left", "middle to middle", "right to right"]]),
    ],
)
@pytest.mark.parametrize("conditional", [False, True])
def test_few_images_have_few_interpolations(stripes, monkeypatch, tmp_path, grid_names, count, rows, conditional):
    names, few = grid_names(latent), Columns(stripes.split("train").batch(torch.arange(count)))
    monkeypatch.setattr(stripes, "split", lambda name: few)
    model = VAE((1, 4, 6), (0.0, 1.0), num_classes=3, conditional=conditional, hidden=(7,), latent_dim=3)
    evaluator = Latent((0.0, 1.0))

    evaluator.evaluate(model, Examples(stripes, "test", Compute(torch.device("cpu"))))
    items = evaluator.write(tmp_path)

    assert [grid["row_names"] for grid in names if "50 %" in grid.get("column_names", [])] == rows
    assert ("interpolation.png" in {item.file for item in items}) == bool(rows)


def test_tight_clusters_far_from_the_origin_are_told_apart():
    offsets = torch.tensor([[0.0, 0.0], [0.0, 0.25], [0.5, 0.0], [0.5, 0.25]]).repeat(8, 1)  # exact in float32 at 1e4
    known, classes = 1e4 + offsets, torch.arange(32) % 4

    answers = knn_classify(known, known, classes, 5)

    assert torch.equal(answers, classes)


@pytest.mark.parametrize(("split", "right"), [("train", 1), ("dev", 1 / 3), ("test", 2 / 3)])
def test_codes_are_classified_by_their_neighbors_among_those_of_train(stripes, split, right):
    class Brightest(AutoEncoder):
        def encode(self, images, targets=None):
            return images[:, 0, 0, ::2]

    model = Brightest((1, 4, 6), (0.0, 1.0), hidden=(7,), latent_dim=3)

    metrics = Latent((0.0, 1.0)).evaluate(model, Examples(stripes, split, Compute(torch.device("cpu"))))

    assert metrics == {"knn_accuracy": right}


def test_training_images_are_refused_as_each_is_its_own_nearest_neighbor(root):
    with pytest.raises(
        PipelineError, match="generative.latent cannot judge training examples: it compares every split with them"
    ):
        load_pipeline(root / "pipelines/vae_digits.toml", load_plugins(), ["evaluators.codes.splits=['train']"])
