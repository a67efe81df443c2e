from collections import Counter
from random import Random

import numpy as np
import pytest

from dlpipe_generative.face_drawing import FACTORS, FaceVariation, draw_face, factors_of

PLAIN = {name: next(iter(values)) for name, values in FACTORS.items()}

#: A value of a factor: mean darkness (0 to 255), its center (row, column) and its standard deviations (rows, columns),
#: in sides of the picture.
DRAWN = {
    ("hair", "short"): [59.954, 0.46101, 0.52549, 0.16819, 0.17634],
    ("hair", "long"): [114.68, 0.56504, 0.46455, 0.24901, 0.25643],
    ("hair", "twintails"): [78.391, 0.53234, 0.53273, 0.18061, 0.24436],
    ("hair", "spiky"): [67.542, 0.4087, 0.46032, 0.18301, 0.19048],
    ("hair_tone", "black"): [60.451, 0.42552, 0.46702, 0.17023, 0.17483],
    ("hair_tone", "grey"): [48.381, 0.47757, 0.50309, 0.19035, 0.1875],
    ("hair_tone", "white"): [26.19, 0.58702, 0.51803, 0.16767, 0.18499],
    ("eyes", "round"): [58.418, 0.42522, 0.48009, 0.17295, 0.18088],
    ("eyes", "narrow"): [57.441, 0.45633, 0.48034, 0.17404, 0.17117],
    ("eyes", "closed"): [54.833, 0.41271, 0.50451, 0.18266, 0.17275],
    ("mouth", "smile"): [61.152, 0.44405, 0.50809, 0.16968, 0.17985],
    ("mouth", "flat"): [61.791, 0.43817, 0.49058, 0.17312, 0.18742],
    ("mouth", "open"): [60.911, 0.46367, 0.48674, 0.17616, 0.17728],
    ("glasses", "without"): [61.18, 0.43968, 0.48386, 0.18077, 0.18215],
    ("glasses", "with"): [70.405, 0.45667, 0.45875, 0.17895, 0.17888],
    ("screentone", "none"): [61.271, 0.41591, 0.52747, 0.16963, 0.18398],
    ("screentone", "dots"): [88.519, 0.44749, 0.48806, 0.23872, 0.24487],
    ("screentone", "stripes"): [102.81, 0.45999, 0.49958, 0.24335, 0.26072],
}


def face_pixels(size=32, seed=1, **changes):
    return np.array(draw_face(PLAIN | changes, FaceVariation.sample(Random(seed)), size)).astype(int)


@pytest.mark.parametrize("size", [32, 64])
def test_a_face_is_a_greyscale_picture_with_ink_on_paper(size):
    face = face_pixels(size)

    assert face.shape == (size, size)
    assert face.min() < 60
    assert face.max() == 255


@pytest.mark.parametrize(
    ("factor", "value"),
    [(factor, value) for factor, values in FACTORS.items() for value in values if value != PLAIN[factor]],
)
def test_every_value_of_a_factor_is_visible(factor, value):
    changed = np.abs(face_pixels() - face_pixels(**{factor: value})) > 60

    assert changed.sum() >= 8  # pixels


def darkness(pixels):
    """Return the mean darkness, its center and its standard deviations."""
    dark = 255 - pixels
    places = np.indices(dark.shape) / len(dark)
    center = (dark * places).sum((1, 2)) / dark.sum()
    variance = (dark * (places - center[:, None, None]) ** 2).sum((1, 2)) / dark.sum()
    return [dark.mean(), *center, *np.sqrt(variance)]


@pytest.mark.parametrize(("seed", "case"), list(enumerate(DRAWN)), ids=map("-".join, DRAWN))
def test_a_face_is_drawn_as_in_the_published_measurements(seed, case):
    factor, value = case

    assert darkness(face_pixels(64, seed, **{factor: value})) == pytest.approx(DRAWN[case], rel=2e-3)


def test_screentone_is_behind_the_face():
    changed = np.abs(face_pixels() - face_pixels(screentone="dots")) > 60

    assert changed[:4].any()
    assert not changed[14:22, 12:20].any()


def test_a_drawing_depends_on_the_seed_of_its_variation():
    assert np.array_equal(face_pixels(), face_pixels())
    assert not np.array_equal(face_pixels(), face_pixels(seed=2))


def test_factors_have_their_frequencies_and_are_independent():
    random = Random(0)
    faces = [factors_of(random) for _ in range(4000)]

    for factor, shares in FACTORS.items():
        counts = Counter(face[factor] for face in faces)
        assert {value: pytest.approx(share, abs=0.03) for value, share in shares.items()} == {
            value: counts[value] / 4000 for value in shares
        }
    both = sum(face["glasses"] == "with" and face["hair"] == "spiky" for face in faces)
    assert both / 4000 == pytest.approx(0.35 * 0.2, abs=0.02)
