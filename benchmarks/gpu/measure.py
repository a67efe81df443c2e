"""What can only be measured on a machine with a GPU, in parts that can be run alone.

    python benchmarks/gpu/measure.py                 # all parts
    python benchmarks/gpu/measure.py waits speed     # some of them
    python benchmarks/gpu/measure.py train --data FOLDER
    python benchmarks/gpu/measure.py speed --device cpu --seconds 0.2   # whether the script itself works

waits          25 steps of each of 11 shipped pipelines under torch's own alarm for what waits for the GPU; expected:
               none
speed          steps/s of a bare loop and of dlpipe, and the share of the measured peak, for float32, TF32 and bfloat16,
               with and without compile; 18 rows of 10 blocks of --seconds, warm-ups and 9 compilations
deterministic  11 shipped pipelines twice with deterministic = true, a few steps each; expected: the same metrics, bit
               for bit
resume         2 runs that are killed 5 times each; expected: the metrics and weights of undisturbed ones
memory         data of 0.4, 0.6 and 1.5 times the free memory, and a batch that does not fit; 63 batches and a step
train          5 whole trainings, by seconds and score, some with data in --data (mnist, atis, cifar10)

The output is a Markdown table for each part. What fails has its error in its row, and the others are measured; the exit
code is then 1. Only `speed` needs greenlet (`pip install greenlet`).
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
import statistics
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).parents[1]))
from in_turn import Steps, in_loop
from step_cost import SEED, Net, Vectors
from vision_step_cost import VGG_LIKE

from dlpipe.api.run import Run
from dlpipe.comparison.run_result import RunResult
from dlpipe.compute import Compute
from dlpipe.config.check import load_pipeline
from dlpipe.config.pipeline import Pipeline
from dlpipe.config.shipped import shipped_pipelines
from dlpipe.data import Batches, Columns
from dlpipe.engine.build import build_for_training
from dlpipe.engine.execute import run
from dlpipe.engine.flops import count_flops, measured_peak
from dlpipe.errors import Interrupted, Preempted, SplitBatchWarning
from dlpipe.registry.loading import load_plugins
from dlpipe.testing import check_kills, comparable_metrics
from dlpipe.training.supervised import Supervised
from dlpipe_vision.cnn import CNN

#: Shipped pipelines with data of their own, and how often a step may wait: an agent waits for its actions.
PIPELINES = {
    "logistic_digits": 0,
    "cnn_digits": 0,
    "slot_filling": 0,
    "sentiment": 0,
    "autoencoder_digits": 0,
    "vae_digits": 0,
    "gan_ring": 0,
    "dcgan_digits": 0,
    "audio_word2vec": 0,
    "dqn_cartpole": 1,
    "ppo_cartpole": None,
}
#: Whole trainings: the pipeline, where its data is in the folder of data sets, empty for none, and changes to it.
TRAININGS = {
    "MLP 784-500-500-10 on MNIST, 20 epochs": (
        "cnn_mnist",
        "mnist",
        ("model={use='core.mlp', hidden=[500, 500]}", "trainer.epochs=20"),
    ),
    "BiLSTM on ATIS, 12 epochs": ("slot_filling_atis", "atis", ("trainer.epochs=12",)),
    "CNN on CIFAR-10": ("cnn_cifar10", "cifar10/cifar10-jpg.tar.gz", ()),
    "DCGAN 64 × 64": (
        "dcgan_manga",
        "",
        ("data.size=64", "model.channels=128", "data.count=20000", "precision=bfloat16"),
    ),
    "PPO on Pong, 10 minutes": ("ppo_pong", "", ("trainer.minutes=10",)),
}
#: What a row is about, and a function that measures the rest of it.
Case = tuple[Sequence[Any], Callable[[], Sequence[Any]]]
BLOCKS = 5
GIB = 2**30


def loaded(name: str, device: torch.device, *changes: str) -> Pipeline:
    """Return a shipped pipeline on the device."""
    return load_pipeline(shipped_pipelines()[name], load_plugins(), [f"device={device}", *changes])


def table(title: str, header: Sequence[str], cases: Iterable[Case]) -> int:
    """Print a table row by row, with the error of a row that fails, and return how many do."""
    print(f"\n## {title}\n\n| {' | '.join(header)} |\n|{'---|' * len(header)}")
    failed = 0
    for about, measure in cases:
        try:
            with contextlib.redirect_stdout(sys.stderr):  # what a run says of itself
                found = measure()
        except (Interrupted, Preempted):
            raise
        except Exception as error:  # the other rows are worth the time of the machine
            failed += 1
            found = [f"**{type(error).__name__}: {' '.join(str(error).split())}**".replace("|", "\\|")]
        print(f"| {' | '.join(map(str, [*about, *found]))} |", flush=True)
    return failed


def synchronize(device: torch.device) -> None:
    """Wait until the device has done everything."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def waits(device: torch.device, options: argparse.Namespace) -> int:
    """Count what waits for the GPU in the steps of shipped pipelines."""
    if device.type != "cuda":
        print("\nwaits: only a CUDA device tells what waits for it")
        return 0

    def measure(name: str, expected: int | None) -> Sequence[Any]:
        pipeline = loaded(name, device)
        stage = next(iter(pipeline.stages.values()))
        with build_for_training(pipeline.settings, stage, lambda reference: nn.Module()) as components:
            steps = components.trainer.steps()
            for _ in itertools.islice(steps, 5):
                pass
            synchronize(device)
            with warnings.catch_warnings(record=True) as seen:
                warnings.simplefilter("always")
                torch.cuda.set_sync_debug_mode("warn")
                try:
                    for _ in itertools.islice(steps, 20):
                        pass
                finally:
                    torch.cuda.set_sync_debug_mode("default")
        found = [warning for warning in seen if "synchroniz" in str(warning.message)]
        first = f"{Path(found[0].filename).name}:{found[0].lineno}" if found else ""
        return len(found) / 20, "per rollout" if expected is None else expected, first

    cases = (([name], partial(measure, name, expected)) for name, expected in PIPELINES.items())
    return table("Waits per step", ["pipeline", "found", "expected", "first"], cases)


