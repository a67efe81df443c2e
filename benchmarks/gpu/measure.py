"""What can only be measured on a machine with a GPU. Each part takes one or two minutes and can be run alone.

    python benchmarks/gpu/measure.py                 # all parts
    python benchmarks/gpu/measure.py waits speed     # some of them
    python benchmarks/gpu/measure.py speed --device cpu --seconds 0.2   # whether the script itself works

waits          steps of shipped pipelines under torch's own alarm for what waits for the GPU; expected: none
speed          steps/s of a bare loop and of dlpipe, and the share of the measured peak, for float32, TF32 and bfloat16,
               with and without compile
deterministic  shipped pipelines twice with deterministic = true; expected: the same metrics, bit for bit
resume         a run that is killed several times; expected: the metrics and weights of an undisturbed one
memory         data of 0.4, 0.6 and 1.5 times the free memory, and a batch that does not fit

The output is a Markdown table for each part. Pipelines with real data are timed by ``dlpipe run``, which prints the
seconds of training.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
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

from dlpipe.compute import Compute
from dlpipe.config.check import load_pipeline
from dlpipe.config.pipeline import Pipeline
from dlpipe.config.shipped import shipped_pipelines
from dlpipe.data import Batches, Columns
from dlpipe.engine.build import build_for_training
from dlpipe.engine.execute import run
from dlpipe.engine.flops import count_flops, measured_peak
from dlpipe.errors import SplitBatchWarning
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
BLOCKS = 7
GIB = 2**30


def loaded(name: str, device: torch.device, *changes: str) -> Pipeline:
    """Return a shipped pipeline on the device."""
    return load_pipeline(shipped_pipelines()[name], load_plugins(), [f"device={device}", *changes])


def table(title: str, header: Sequence[str], rows: Iterator[Sequence[Any]]) -> None:
    """Print a table row by row."""
    print(f"\n## {title}\n\n| {' | '.join(header)} |\n|{'---|' * len(header)}")
    for row in rows:
        print(f"| {' | '.join(map(str, row))} |", flush=True)


def synchronize(device: torch.device) -> None:
    """Wait until the device has done everything."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def waits(device: torch.device, seconds: float) -> None:
    """Count what waits for the GPU in the steps of shipped pipelines."""
    if device.type != "cuda":
        print("\nwaits: only a CUDA device tells what waits for it")
        return

    def rows() -> Iterator[Sequence[Any]]:
        for name, expected in PIPELINES.items():
            pipeline = loaded(name, device)
            stage = next(iter(pipeline.stages.values()))
            components = build_for_training(pipeline.settings, stage, lambda reference: nn.Module())
            steps = components.trainer.steps()
            for _ in itertools.islice(steps, 5):
                pass
            synchronize(device)
            torch.cuda.set_sync_debug_mode("warn")
            with warnings.catch_warnings(record=True) as seen:
                warnings.simplefilter("always")
                for _ in itertools.islice(steps, 20):
                    pass
            torch.cuda.set_sync_debug_mode("default")
            components.close()
            found = [warning for warning in seen if "synchroniz" in str(warning.message)]
            first = f"{Path(found[0].filename).name}:{found[0].lineno}" if found else ""
            yield name, len(found) / 20, "per rollout" if expected is None else expected, first

    table("Waits per step", ["pipeline", "found", "expected", "first"], rows())


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


def speed(device: torch.device, seconds: float) -> None:
    """Compare dlpipe with a bare loop, in turn."""

    def rows() -> Iterator[Sequence[Any]]:
        kinds = [("float32", torch.float32, False), ("bfloat16", torch.bfloat16, False)]
        kinds += [("TF32", torch.float32, True)] if device.type == "cuda" else []
        for (name, (make, shape, batch_size)), (precision, dtype, tf32), compiled in itertools.product(
            networks(device).items(), kinds, (False, True)
        ):
            torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
            images = Images(shape, 20 * batch_size, device)
            compute = Compute(device, dtype)
            models = [make().to(device) for _ in range(2)]
            if compiled:
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
                timers = rate(in_loop(trainer, Path(folder)), device, seconds), rate(hand, device, seconds)
                ours, theirs = zip(*[[timer() for timer in timers] for _ in range(BLOCKS)], strict=True)
            flops = 0 if compiled else count_flops(partial(hand, 1))  # a compiled model counts nothing
            share = flops * statistics.median(ours) / measured_peak(compute) if flops else None
            yield (
                name,
                precision,
                "compiled" if compiled else "eager",
                f"{statistics.median(theirs):.0f}",
                f"{statistics.median(ours):.0f}",
                f"{statistics.median(mine / other for mine, other in zip(ours, theirs, strict=True)):.3f}",
                "" if share is None else f"{share:.0%}",
            )

    header = ["network", "precision", "", "bare loop, steps/s", "dlpipe, steps/s", "ratio", "of the measured peak"]
    table("Speed", header, rows())


