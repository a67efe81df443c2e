import numpy as np
import pytest
import torch

from dlpipe.errors import InputError
from dlpipe.runs.checkpoint import StateBlock
from dlpipe_rl import replay_buffer as module
from dlpipe_rl.replay_buffer import ReplayBuffer

from .conftest import CPU, EndsTwice, corridor

GAMMA = 0.5


def replay(size=50, num_envs=1, frame_stack=1, n_step=1, **options):
    return ReplayBuffer(
        size, num_envs, (1,), torch.float32, frame_stack=frame_stack, n_step=n_step, gamma=GAMMA, compute=CPU, **options
    )


def filled(actions, kept=None, num_envs=1, **options):
    """Return a replay of the corridor walked with `actions`, one list per environment."""
    environment = {name: options.pop(name) for name in ("kind", "length", "cut") if name in options}
    stack = options.get("frame_stack", 1)
    kept = kept or replay(num_envs=num_envs, **options)
    envs = corridor(frame_stack=stack, **environment).training_envs(num_envs, 0)
    kept.start(envs.reset())
    for each in zip(*actions, strict=True):
        result = envs.step(each)
        kept.add(np.array(each), result.rewards, result.terminated, result.obs, result.final_obs)
    return kept


def transitions_of(kept):
    """Return all transitions that can be sampled, by their slots."""
    return kept.at(np.sort(kept._starts[: kept._count]))


def test_a_transition_has_the_observations_before_and_after_it():
    transitions = transitions_of(filled([[1, 0, 1]], length=9))

    assert transitions.obs.tolist() == [[0], [1], [1]]
    assert transitions.next_obs.tolist() == [[1], [1], [2]]
    assert transitions.actions.tolist() == [[1], [0], [1]]
    assert transitions.returns.tolist() == [1, 1, 2]
    assert transitions.discounts.tolist() == [GAMMA] * 3


def test_batches_of_other_sizes_have_their_own_observations():
    kept = filled([[1, 0, 1]], length=9)
    slots = np.sort(kept._starts[: kept._count])

    for wanted in ([0, 1, 2], [2], [1, 1, 0, 2], [0]):
        transitions = kept.at(slots[wanted])

        assert transitions.obs.tolist() == [[[0], [1], [1]][number] for number in wanted]
        assert transitions.next_obs.tolist() == [[[1], [1], [2]][number] for number in wanted]


def test_the_discount_is_0_after_termination_but_not_after_truncation():
    ended = transitions_of(filled([[1, 1, 1]], length=2))
    cut = transitions_of(filled([[1, 1, 1]], length=9, cut=2))

    assert ended.discounts.tolist() == [GAMMA, 0, GAMMA]
    assert cut.discounts.tolist() == [GAMMA] * 3
    assert cut.next_obs.tolist() == [
        [1],
        [2],
        [1],
    ]  # 2, the final observation, not 0, the first one of the next episode


def test_an_episode_that_terminates_as_its_time_is_up_has_terminated():
    both = transitions_of(filled([[1, 1, 1]], kind=EndsTwice, length=2, cut=2))

    assert both.discounts.tolist() == [GAMMA, 0, GAMMA]
    assert both.next_obs.tolist() == [[1], [2], [1]]


def test_n_step_returns_stop_at_termination():
    transitions = transitions_of(filled([[1, 1, 1, 1]], length=3, n_step=2))

    # Rewards 1, 2, 3 and the end; then 1 of the next episode, of which no more is known.
    assert transitions.returns.tolist() == [1 + 0.5 * 2, 2 + 0.5 * 3, 3, 1]
    assert transitions.discounts.tolist() == [0.25, 0, 0, 0.5]
    assert transitions.next_obs.tolist()[0] == [2]
    assert transitions.next_obs.tolist()[3] == [1]


def test_n_step_returns_stop_at_truncation_and_bootstrap_there():
    transitions = transitions_of(filled([[1, 1, 1]], length=9, cut=3, n_step=5))

    assert transitions.returns.tolist() == [1 + 0.5 * 2 + 0.25 * 3, 2 + 0.5 * 3, 3]
    assert transitions.discounts.tolist() == [0.125, 0.25, 0.5]
    assert transitions.next_obs.tolist() == [[3], [3], [3]]


def test_stacks_contain_only_frames_of_their_episode():
    transitions = transitions_of(filled([[1, 1, 1, 1]], length=2, frame_stack=3))

    assert transitions.obs.tolist() == [[0, 0, 0], [0, 0, 1], [0, 0, 0], [0, 0, 1]]
    assert transitions.next_obs.tolist() == [[0, 0, 1], [0, 1, 2], [0, 0, 1], [0, 1, 2]]


