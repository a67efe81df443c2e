from __future__ import annotations

import re
from datetime import timedelta
from types import SimpleNamespace

import pytest
import torch
from torch import distributed, nn
from torch.testing import assert_close

from dlpipe.cli import make_program
from dlpipe.compute import Compute
from dlpipe.config.check import load_pipeline
from dlpipe.data import Batches, Columns
from dlpipe.errors import InputError, PipelineError
from dlpipe.launch import Launch, launched, usable_cores
from dlpipe.ranks import Ranks, _address_by_slurm, joined, wait_for_all
from dlpipe.registry.loading import load_plugins
from dlpipe.training.batch_norm import SyncedBatchNorm
from dlpipe.training.gradients import BUCKET_BYTES, GradientAverage, _buckets
from dlpipe.training.supervised import Supervised

CPU = Compute(torch.device("cpu"))


@pytest.mark.parametrize(("together", "expected"), [("", 6), ("4", 1), ("2", 3), ("9", 1), ("0", 6), ("many", 6)])
def test_processes_of_torchrun_share_the_cores(monkeypatch, together, expected):
    monkeypatch.setattr("os.sched_getaffinity", lambda process: range(6))

    assert usable_cores({"LOCAL_WORLD_SIZE": together}) == expected


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, Launch()),
        (
            {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "2"},
            Launch(3, 4, 1, "WORLD_SIZE"),
        ),
        (
            {"SLURM_PROCID": "1", "SLURM_STEP_NUM_TASKS": "2", "SLURM_LOCALID": "1"},
            Launch(1, 2, 1, "SLURM_STEP_NUM_TASKS"),
        ),
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "4"}, Launch()),  # the script of a job, outside of any srun
    ],
)
def test_how_a_process_was_started(environment, expected):
    assert launched(environment) == expected


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        (
            {"RANK": "two", "WORLD_SIZE": "4"},
            "the environment has RANK = 'two', WORLD_SIZE = '4', LOCAL_RANK = ''; expected the numbers of torchrun or "
            "srun",
        ),
        ({"RANK": "4", "WORLD_SIZE": "4"}, "the environment has RANK = 4, but WORLD_SIZE = 4"),
    ],
)
def test_what_is_no_rank_is_refused(environment, message):
    with pytest.raises(InputError) as caught:
        launched(environment)

    assert str(caught.value) == message


def test_a_rank_that_does_not_arrive_is_named():
    store = distributed.HashStore()
    store.set("arrived/2", "yes")

    with pytest.raises(InputError) as caught:
        wait_for_all(store, Launch(0, 4, 0, "WORLD_SIZE"), timedelta(milliseconds=10))

    assert str(caught.value) == (
        "rank 0 waited 0.01 s for rank 1, 3 of 4 (WORLD_SIZE); see whether those processes were started and reach this "
        "machine"
    )


def test_two_steps_of_a_slurm_job_meet_at_ports_of_their_own(monkeypatch):
    def port(step):
        for name, value in {"MASTER_ADDR": "127.0.0.1", "SLURM_JOB_ID": "1234567", "SLURM_STEP_ID": step}.items():
            monkeypatch.setenv(name, value)
        return dict(_address_by_slurm())["MASTER_PORT"]

    assert port("0") == port("0") != port("1")
    assert 20_000 <= int(port("1")) < 40_000


def test_a_meeting_point_that_cannot_be_reached_is_named(monkeypatch):
    monkeypatch.setattr("dlpipe.ranks.ARRIVAL", timedelta(milliseconds=10))
    for name, value in {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)

    with pytest.raises(InputError, match=r"rank 1 of 2 cannot reach the meeting point 127\.0\.0\.1:1 \(MASTER_ADDR"):
        joined("ddp").__enter__()