def networks(device: torch.device) -> dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], int]]:
    """Return networks with the shape of an example and the batch size; of those for a GPU, a CPU gets the smallest."""
    small: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], int]] = {
        "784-500-500-10": (lambda: Net((784, 500, 500, 10)), (784,), 100)
    }
    if device.type == "cpu":
        return small
    return small | {
        "784-4096-4096-10": (lambda: Net((784, 4096, 4096, 10)), (784,), 4096),
        "VGG-like CNN": (lambda: CNN((3, 32, 32), 10, layers=VGG_LIKE), (3, 32, 32), 512),
    }


def bare(model: nn.Module, columns: dict[str, Tensor], batch_size: int, dtype: torch.dtype) -> Steps:
    """Return a function that takes steps of a bare loop on tensors that are on the device."""
    device = columns["images"].device
    optimizer = torch.optim.Adam(model.parameters(), fused=device.type == "cuda")
    count = len(columns["images"])

    def batches() -> Iterator[tuple[Tensor, Tensor]]:
        while True:
            for rows in torch.randperm(count).to(device).split(batch_size):
                yield columns["images"].index_select(0, rows), columns["targets"].index_select(0, rows)

    endless = batches()

    def steps(number: int) -> None:
        for _ in range(number):
            images, targets = next(endless)
            with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
                outputs = model(images)
            loss = F.cross_entropy(outputs.float(), targets)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()

    return steps


class Images(Vectors):
    """Random examples of a shape with random classes, under the names that both kinds of networks take."""

    def __init__(self, shape: tuple[int, ...], count: int, device: torch.device) -> None:
        generator = torch.Generator().manual_seed(SEED)
        self.columns = {
            "images": torch.randn(count, *shape, generator=generator).to(device),
            "targets": torch.randint(10, (count,), generator=generator).to(device),
        }

    def split(self, name: str) -> Columns:
        inputs = "vectors" if self.columns["images"].dim() == 2 else "images"
        return Columns({inputs: self.columns["images"], "targets": self.columns["targets"]})


