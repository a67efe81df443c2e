import io
import os
import random

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from dlpipe.compute import (
    Compute,
    available_memory,
    configure_torch,
    derived_seed,
    randomness,
    restore_randomness,
    restoring_torch,
    seed_everything,
)
from dlpipe.config.settings import Settings
from dlpipe.errors import InputError


def draw():
    """Draw once from every global generator."""
    return random.random(), random.gauss(), float(np.random.rand()), float(np.random.randn()), float(torch.rand(()))


@pytest.fixture
def one_gpu(monkeypatch):
    """A machine that says it has one GPU, cuda:0."""
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: torch.device("cuda"))
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 1)
    current = [0]
    monkeypatch.setattr(torch.accelerator, "current_device_index", lambda: current[0])
    monkeypatch.setattr(torch.accelerator, "set_device_index", lambda index: current.__setitem__(0, index))


@pytest.fixture
def no_gpu(monkeypatch):
    """A machine that says it has no GPU."""
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)


def test_tf32_is_allowed_only_while_the_pipeline_says_so(one_gpu):
    for tf32 in (True, False):
        configure_torch(Settings(name="x", tf32=tf32))

        assert torch.backends.cuda.matmul.allow_tf32 == torch.backends.cudnn.allow_tf32 == tf32
        assert (torch.get_float32_matmul_precision() == "highest") != tf32  # what torch's compiler reads


def test_evaluations_take_as_many_examples_together_as_the_pipeline_says():
    assert configure_torch(Settings("x", device="cpu", evaluation_batch_size=7)).evaluation_batch_size == 7


def write_control_group(folder, limit):
    """A control group that uses 400 bytes, 100 of them for a cache."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "memory.max").write_text(f"{limit}\n")
    (folder / "memory.current").write_text("400\n")
    (folder / "memory.stat").write_text("anon 5\ninactive_file 100\n")


@pytest.mark.parametrize(
    ("container", "job", "process", "left"),
    [
        ("1000", "max", "", 700),
        ("max", "900", "/", 600),
        ("1000", "900", "/step_0", 600),
        ("500", "900", "/step_0", 200),
    ],
)
def test_memory_that_a_container_or_a_job_leaves_counts(monkeypatch, tmp_path, container, job, process, left):
    write_control_group(tmp_path / "cgroup", container)
    write_control_group(tmp_path / "cgroup" / "job_7", job)
    (tmp_path / "cgroup" / "job_7" / "step_0").mkdir()  # without a controller of memory
    (tmp_path / "own").write_text(f"4:memory:/old\n0::{'/job_7' + process if process else '/'}\n")
    monkeypatch.setattr("dlpipe.compute.CONTROL_GROUP", tmp_path / "cgroup")
    monkeypatch.setattr("dlpipe.compute.PROCESS_GROUPS", tmp_path / "own")

    assert available_memory(torch.device("cpu")) == left


def test_memory_without_limits_is_that_of_the_host(monkeypatch, tmp_path):
    write_control_group(tmp_path, "max")
    monkeypatch.setattr("dlpipe.compute.CONTROL_GROUP", tmp_path)

    assert available_memory(torch.device("cpu")) > 2**20


def test_weights_are_not_cut_for_one_process(no_gpu):
    assert not configure_torch(Settings("x", parallel="fsdp")).shards


def test_a_derived_seed_never_changes():
    assert derived_seed(7, "order", 3) == 38809191718001963


def test_a_derived_seed_depends_on_every_part():
    seeds = {
        derived_seed(7, "order", 3),
        derived_seed(8, "order", 3),
        derived_seed(7, "x", 3),
        derived_seed(7, "order", 4),
    }

    assert len(seeds) == 4
    assert derived_seed(1, 23) != derived_seed(12, 3)


def test_the_same_seed_gives_the_same_draws():
    seed_everything(2**40 + 5)
    first = draw()
    seed_everything(2**40 + 5)

    assert draw() == first


def test_randomness_comes_back_from_a_file_that_runs_no_code():
    seed_everything(5)
    draw()  # so that a second gaussian number is waiting in each generator
    file = io.BytesIO()
    torch.save(randomness(), file)
    expected = [draw() for _ in range(3)]

    seed_everything(6)
    restore_randomness(torch.load(io.BytesIO(file.getvalue()), weights_only=True))

    assert [draw() for _ in range(3)] == expected


def test_randomness_of_a_machine_with_more_devices_can_be_restored(monkeypatch):
    restored = []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "set_rng_state", lambda state, index: restored.append(index))
    state = randomness() | {"cuda": [torch.zeros(16, dtype=torch.uint8)] * 2}

    restore_randomness(state)

    assert restored == [0]


@pytest.mark.parametrize("name", ["auto", "cuda", "cuda:0"])
def test_a_device_has_its_index(one_gpu, name):
    compute = configure_torch(Settings("x", device=name))

    assert compute.device == torch.device("cuda:0")  # as tensors that were moved there say


def test_the_device_is_the_current_one_as_long_as_the_run(one_gpu, monkeypatch):
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 2)

    with restoring_torch():
        configure_torch(Settings("x", device="cuda:1"))

        assert torch.accelerator.current_device_index() == 1  # for which torch.accelerator.synchronize() waits
    assert torch.accelerator.current_device_index() == 0


def test_auto_is_the_cpu_where_there_is_nothing_else(no_gpu):
    assert configure_torch(Settings("x")).device == torch.device("cpu")


@pytest.mark.parametrize("name", ["cuda", "cuda:1", "mps"])
def test_a_device_that_is_not_there_is_an_error(no_gpu, name):
    with pytest.raises(InputError, match=rf'device = "{name}": this machine has none of that kind; expected "auto"'):
        configure_torch(Settings("x", device=name))


def test_a_device_beyond_the_last_one_is_an_error(one_gpu):
    with pytest.raises(InputError, match=r'device = "cuda:1": this machine has 1 of that kind'):
        configure_torch(Settings("x", device="cuda:1"))


def test_threads_are_set(monkeypatch):
    asked = []
    monkeypatch.setattr(torch, "set_num_threads", asked.append)

    configure_torch(Settings("x", device="cpu", threads=3))

    assert asked == [3]


def test_determinism_is_asked_for_with_what_cublas_needs(monkeypatch):
    asked = []
    monkeypatch.setattr(torch, "use_deterministic_algorithms", asked.append)
    monkeypatch.setattr(os, "environ", {})

    configure_torch(Settings("x", device="cpu", deterministic=True))

    assert asked == [True]
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"


def test_float32_runs_without_autocast():
    with Compute(torch.device("cpu")).autocast():
        assert not torch.is_autocast_enabled("cpu")


def test_bfloat16_is_autocast():
    layer, images = torch.nn.Linear(2, 5), torch.ones(7, 2)

    with configure_torch(Settings("x", device="cpu", precision="bfloat16")).autocast():
        logits = layer(images)

    assert logits.dtype is torch.bfloat16
    assert layer.weight.dtype is torch.float32
    assert_close(logits.float(), layer(images), rtol=0.02, atol=0.02)


def test_the_host_holds_what_it_has_loaded():
    assert Compute(torch.device("cpu")).fits(10**15)


def test_a_gpu_holds_half_of_what_is_free_or_kept_by_the_allocator_of_torch(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (100, 200))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 70)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 10)
    compute = Compute(torch.device("cuda:0"))

    assert compute.fits(79)
    assert not compute.fits(80)