def test_a_stack_may_have_more_frames_than_a_byte_counts():
    transitions = transitions_of(filled([[1, 0, 0, 0] * 75], length=90, frame_stack=300))

    assert transitions.next_obs[-1].tolist() == [(timestep + 3) // 4 for timestep in range(1, 301)]


@pytest.mark.parametrize("frame_stack", [1, 3])
@pytest.mark.parametrize("n_step", [1, 3])
def test_a_buffer_that_wrapped_around_returns_the_transitions_of_a_large_one(frame_stack, n_step):
    random = np.random.default_rng(0)
    actions = random.integers(2, size=(2, 200)).tolist()
    options = {"length": 7, "cut": 11, "frame_stack": frame_stack, "n_step": n_step}

    small = filled(actions, replay(40, 2, frame_stack, n_step), num_envs=2, **options)
    large = filled(actions, replay(2000, 2, frame_stack, n_step), num_envs=2, **options)

    few, all_ = transitions_of(small), transitions_of(large)
    rows = {(*row.tolist(),) for row in as_rows(all_)}
    assert 25 <= len(few.slots) <= 40
    assert {(*row.tolist(),) for row in as_rows(few)} <= rows
    # The newest transition of each environment is among them.
    for index in range(2):
        newest = [transitions_of(kept) for kept in (small, large)]
        last = [
            as_rows(transitions)[previous(kept, index, transitions)]
            for kept, transitions in zip((small, large), newest, strict=True)
        ]
        assert last[0].tolist() == last[1].tolist()


def as_rows(transitions):
    parts = (
        transitions.obs,
        transitions.next_obs,
        transitions.actions,
        transitions.returns[:, None],
        transitions.discounts[:, None],
    )
    return torch.cat([part.double() for part in parts], dim=1)


def previous(kept, index, transitions):
    """Return the row of the newest transition of an environment."""
    head = kept._heads[index]
    for back in range(1, 4):
        slot = (head - back * 2) % kept.slots
        if kept._positions[slot] >= 0:
            return transitions.slots.tolist().index(slot)
    raise AssertionError("no transition")


def test_frames_that_torch_gathers_are_those_that_numpy_gathers(monkeypatch):
    few = transitions_of(filled([[1, 1, 0, 1, 1, 1, 0]], length=4, frame_stack=3))
    monkeypatch.setattr(module, "SMALL", 0)
    large = transitions_of(filled([[1, 1, 0, 1, 1, 1, 0]], length=4, frame_stack=3))

    assert few.obs.shape == (7, 3)
    assert torch.equal(large.obs, few.obs)
    assert torch.equal(large.next_obs, few.next_obs)


def test_every_transition_is_sampled_and_nothing_else():
    kept = filled([[1, 1, 0, 1, 1, 1, 0]], length=2)

    slots = kept.sample(500, torch.Generator()).slots
    counts = np.bincount(slots, minlength=kept.slots)

    assert counts.nonzero()[0].tolist() == transitions_of(kept).slots.tolist()
    assert counts[counts > 0].min() > 40


def test_overwritten_transitions_are_returned():
    kept = replay(4, 1, frame_stack=2)
    kept.start(np.zeros((1, 2), np.float32))

    told = [kept.add(np.array([0]), *nothing(), obs(number), {}) for number in range(1, 8)]

    still = set(transitions_of(kept).slots.tolist())
    made, lost = {int(slot) for slots, _ in told for slot in slots}, told[-1][1]
    assert made == set(range(kept.slots))
    assert not still & set(lost)
    assert len(still) == 4


def nothing():
    return [0.0], [False]


def obs(number):
    return np.full((1, 2), number, np.float32)


@pytest.mark.parametrize("frame_stack", [1, 4])
def test_a_restored_replay_buffer_samples_the_same_transitions(monkeypatch, frame_stack):
    monkeypatch.setattr(module, "BLOCK_BYTES", 60)  # 15 frames
    actions = np.random.default_rng(0).integers(2, size=(2, 70)).tolist()
    kept = filled(actions, replay(60, 2, frame_stack), num_envs=2, length=5, frame_stack=frame_stack)
    other = replay(60, 2, frame_stack)
    assert set(kept._current_ages) != {0}  # an episode has begun whose first frames are part of later stacks

    other.load_state_dict(kept.state_dict())
    other.load_state_blocks((name, dict(block.tensors)) for name, block in kept.state_blocks().items())

    for each in (kept, other):
        for number in range(3):
            seen = np.full((2, frame_stack), 70 + number, np.float32)
            each.add(np.array([1, 0]), *(2 * part for part in nothing()), seen, {})
    one, two = (each.sample(30, torch.Generator()) for each in (kept, other))
    assert as_rows(one).equal(as_rows(two))
    assert as_rows(transitions_of(kept)).equal(as_rows(transitions_of(other)))


def test_the_state_grows_with_the_number_of_transitions(tmp_path):
    kept = filled([[1, 0, 1, 1]], replay(100_000), length=9)

    torch.save(kept.state_dict(), tmp_path / "state.pt")

    assert (tmp_path / "state.pt").stat().st_size < 10_000


def test_writing_to_a_block_changes_its_version(monkeypatch):
    monkeypatch.setattr(module, "BLOCK_BYTES", 20)  # 5 frames
    kept = filled([[0, 0, 0, 0, 0, 0, 0]], length=9)
    before = kept.state_blocks()

    kept.add(np.array([1]), *nothing(), np.ones((1, 1), np.float32), {})
    after = kept.state_blocks()

    assert all(isinstance(block, StateBlock) for block in after.values())
    assert list(before) == list(after) == ["replay-00000", "replay-00001"]
    assert before["replay-00000"].version == after["replay-00000"].version
    assert before["replay-00001"].version < after["replay-00001"].version
    assert [len(block.tensors["frames"]) for block in after.values()] == [5, 4]


def test_a_million_atari_frames_take_little_more_than_their_bytes():
    kept = ReplayBuffer(1_000_000, 8, (1, 84, 84), torch.uint8, frame_stack=4, compute=CPU, storage="auto")

    numbers = [*kept._columns.values(), kept._starts, kept._positions, kept._next_slots]
    assert kept._storage.nbytes + sum(tensor.nbytes for tensor in numbers) <= 7.5e9
    assert kept.description.startswith("replay of 1,000,032 frames: 7.06 GB ")
    kept.close()


def test_a_replay_buffer_larger_than_the_disk_is_refused():
    with pytest.raises(InputError, match=r"GB are needed; .* are free; lower replay_size = 10,000,000,000"):
        ReplayBuffer(10_000_000_000, 1, (1, 84, 84), torch.uint8, compute=CPU)
