"""Models of all domains start from trained ones, with parts that are frozen, whatever trains them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dlpipe.config.check import load_pipeline
from dlpipe.engine.execute import run
from dlpipe.engine.inference import open_run
from dlpipe.engine.prediction import predict
from dlpipe.errors import PipelineError
from dlpipe.registry.loading import load_plugins

from .test_option_audit import ADVERSARIAL, CARTPOLE, COUNTED, IMAGES, REVIEWS, SENTENCES, SPOKEN

pytestmark = pytest.mark.usefixtures("without_report")

#: A pipeline, what is different in the run that starts from it, and the part that is frozen there.
DOMAINS = {
    "text": (SENTENCES, "data={use='text.flights', num_train=30, num_dev=9, num_test=9, seed=2}", "net.recurrent"),
    "reviews": (REVIEWS, "data.language='en'", "recurrent"),
    "audio": (SPOKEN, "data.num_words=45", "encoder"),
    "vision": (IMAGES, "data.classes=[2, 5]", "layers.2"),
    "generative": (ADVERSARIAL, "data.limit=90", "discriminator.features.1"),
    "rl": (CARTPOLE, "trainer.steps=4", "encode.0"),
}


def run_it(folder: Path, text: str, *assignments: str) -> Path:
    file = folder / "it.toml"
    file.write_text(f'name = "it"\n{text}')
    pipeline = load_pipeline(file, load_plugins({}), assignments)
    return run(pipeline, load_plugins({}), folder / "runs", rehearsal=True, quiet=True).path


def weights(path: Path, checkpoint: str = "last") -> dict[str, torch.Tensor]:
    return open_run(path, checkpoint=checkpoint).model.state_dict()


@pytest.mark.parametrize("domain", DOMAINS)
def test_a_model_starts_from_a_trained_one_and_keeps_what_is_frozen(tmp_path, domain):
    text, change, frozen = DOMAINS[domain]
    parent = run_it(tmp_path, text)
    before = weights(parent, "best")

    after = weights(run_it(tmp_path, text, change, f"model.start={{run='{parent}'}}", f"model.freeze=['{frozen}']"))

    kept = [name for name in after if name.startswith(f"{frozen}.")]
    assert kept
    assert all(after[name].equal(before[name]) for name in kept)
    assert any(not after[name].equal(before[name]) for name in after if name not in kept)


@pytest.mark.parametrize("option", ["start={run='runs/x'}", "freeze=['weights']"])
def test_a_trainer_that_fits_at_once_refuses_both(tmp_path, option):
    with pytest.raises(PipelineError, match=r'has no effect with \[trainer\] use = "text.ngram_fit"'):
        run_it(tmp_path, COUNTED, f"model.{option}")


OWN_IMAGES = """
device = "cpu"
[data]
use = "vision.image_folder"
path = "photos"
size = 40
normalize = { mean = [0.485, 0.456, 0.406], std = [0.229, 0.224, 0.225] }
[model]
use = "vision.backbone"
name = "resnet18"
start = { file = "resnet18.pth" }
freeze = ["net.conv1", "net.bn1", "net.layer*"]
[trainer]
use = "core.supervised"
steps = 2
batch_size = 8
[evaluators.classes]
use = "core.classification"
"""


def test_a_network_of_torchvision_learns_classes_of_ones_own_images(tmp_path, monkeypatch):
    models = pytest.importorskip("torchvision.models", reason="torchvision is not installed")
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    for number, name in enumerate(("bee", "ant", "fly")):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for each in range(8):
            pixels = random.integers(number * 50, number * 50 + 90, (40, 40, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{each}.png")
    torch.manual_seed(3)
    file = models.resnet18().state_dict()
    torch.save(file, tmp_path / "resnet18.pth")

    path = run_it(tmp_path, OWN_IMAGES)
    for unneeded in (tmp_path / "resnet18.pth", tmp_path / "it.toml"):
        unneeded.unlink()
    trained = open_run(path)
    (answer,) = predict(trained, [("item 1", str(tmp_path / "photos" / "ant" / "1.png"))])

    own = trained.model.state_dict()
    trunk = [name for name in file if not name.startswith("fc.")]
    assert all(own[f"net.{name}"].equal(file[name]) for name in trunk)
    assert own["net.fc.weight"].shape == (3, 512)
    assert answer["label"] in ("ant", "bee", "fly")
    told = (path / "log.txt").read_text()
    assert '(names with "net." in front); new: net.fc.weight, net.fc.bias (num_classes is 3 here)' in told
    assert "Backbone: 11,178,051 parameters, 1,539 of them trained, on cpu" in told