def test_a_rank_of_an_earlier_attempt_has_not_arrived(monkeypatch):
    store = distributed.HashStore()
    monkeypatch.setattr("dlpipe.ranks.rendezvous", lambda url, timeout: iter([(store, 0, 2)]))
    for name in ("ARRIVAL", "ANSWER"):
        monkeypatch.setattr(f"dlpipe.ranks.{name}", timedelta(milliseconds=10))

    for attempt, rank, missing in (("0", "1", "0"), ("1", "0", "1")):
        for name, value in {"RANK": rank, "WORLD_SIZE": "2", "TORCHELASTIC_RESTART_COUNT": attempt}.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(InputError, match=f"rank {rank} waited 0.01 s for rank {missing} of 2"):
            joined("ddp").__enter__()


def test_one_process_communicates_nothing():
    alone, tensor = Ranks(), torch.arange(3.0)

    assert alone.leads
    assert alone.total(tensor) is tensor
    assert alone.mean(tensor) is tensor
    assert alone.gather("this") == ["this"]
    assert alone.from_leader(lambda: 3) == alone.leader_first(lambda: 3) == 3


@pytest.mark.parametrize(("size", "expected"), [(2, [[0, 1, 2], [3, 4]]), (4, [[0, 1], [2], [3], [4]])])
def test_a_batch_is_shared_in_order(size, expected):
    assert [Ranks(rank, size).share(torch.arange(5)).tolist() for rank in range(size)] == expected


class Numbers(torch.utils.data.Dataset):
    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {"x": torch.tensor(index)}


class Endless(torch.utils.data.IterableDataset):
    def __iter__(self):
        return iter([{"x": torch.tensor(index)} for index in range(8)])


def make(kind: str):
    return {"columns": Columns({"x": torch.arange(8)}), "dataset": Numbers(), "stream": Endless()}[kind]


@pytest.mark.parametrize("kind", ["columns", "dataset"])  # a stream: tests/core/data/test_streams.py
def test_the_parts_of_all_ranks_are_the_batches_of_one(kind):
    whole = [batch["x"].tolist() for batch in Batches(make(kind), 3, CPU, seed=1).epoch(0)]
    parts = [
        [batch.get("x", torch.empty(0)).tolist() for batch in Batches(make(kind), 3, CPU, seed=1, ranks=each).epoch(0)]
        for each in (Ranks(rank, 3) for rank in range(3))
    ]

    assert [first + second + third for first, second, third in zip(*parts, strict=True)] == whole
    assert [len(part) for part in (parts[0][-1], parts[1][-1], parts[2][-1])] == [1, 1, 0]


@pytest.mark.parametrize("kind", ["columns", "dataset", "stream"])
def test_whole_batches_are_evaluated_in_turn(kind):
    taken = [
        [
            batch.get("x", torch.empty(0)).tolist()
            for batch in Batches(make(kind), 3, CPU, training=False, ranks=Ranks(rank, 2)).epoch(0)
        ]
        for rank in range(2)
    ]

    assert taken == [[[0, 1, 2], [], [6, 7]], [[], [3, 4, 5], []]]


def test_ranks_draw_other_random_numbers():
    def noisy(batch, generator, training):
        return batch | {"noise": torch.rand(1, generator=generator)}

    split = Columns({"x": torch.arange(8)}, prepare=noisy)
    first, second = (next(Batches(split, 4, CPU, ranks=Ranks(rank, 2)).epoch(0))["noise"] for rank in range(2))

    assert first != second


class Drawn(Numbers):
    """Numbers with a random one each."""

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return super().__getitem__(index) | {"noise": torch.rand(())}


def drawn(kind: str):
    def noisy(batch, generator, training):
        return batch | {"noise": torch.rand(len(batch["x"]), generator=generator)}

    return Columns({"x": torch.arange(8)}, prepare=noisy) if kind == "columns" else Drawn()