def rate(steps: Steps, device: torch.device, seconds: float) -> Callable[[], float]:
    """Return a function that takes steps for some time and returns how many there were per second."""
    steps(20)
    synchronize(device)
    started = time.perf_counter()
    steps(20)
    synchronize(device)
    block = max(20, int(20 * seconds / (time.perf_counter() - started)))

    def measure() -> float:
        begun = time.perf_counter()
        steps(block)
        synchronize(device)
        return block / (time.perf_counter() - begun)

    return measure


def speed(device: torch.device, options: argparse.Namespace) -> int:
    """Compare dlpipe with a bare loop, in turn."""

    def measure(
        make: Callable[[], nn.Module],
        shape: tuple[int, ...],
        batch_size: int,
        dtype: torch.dtype,
        tf32: bool,
        compiled: bool,
    ) -> Sequence[Any]:
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
        images = Images(shape, 20 * batch_size, device)
        compute = Compute(device, dtype)
        models = [make().to(device) for _ in range(2)]
        if compiled:
            torch._dynamo.reset()  # or the batch size, another one than in the row before, would become a variable
            for model in models:
                model.compile()
        with tempfile.TemporaryDirectory() as folder:
            trainer = Supervised(
                models[0],
                images,  # type: ignore[arg-type]
                compute,
                SEED,
                batch_size=batch_size,
                optimizer={"use": "adam"},
            )
            hand = bare(models[1], images.columns, batch_size, dtype)
            timers = [rate(steps, device, options.seconds) for steps in (in_loop(trainer, Path(folder)), hand)]
            ours, theirs = zip(*[[timer() for timer in timers] for _ in range(BLOCKS)], strict=True)
        flops = 0 if compiled else count_flops(partial(hand, 1))  # a compiled model counts nothing
        share = flops * statistics.median(ours) / measured_peak(compute) if flops else None
        return (
            f"{statistics.median(theirs):.0f}",
            f"{statistics.median(ours):.0f}",
            f"{statistics.median(mine / other for mine, other in zip(ours, theirs, strict=True)):.3f}",
            "" if share is None else f"{share:.0%}",
        )

    kinds = [("float32", torch.float32, False), ("bfloat16", torch.bfloat16, False)]
    kinds += [("TF32", torch.float32, True)] if device.type == "cuda" else []
    cases = (
        ([name, precision, "compiled" if compiled else "eager"], partial(measure, *network, dtype, tf32, compiled))
        for (name, network), (precision, dtype, tf32), compiled in itertools.product(
            networks(device).items(), kinds, (False, True)
        )
    )
    header = ["network", "precision", "", "bare loop, steps/s", "dlpipe, steps/s", "ratio", "of the measured peak"]
    return table("Speed", header, cases)


def deterministic(device: torch.device, options: argparse.Namespace) -> int:
    """Run shipped pipelines twice."""

    def measure(name: str) -> Sequence[Any]:
        pipeline = loaded(name, device, "deterministic=true")
        with tempfile.TemporaryDirectory() as folder:
            outcomes = []
            for turn in ("first", "second"):
                found = run(pipeline, load_plugins(), Path(folder) / turn, fast=True)
                outcomes.append([comparable_metrics(found.stage(stage)) for stage in pipeline.stages])
        return ["the same bits" if repr(outcomes[0]) == repr(outcomes[1]) else "**different**"]

    cases = (([name], partial(measure, name)) for name in PIPELINES)
    return table("deterministic = true, twice", ["pipeline", "metrics"], cases)


def resume(device: torch.device, options: argparse.Namespace) -> int:
    """Kill runs, and compare them with undisturbed ones."""
    changes = [f"device={device}", "deterministic=true", "trainer.checkpoint_every=20", "trainer.log_every=10"]

    def measure(name: str, steps: int) -> Sequence[Any]:
        assignments = [*changes, "trainer.epochs=1000", f"trainer.steps={steps}"]
        with tempfile.TemporaryDirectory() as folder:
            moments = check_kills(shipped_pipelines()[name], Path(folder), assignments=assignments, kills=5)
        return sum(moments.values()), "the same bits"  # check_kills raises otherwise

    cases = (([name], partial(measure, name, steps)) for name, steps in (("cnn_digits", 400), ("slot_filling", 200)))
    return table("Killed and resumed", ["pipeline", "kills", "metrics and weights"], cases)