def deterministic(device: torch.device, seconds: float) -> None:
    """Run shipped pipelines twice."""

    def rows() -> Iterator[Sequence[Any]]:
        for name in PIPELINES:
            pipeline = loaded(name, device, "deterministic=true")
            with tempfile.TemporaryDirectory() as folder:
                outcomes = []
                for turn in ("first", "second"):
                    found = run(pipeline, load_plugins(), Path(folder) / turn, fast=True)
                    outcomes.append([comparable_metrics(found.stage(stage)) for stage in pipeline.stages])
            yield name, "the same bits" if repr(outcomes[0]) == repr(outcomes[1]) else "**different**"

    table("deterministic = true, twice", ["pipeline", "metrics"], rows())


def resume(device: torch.device, seconds: float) -> None:
    """Kill runs, and compare them with undisturbed ones."""

    def rows() -> Iterator[Sequence[Any]]:
        changes = [f"device={device}", "deterministic=true", "trainer.checkpoint_every=20", "trainer.log_every=10"]
        for name, steps in (("cnn_digits", 400), ("slot_filling", 200)):
            assignments = [*changes, "trainer.epochs=1000", f"trainer.steps={steps}"]
            with tempfile.TemporaryDirectory() as folder:
                moments = check_kills(shipped_pipelines()[name], Path(folder), assignments=assignments, kills=5)
            yield name, sum(moments.values()), "the same bits"  # check_kills raises otherwise

    table("Killed and resumed", ["pipeline", "kills", "metrics and weights"], rows())


def memory(device: torch.device, seconds: float) -> None:
    """Train on data that fits into the memory of the GPU, barely or not at all, and with a batch that does not fit."""
    if device.type != "cuda":
        print("\nmemory: only a CUDA device has a memory of its own")
        return

    def rows() -> Iterator[Sequence[Any]]:
        total, _ = torch.cuda.mem_get_info(device)
        filler = torch.empty(max(0, total - 4 * GIB), dtype=torch.uint8, device=device)  # leaves 4 GiB
        free, _ = torch.cuda.mem_get_info(device)
        for share in (0.4, 0.6, 1.5):
            split = Columns({"vectors": torch.zeros(int(share * free) // (4 * 784), 784)})
            batches = Batches(split, 4096, Compute(device)).epoch(0)
            next(batches)
            synchronize(device)
            begun = time.perf_counter()
            count = sum(1 for _ in itertools.islice(batches, 20))
            synchronize(device)
            where = "GPU" if torch.cuda.memory_allocated(device) - filler.nbytes > 0.2 * free else "host"
            yield f"data of {share} × free memory", where, f"{count / (time.perf_counter() - begun):.0f} batches/s"
            del split, batches
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
        yield "a batch of 400,000", f"halved {len(parts)} times", f"loss {loss:.4f}"
        del filler

    table("Memory", ["", "", ""], rows())


PARTS = {each.__name__: each for each in (waits, speed, deterministic, resume, memory)}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)}; all by default")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--seconds", type=float, default=0.5, help="of a block of steps that is timed")
    options = parser.parse_args()
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"unknown part {min(unknown)!r}; expected some of {', '.join(PARTS)}")
    chosen = torch.device(options.device)
    chosen = torch.device("cuda", chosen.index or 0) if chosen.type == "cuda" else chosen
    name = torch.cuda.get_device_name(chosen) if chosen.type == "cuda" else "CPU"
    print(f"{name}, torch {torch.__version__}")
    for part in options.parts or PARTS:
        PARTS[part](chosen, options.seconds)
