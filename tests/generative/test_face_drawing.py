from collections import Counter
from random import Random

import numpy as np
import pytest

from dlpipe_generative.face_drawing import FACTORS, FaceVariation, draw_face, factors_of

PLAIN = {name: next(iter(values)) for name, values in FACTORS.items()}


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
