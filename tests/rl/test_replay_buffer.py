import numpy as np
import pytest
import torch

from dlpipe.errors import InputError
from dlpipe.runs.checkpoint import StateBlock
from dlpipe_rl import replay_buffer as module
from dlpipe_rl.replay_buffer import ReplayBuffer

from .conftest import CPU, corridor

GAMMA = 0.5


def replay(size=50, players=1, frame_stack=1, n_step=1, **options):
    return ReplayBuffer(
        size, players, (1,), torch.float32, frame_stack=frame_stack, n_step=n_step, gamma=GAMMA, compute=CPU, **options
    )


def filled(actions, kept=None, players=1, **options):
    """Return a replay of the corridor walked with `actions`, one list for each player."""
    environment = {name: options.pop(name) for name in ("length", "cut") if name in options}
    stack = options.get("frame_stack", 1)
    kept = kept or replay(players=players, **options)
    playing = corridor(frame_stack=stack, **environment).training_envs(players, 0)
    kept.start(playing.reset())
    for each in zip(*actions, strict=True):
        moves = playing.step(each)
        kept.add(np.array(each), moves.rewards, moves.terminated, moves.obs, moves.final_obs)
    return kept


def moves_of(kept):
    """Return all moves that can be sampled, by their slots."""
    return kept.at(kept._starts[: kept._count].sort().values)


def test_a_move_knows_what_was_seen_before_and_after():
    moves = moves_of(filled([[1, 0, 1]], length=9))

    assert moves.obs.tolist() == [[0], [1], [1]]
    assert moves.next_obs.tolist() == [[1], [1], [2]]
    assert moves.actions.tolist() == [1, 0, 1]
    assert moves.returns.tolist() == [1, 1, 2]
    assert moves.discounts.tolist() == [GAMMA] * 3


def test_behind_an_end_there_is_nothing_and_behind_a_cut_there_is():
    ended = moves_of(filled([[1, 1, 1]], length=2))
    cut = moves_of(filled([[1, 1, 1]], length=9, cut=2))

    assert ended.discounts.tolist() == [GAMMA, 0, GAMMA]
    assert cut.discounts.tolist() == [GAMMA] * 3
    assert cut.next_obs.tolist() == [[1], [2], [1]]  # 2, where it was cut off, not 0, where the next one begins


def test_n_rewards_are_summed_up_to_the_end_of_the_episode():
    moves = moves_of(filled([[1, 1, 1, 1]], length=3, n_step=2))

    # Rewards 1, 2, 3 and the end; then 1 of the next episode, of which no more is known.
    assert moves.returns.tolist() == [1 + 0.5 * 2, 2 + 0.5 * 3, 3, 1]
    assert moves.discounts.tolist() == [0.25, 0, 0, 0.5]
    assert moves.next_obs.tolist()[0] == [2]
    assert moves.next_obs.tolist()[3] == [1]


def test_n_rewards_are_summed_up_to_a_cut_with_the_value_behind_it():
    moves = moves_of(filled([[1, 1, 1]], length=9, cut=3, n_step=5))

    assert moves.returns.tolist() == [1 + 0.5 * 2 + 0.25 * 3, 2 + 0.5 * 3, 3]
    assert moves.discounts.tolist() == [0.125, 0.25, 0.5]
    assert moves.next_obs.tolist() == [[3], [3], [3]]


def test_stacks_are_put_together_within_their_episode():
    moves = moves_of(filled([[1, 1, 1, 1]], length=2, frame_stack=3))

    assert moves.obs.tolist() == [[0, 0, 0], [0, 0, 1], [0, 0, 0], [0, 0, 1]]
    assert moves.next_obs.tolist() == [[0, 0, 1], [0, 1, 2], [0, 0, 1], [0, 1, 2]]


