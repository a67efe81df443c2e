from itertools import islice

import pytest
import torch
from safetensors.torch import load, save
from torch.testing import assert_close

from dlpipe.compute import Compute
from dlpipe.training.supervised import Supervised
from dlpipe_generative.autoencoder import AutoEncoder
from dlpipe_generative.principal_components import PrincipalComponents

SHAPE, UNIT = (1, 4, 6), (0.0, 1.0)


def tiny(**options):
    torch.manual_seed(0)
    return AutoEncoder(SHAPE, UNIT, **{"hidden": (7, 5), "latent_dim": 3, **options})


def images(count=8):
    return torch.rand(count, *SHAPE, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("net", ["dense", "conv"])
def test_a_reconstruction_has_the_shape_of_the_image_and_pixels_from_0_to_1(net):
    model = tiny(net=net, hidden=(5,))

    reconstructed = model(images())

    assert reconstructed.shape == (8, *SHAPE)
    assert model.encode(images()).shape == (8, 3)
    assert 0 <= reconstructed.min() <= reconstructed.max() <= 1


def test_generating_from_the_code_of_an_image_equals_the_forward_pass():
    model = tiny().train()
    for _ in range(5):
        model(images() * 3)  # so that the codes have a mean and a deviation
    model.eval()

    assert_close(model.generate(model.encode(images())), model(images()))


def test_codes_of_training_images_have_mean_0_and_deviation_1():
    model = tiny().train()
    for _ in range(200):
        model(images())

    codes = model.eval().encode(images())

    assert_close(codes.mean(0), torch.zeros(3), atol=1e-3, rtol=0)
    assert_close(codes.std(0), torch.ones(3), atol=1e-3, rtol=0)


def test_codes_of_images_that_never_vary_are_close_to_their_mean():
    model, blank = tiny().train(), torch.ones(8, *SHAPE)
    for _ in range(300):
        model(blank)

    codes = model.eval().encode(blank)

    assert codes.abs().max() < 1, "a deviation of 0 would divide errors of rounding"


def test_noise_is_added_in_training_only():
    model = tiny(noise=0.5)

    assert not torch.equal(model(images()), model(images()))
    model.eval()
    assert_close(model(images()), model(images()))


def test_a_linear_auto_encoder_becomes_a_principal_component_analysis(stripes):
    columns = stripes.split("train").columns
    model = tiny(hidden=(), output="linear")
    optimizer = {"use": "lbfgs", "max_iter": 100, "line_search_fn": "strong_wolfe", "tolerance_change": 1e-12}
    trainer = Supervised(model, stripes, Compute(torch.device("cpu")), 0, batch_size="full", optimizer=optimizer)

    list(islice(trainer.steps(), 10))

    model.eval()
    known = columns["images"]
    linear = PrincipalComponents.fit(known, 3).reconstruct(known)
    assert_close(model.loss(model(known), known).double(), (linear - known).square().mean(), atol=1e-5, rtol=0)


def test_one_batch_can_be_memorized():
    model, batch = tiny(latent_dim=8, hidden=(64,)), images()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(400):
        optimizer.zero_grad()
        model.loss(model(batch), batch).backward()
        optimizer.step()

    assert model.loss(model.eval()(batch), batch) < 1e-3


def test_weights_and_statistics_of_codes_are_saved():
    model = tiny().train()
    model(images())
    other = AutoEncoder(SHAPE, UNIT, hidden=(7, 5), latent_dim=3)

    other.load_state_dict(load(save(model.state_dict())))

    latent = torch.ones(2, 3)
    assert_close(other.eval().generate(latent), model.eval().generate(latent))


def test_data_with_another_pixel_range_is_rejected_with_the_setting_to_change():
    with pytest.raises(
        ValueError, match=r'pixels from 0 to 1, but those of the data range from -1 to 1; set normalize = "unit"'
    ):
        AutoEncoder(SHAPE, (-1.0, 1.0))


def test_too_many_convolutions_are_rejected():
    with pytest.raises(ValueError, match=r"images of 4×6 pixels can be halved 1 times; expected 1 to 1 convolutions"):
        tiny(net="conv", hidden=(4, 8))


def test_an_image_that_cannot_be_halved_is_rejected():
    with pytest.raises(ValueError, match=r"images of 5×7 pixels cannot be halved"):
        AutoEncoder((1, 5, 7), UNIT, net="conv", hidden=(4,))
