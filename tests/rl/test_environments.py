import numpy as np

from dlpipe_rl.returns import random_policy

from .conftest import Shifted, corridor


def test_random_actions_are_counted_from_0_whatever_the_space_says():
    data = corridor(Shifted)

    assert len(data.example_inputs("dev", 9)["obs"]) == 9
    assert data.caveats() == []
    assert set(random_policy(data)(np.zeros((20, 1)))[0].tolist()) == {0, 1}
