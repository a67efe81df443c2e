import numpy as np
import torch
from torch.testing import assert_close

from dlpipe_rl.priorities import FLOOR, Priorities


def drawn(priorities, count=20_000, beta=1.0):
    slots, weights = priorities.sample(count, beta, torch.Generator())
    return torch.from_numpy(slots), weights


def test_slots_are_sampled_in_proportion_to_their_priorities():
    priorities = Priorities(5, 1.0)
    priorities.set(np.array([0, 1, 3]), np.array([1.0, 3.0, 6.0]))

    shares = torch.bincount(drawn(priorities)[0], minlength=5) / 20_000

    assert_close(shares, torch.tensor([0.1, 0.3, 0, 0.6, 0]), atol=0.015, rtol=0)
    assert not shares[[2, 4]].any()


def test_importance_weights_correct_the_sampling_frequency():
    priorities = Priorities(5, 1.0)
    priorities.set(np.array([0, 3]), np.array([1.0, 4.0]))

    slots, weights = drawn(priorities)
    half = drawn(priorities, beta=0.5)[1]

    assert_close(weights[slots == 3].mean(), torch.tensor(0.25))
    assert_close(weights[slots == 0].mean(), torch.tensor(1.0))
    assert_close(half[slots == 3].mean(), torch.tensor(0.5))


def test_priorities_are_powers_of_the_errors():
    priorities = Priorities(6, 0.5)

    priorities.update(np.array([1, 2]), torch.tensor([4.0, 0.0]))

    assert_close(priorities.state_dict()["leaves"][[1, 2]], torch.tensor([2.0, FLOOR**0.5]).double(), rtol=1e-4, atol=0)


def test_new_transitions_get_the_highest_priority_and_overwritten_ones_0():
    priorities = Priorities(6, 1.0)
    priorities.update(np.array([0]), torch.tensor([5.0]))

    priorities.add([1, 2], [2, 0])
    priorities.add([3], [2])

    leaves = priorities.state_dict()["leaves"]
    assert_close(leaves, torch.tensor([0, 5 + FLOOR, 0, 5 + FLOOR, 0, 0]).double())


def test_the_sums_depend_on_the_leaves_only():
    random = np.random.default_rng(0)
    walked, restored = Priorities(100, 1.0), Priorities(100, 1.0)
    for _ in range(300):
        walked.set(random.integers(100, size=7), random.random(7) ** 9)

    restored.load_state_dict(walked.state_dict())

    assert np.array_equal(walked._sums, restored._sums)
    assert drawn(walked)[0].equal(drawn(restored)[0])


def test_one_slot_is_enough():
    priorities = Priorities(1, 1.0)
    priorities.set(np.array([0]), 2.0)

    assert not drawn(priorities, 3)[0].any()