@pytest.mark.parametrize("frame_stack", [1, 3])
@pytest.mark.parametrize("n_step", [1, 3])
def test_a_ring_that_has_gone_round_gives_what_a_large_one_gives(frame_stack, n_step):
    random = np.random.default_rng(0)
    actions = random.integers(2, size=(2, 200)).tolist()
    options = {"length": 7, "cut": 11, "frame_stack": frame_stack, "n_step": n_step}

    small = filled(actions, replay(40, 2, frame_stack, n_step), players=2, **options)
    large = filled(actions, replay(2000, 2, frame_stack, n_step), players=2, **options)

    few, all_ = moves_of(small), moves_of(large)
    rows = {(*row.tolist(),) for row in as_rows(all_)}
    assert 25 <= len(few.slots) <= 40
    assert {(*row.tolist(),) for row in as_rows(few)} <= rows
    # The newest move of each player is among them.
    for player in range(2):
        newest = [moves_of(kept) for kept in (small, large)]
        last = [
            as_rows(moves)[previous(kept, player, moves)] for kept, moves in zip((small, large), newest, strict=True)
        ]
        assert last[0].tolist() == last[1].tolist()


def as_rows(moves):
    parts = (moves.obs, moves.next_obs, moves.actions[:, None], moves.returns[:, None], moves.discounts[:, None])
    return torch.cat([part.double() for part in parts], dim=1)


def previous(kept, player, moves):
    """Return the row of the newest move of a player."""
    head = kept._heads[player]
    for back in range(1, 4):
        slot = (head - back * 2) % kept.slots
        if kept._positions[slot] >= 0:
            return moves.slots.tolist().index(slot)
    raise AssertionError("no move")


def test_every_move_is_drawn_and_nothing_else():
    kept = filled([[1, 1, 0, 1, 1, 1, 0]], length=2)

    slots = kept.sample(500, torch.Generator()).slots
    counts = slots.bincount(minlength=kept.slots)

    assert counts.nonzero().ravel().tolist() == moves_of(kept).slots.tolist()
    assert counts[counts > 0].min() > 40


def test_moves_that_are_gone_are_told():
    kept = replay(4, 1, frame_stack=2)
    kept.start(np.zeros((1, 2), np.float32))

    told = [kept.add(np.array([0]), *nothing(), obs(number), {}) for number in range(1, 8)]

    still = set(moves_of(kept).slots.tolist())
    made, lost = {int(slot) for slots, _ in told for slot in slots}, told[-1][1]
    assert made == set(range(kept.slots))
    assert not still & set(lost)
    assert len(still) == 4


def nothing():
    return [0.0], [False]


def obs(number):
    return np.full((1, 2), number, np.float32)


def test_a_restored_replay_goes_on_alike(monkeypatch):
    monkeypatch.setattr(module, "BLOCK_BYTES", 60)  # 15 frames
    actions = np.random.default_rng(0).integers(2, size=(2, 70)).tolist()
    kept = filled(actions, replay(60, 2), players=2, length=5)
    other = replay(60, 2)

    other.load_state_dict(kept.state_dict())
    other.load_state_blocks((name, dict(block.tensors)) for name, block in kept.state_blocks().items())

    for each in (kept, other):
        each.add(np.array([1, 0]), *(2 * part for part in nothing()), np.ones((2, 1), np.float32), {})
    one, two = (each.sample(30, torch.Generator()) for each in (kept, other))
    assert as_rows(one).equal(as_rows(two))


def test_a_state_takes_as_much_as_there_are_moves(tmp_path):
    kept = filled([[1, 0, 1, 1]], replay(100_000), length=9)

    torch.save(kept.state_dict(), tmp_path / "state.pt")

    assert (tmp_path / "state.pt").stat().st_size < 10_000


def test_a_block_has_another_version_when_it_was_written_to(monkeypatch):
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


def test_a_million_frames_of_atari_take_little_more_than_their_bytes():
    kept = ReplayBuffer(1_000_000, 8, (1, 84, 84), torch.uint8, frame_stack=4, compute=CPU, storage="auto")

    numbers = [*kept._columns.values(), kept._starts, kept._positions, kept._next_slots]
    assert kept._storage.nbytes + sum(tensor.nbytes for tensor in numbers) <= 7.5e9
    assert kept.description.startswith("replay of 1,000,032 frames: 7.06 GB ")
    kept.close()


def test_a_replay_that_fits_nowhere_is_refused_before_it_is_made():
    with pytest.raises(InputError, match=r"GB are needed; .* are free; lower replay_size = 10,000,000,000"):
        ReplayBuffer(10_000_000_000, 1, (1, 84, 84), torch.uint8, compute=CPU)