def memory(device: torch.device, options: argparse.Namespace) -> int:
    """Train on data that fits into the memory of the GPU, barely or not at all, and with a batch that does not fit."""
    if device.type != "cuda":
        print("\nmemory: only a CUDA device has a memory of its own")
        return 0
    total, _ = torch.cuda.mem_get_info(device)
    filler = torch.empty(max(0, total - 4 * GIB), dtype=torch.uint8, device=device)  # leaves 4 GiB
    free, _ = torch.cuda.mem_get_info(device)

    def of_data(share: float) -> Sequence[Any]:
        torch.cuda.empty_cache()
        split = Columns({"vectors": torch.zeros(int(share * free) // (4 * 784), 784)})
        batches = Batches(split, 4096, Compute(device)).epoch(0)
        next(batches)
        synchronize(device)
        begun = time.perf_counter()
        count = sum(1 for _ in itertools.islice(batches, 20))
        synchronize(device)
        where = "GPU" if torch.cuda.memory_allocated(device) - filler.nbytes > 0.2 * free else "host"
        return where, f"{count / (time.perf_counter() - begun):.0f} batches/s"

    def of_batch() -> Sequence[Any]:
        torch.cuda.empty_cache()
        images = Images((784,), 400_000, device)
        trainer = Supervised(
            Net((784, 4096, 4096, 10)).to(device),
            images,  # type: ignore[arg-type]
            Compute(device),
            SEED,
            batch_size="full",
        )
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            loss = float(next(trainer.steps())["loss"])
        parts = [warning for warning in seen if issubclass(warning.category, SplitBatchWarning)]
        return f"halved {len(parts)} times", f"loss {loss:.4f}"

    cases: list[Case] = [([f"data of {share} × free memory"], partial(of_data, share)) for share in (0.4, 0.6, 1.5)]
    return table("Memory", ["", "", ""], [*cases, (["a batch of 400,000"], of_batch)])


def train(device: torch.device, options: argparse.Namespace) -> int:
    """Train whole pipelines, of which those with real data need its folder."""

    def measure(name: str, place: str, changes: Sequence[str]) -> Sequence[Any]:
        data = options.data / place if options.data else Path()
        if place and not (options.data and data.exists()):
            return "", f"left out: there is no {place} in --data {options.data or 'FOLDER'}"
        given = [f"data.path={data}"] if place else []
        pipeline = loaded(name, device, *changes, *given)
        with tempfile.TemporaryDirectory() as folder:
            found = run(pipeline, load_plugins(), Path(folder), fast=options.fast, quiet=True)
            seconds, summary = RunResult(found.path).seconds, Run(found.path).summary
        return f"{seconds:.1f}", f"{summary.metric} {summary.score}"

    cases = (([title], partial(measure, *training)) for title, training in TRAININGS.items())
    return table("Whole trainings", ["training", "seconds", "score"], cases)


PARTS = {each.__name__: each for each in (waits, speed, deterministic, resume, memory, train)}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)}; all by default")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--seconds", type=float, default=0.2, help="of a block of steps that is timed")
    parser.add_argument("--data", type=Path, default=os.environ.get("DLPIPE_TEST_DATA"), help="folder of data sets")
    parser.add_argument("--fast", action="store_true", help="a few steps of each training")
    options = parser.parse_args()
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"unknown part {min(unknown)!r}; expected some of {', '.join(PARTS)}")
    chosen = torch.device(options.device)
    chosen = torch.device("cuda", chosen.index or 0) if chosen.type == "cuda" else chosen
    name = torch.cuda.get_device_name(chosen) if chosen.type == "cuda" else "CPU"
    print(f"{name}, torch {torch.__version__}")
    failed = 0
    for part in options.parts or PARTS:
        try:
            failed += PARTS[part](chosen, options)
        except (Interrupted, Preempted) as error:
            sys.exit(str(error))
        except Exception:  # before its first row
            traceback.print_exc()
            failed += 1
    sys.exit(1 if failed else 0)
