from collections import Counter
from random import Random

import numpy as np
import pytest

from dlpipe_generative.face_drawing import FACTORS, Hand, draw_face, factors_of

PLAIN = {name: next(iter(values)) for name, values in FACTORS.items()}


def drawn(size=32, seed=1, **changes):
    return np.array(draw_face(PLAIN | changes, Hand.of(Random(seed)), size)).astype(int)


@pytest.mark.parametrize("size", [32, 64])
def test_a_face_is_a_grey_picture_with_ink_on_paper(size):
    face = drawn(size)

    assert face.shape == (size, size)
    assert face.min() < 60
    assert face.max() == 255


@pytest.mark.parametrize(
    ("factor", "value"),
    [(factor, value) for factor, values in FACTORS.items() for value in values if value != PLAIN[factor]],
)
def test_every_value_of_a_factor_can_be_seen(factor, value):
    changed = np.abs(drawn() - drawn(**{factor: value})) > 60

    assert changed.sum() >= 8  # pixels


def test_screentone_is_behind_the_face():
    changed = np.abs(drawn() - drawn(screentone="dots")) > 60

    assert changed[:4].any()
    assert not changed[14:22, 12:20].any()


def test_the_same_hand_draws_the_same_and_another_another():
    assert np.array_equal(drawn(), drawn())
    assert not np.array_equal(drawn(), drawn(seed=2))


def test_factors_are_as_frequent_as_they_should_be_and_independent():
    random = Random(0)
    faces = [factors_of(random) for _ in range(4000)]

    for factor, shares in FACTORS.items():
        counts = Counter(face[factor] for face in faces)
        assert {value: pytest.approx(share, abs=0.03) for value, share in shares.items()} == {
            value: counts[value] / 4000 for value in shares
        }
    both = sum(face["glasses"] == "with" and face["hair"] == "spiky" for face in faces)
    assert both / 4000 == pytest.approx(0.35 * 0.2, abs=0.02)