@pytest.mark.parametrize("kind", ["columns", "dataset"])
def test_an_evaluation_draws_the_same_random_numbers_on_any_number_of_ranks(kind):
    alone, *ranks = (
        list(Batches(drawn(kind), 3, CPU, training=False, ranks=each).epoch(0))
        for each in (Ranks(), Ranks(0, 2), Ranks(1, 2))
    )

    for whole, *turns in zip(alone, *ranks, strict=True):
        (own,) = filter(None, turns)
        assert_close(own, whole)


def test_gradients_are_sent_in_pieces_of_one_type_from_the_last():
    large = nn.Parameter(torch.zeros(BUCKET_BYTES // 4))
    small, half = nn.Parameter(torch.zeros(3)), nn.Parameter(torch.zeros(3, dtype=torch.float16))

    found = _buckets([small, half, large, small])

    assert [[id(each) for each in bucket] for bucket in found] == [[id(small), id(large)], [id(half)], [id(small)]]


@pytest.fixture
def two_alike(monkeypatch):
    """Two ranks that have the same."""

    class Echo(Ranks):
        def total(self, tensor):
            return tensor * self.size

    def all_reduce(tensor, *, async_op):
        tensor *= 2
        return SimpleNamespace(wait=lambda: None)

    monkeypatch.setattr(distributed, "all_reduce", all_reduce)
    return Echo(0, 2)


def step(average, loss):
    average.begin()
    loss.backward()
    average.finish()


def test_a_gradient_that_comes_late_is_refused(two_alike):
    used, late = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(3))
    average = GradientAverage([used, late], two_alike)
    step(average, 2 * used.sum())

    assert used.grad is not None
    assert used.grad.tolist() == [2.0, 2.0]
    assert late.grad is None
    with pytest.raises(InputError, match=r"a parameter of shape \(3,\) got its first gradient after the first step"):
        step(average, late.sum())


@pytest.mark.parametrize(
    ("others", "expected"), [([0.0, 0.0, 0.0, 0.0], None), ([3.0, 5.0, 7.0, 1.0], [1.5, 2.5, 3.5])]
)
def test_a_parameter_without_a_gradient_keeps_none_unless_another_rank_has_one(
    two_alike, monkeypatch, others, expected
):
    used, skipped = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(3))
    average = GradientAverage([used, skipped], two_alike)
    step(average, used.sum() + skipped.sum())
    used.grad = skipped.grad = None

    def all_reduce(tensor, *, async_op):  # of `skipped`, `used`, and whether there is a gradient of each
        tensor += torch.tensor([*others[:3], 1.0, 1.0, others[3], 1.0])
        return SimpleNamespace(wait=lambda: None)

    monkeypatch.setattr(distributed, "all_reduce", all_reduce)
    step(average, used.sum())

    assert used.grad is not None
    assert used.grad.tolist() == [1.0, 1.0]
    assert (skipped.grad if skipped.grad is None else skipped.grad.tolist()) == expected


def test_one_process_keeps_its_gradients():
    weights = nn.Parameter(torch.ones(2))
    average = GradientAverage([weights], Ranks())
    for _ in range(2):
        average.begin()
        weights.sum().backward()
        average.finish()

    assert weights.grad is not None
    assert weights.grad.tolist() == [2.0, 2.0]


def test_a_trainer_for_one_process_is_refused_by_name(tmp_path, root):
    file = tmp_path / "pipeline.toml"
    file.write_text(f'extends = "{root}/pipelines/dqn_cartpole.toml"\nparallel = "ddp"\n')

    with pytest.raises(PipelineError) as caught:
        load_pipeline(file, load_plugins())

    assert str(caught.value) == (
        f'{file}:2: parallel = "ddp": [trainer] use = "rl.dqn" trains in one process only; expected one of '
        "core.supervised, or leave `parallel` out"
    )


def compiled(model):
    model.compile()
    return model


