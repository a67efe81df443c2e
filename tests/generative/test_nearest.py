import torch
from torch.testing import assert_close

from dlpipe_generative import nearest
from dlpipe_generative.nearest import Nearest, nearest_images


def test_the_nearest_known_image_is_found():
    known = torch.tensor([0.0, 3.0, 10.0]).view(3, 1, 1, 1).expand(3, 1, 2, 2)
    images = torch.tensor([9.0, 1.0]).view(2, 1, 1, 1).expand(2, 1, 2, 2)

    distances, rows = nearest_images(images, known)

    assert_close(distances, torch.tensor([2.0, 2.0]))
    assert rows.tolist() == [2, 0]


def test_the_nearest_of_images_that_are_close_together_and_far_from_black_is_found():
    known = 1000 + 0.01 * torch.arange(50.0).view(50, 1, 1, 1).expand(50, 1, 2, 2)
    expected = torch.tensor([31, 4, 17, 48])

    distances, rows = nearest_images(known[expected] + 0.002, known)

    assert torch.equal(rows, expected)
    assert (distances < 0.01).all()


def test_copies_are_detected_and_new_images_are_not(examples, stripes, replay_model, tmp_path, grid_names):
    names = grid_names(nearest)
    evaluator = Nearest((0.0, 1.0), count=15)

    copied = evaluator.evaluate(replay_model(stripes.split("train").columns["images"]), examples)
    (item,) = evaluator.write(tmp_path)
    same = evaluator.evaluate(replay_model(stripes.split("test").columns["images"]), examples)

    assert copied == {"copies": 1.0, "distance_ratio": 0.0}
    assert same["copies"] <= 0.1
    assert same["distance_ratio"] == 1
    assert names[0]["row_names"] == ["generated", "nearest\ntraining\nimage"]
    assert names[0]["column_names"] == ["d = 0"] * 15  # the distances
    assert names[0]["captions"][:15] == [""] * 15
    assert sorted(names[0]["captions"][15:]) == ["left"] * 5 + ["middle"] * 5 + ["right"] * 5
    assert "the 15 generated images that are closest" in item.caption
