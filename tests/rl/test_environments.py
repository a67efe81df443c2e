import numpy as np
import pytest
from gymnasium import spaces

from dlpipe_rl.returns import random_policy

from .conftest import Sampler, Shifted, corridor


def test_random_actions_are_counted_from_0_whatever_the_space_says():
    data = corridor(Shifted)

    assert len(data.example_inputs("dev", 9)["obs"]) == 9
    assert data.caveats() == []
    assert set(random_policy(data)(np.zeros((20, 1)))[0].tolist()) == {0, 1}


@pytest.mark.parametrize("shape", [(9, 8, 1), (8, 9, 2), (8, 9, 6), (12, 13, 9), (9, 3, 2)])
def test_images_are_transposed_if_their_last_axis_is_the_shortest(shape):
    env = Sampler(spaces.Box(0, 255, shape, np.uint8))
    data = corridor(lambda render_mode: env)

    assert data.facts["obs_shape"] == (shape[2], *shape[:2])
    obs, _ = data.make().reset(seed=3)
    assert np.array_equal(obs, np.moveaxis(env.reset(seed=3)[0], 2, 0))


@pytest.mark.parametrize("shape", [(1, 9, 8), (6, 8, 9), (3, 3, 3), (4, 9, 4), (9, 3, 4)])
def test_other_images_stay_as_they_are(shape):
    assert corridor(Sampler, obs=spaces.Box(0, 255, shape, np.uint8)).facts["obs_shape"] == shape