class Scaled(nn.Linear):
    def __init__(self):
        super().__init__(2, 2)
        self.scale = nn.Parameter(torch.tensor(1.0))


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        (
            nn.Sequential(Scaled()),
            {},
            'parallel = "fsdp": the parameter 0.scale of Sequential is a single number, which cannot be cut; expected the '
            'shape (1,), or parallel = "ddp"',
        ),
        (
            nn.Sequential(nn.Embedding(3, 2, sparse=True)),
            {},
            'parallel = "fsdp": the layer 0 of Sequential has sparse gradients; expected dense ones, or parallel = "ddp"',
        ),
        *(
            (
                nn.Linear(2, 2),
                {"optimizer": {"use": name}},
                f'parallel = "fsdp": optimizer = "{name}" needs whole gradients; expected another one, or parallel = "ddp"',
            )
            for name in ("lbfgs", "adafactor", "rprop")
        ),
        (
            compiled(nn.Linear(2, 2)),
            {},
            'parallel = "fsdp": compile = true is not supported; expected one of them, or parallel = "ddp"',
        ),
    ],
)
def test_what_cannot_be_cut_is_refused(model, options, message):
    compute = Compute(torch.device("cpu"), ranks=Ranks(0, 2), shards=True)
    data = SimpleNamespace(splits=("train",), split=lambda _: Columns({"inputs": torch.zeros(4, 2)}))

    with pytest.raises(InputError) as error:
        Supervised(model, data, compute, 0, **options)

    assert str(error.value) == message


def test_cut_weights_in_float16_are_refused():
    compute = Compute(torch.device("cpu"), torch.float16, ranks=Ranks(0, 2), shards=True)
    data = SimpleNamespace(splits=("train",), split=lambda _: Columns({"inputs": torch.zeros(4, 2)}))

    with pytest.raises(InputError, match=re.escape('precision = "float16" needs whole gradients; expected "bfloat16"')):
        Supervised(nn.Linear(2, 2), data, compute, 0)


def test_a_model_without_batch_normalization_is_refused():
    with pytest.raises(InputError) as error:
        SyncedBatchNorm(nn.Linear(2, 2), Ranks())

    assert str(error.value) == (
        "sync_batch_norm = true: Linear has no batch normalization; expected a model with it, or leave it out"
    )


class Alone(Ranks):
    """One of two ranks, whose other one never has any example."""

    def total(self, values):
        return values


def test_a_single_value_per_channel_of_all_ranks_is_refused_as_torch_does():
    layer = nn.BatchNorm1d(3)
    SyncedBatchNorm(layer, Alone(0, 2))

    layer(torch.randn(2, 3))
    with pytest.raises(
        ValueError, match=r"Expected more than 1 value per channel when training, got input size .*1, 3"
    ):
        layer(torch.randn(1, 3))

    assert layer.num_batches_tracked == 1
    assert layer.running_var.isfinite().all()


def test_a_sweep_is_not_started_by_torchrun(tmp_path, root, monkeypatch):
    for name, value in {"RANK": "1", "WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)

    program = make_program(load_plugins())
    arguments = ["sweep", str(root / "pipelines" / "baselines_digits.toml")]

    with pytest.raises(InputError) as caught:
        program.main(arguments, standalone_mode=False, obj=load_plugins())

    assert str(caught.value) == (
        "dlpipe sweep starts its own processes, but 2 were started (WORLD_SIZE = 2), each of which would do so; start it "
        "once, or once in each of several jobs"
    )


def test_a_rank_with_another_version_is_named():
    class Mixed(Ranks):
        """The second rank has another torch."""

        def gather(self, own):
            return [own, own | {"torch": "2.0"}]

    with pytest.raises(InputError) as caught:
        Mixed(0, 2).require_same({"seed": 1, "torch": "2.14"}, "program or machine")

    assert str(caught.value) == (
        "rank 1 has another program or machine than rank 0: torch is '2.0' and '2.14'; expected the same code, packages, "
        "data and kind of device for all processes"
    )
