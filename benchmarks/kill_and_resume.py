"""Kill real runs at random moments and see whether they still end with the same bits.

    python benchmarks/kill_and_resume.py [--kills 100] [--seed 1]

Each run is started, and started again, with the line of a batch job, ``dlpipe run FILE --resume auto``,
and killed (SIGKILL) after a random time: while it starts, in a step, in an evaluation, in a save or a
rename (checkpoints are frequent here), or while it resumes. When it has ended at last, its weights
and metrics are compared with those of a run that nobody disturbed. Variants take turns: every
feature of the trainer that has a state.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from dlpipe.testing import comparable_metrics

PIPELINES = Path(__file__).resolve().parents[1] / "pipelines"
SMALL = ["threads=1", "data.num_train=120", "data.num_dev=30", "data.num_test=30", "trainer.epochs=24"]
EAGER = ["trainer.checkpoint_every=3", "trainer.log_every=4"]
VARIANTS = {
    "recurrent": ("slot_filling.toml", []),
    "feed-forward": ("slot_filling_feedforward.toml", ["trainer.optimizer={use='sgd',lr=0.1,momentum=0.9}"]),
    "everything": (
        "slot_filling.toml",
        [
            "model.inputs=both",
            "model.output=crf",
            "trainer.ema_decay=0.9",
            "trainer.accumulate=2",
            "trainer.warmup_steps=5",
            "trainer.schedule={use='one_cycle',max_lr=0.01}",
        ],
    ),
}


def command(variant: str, runs: Path) -> list[str]:
    file, settings = VARIANTS[variant]
    sets = [part for setting in [*SMALL, *EAGER, *settings] for part in ("--set", setting)]
    return [
        sys.executable,
        "-m",
        "dlpipe",
        "run",
        str(PIPELINES / file),
        "--runs",
        str(runs),
        "--resume",
        "auto",
        *sets,
    ]


def outcome(runs: Path) -> tuple[str, str]:
    """Return the sha256 of the final weights and of the metrics of the newest run."""
    folder = next(runs.glob("*/latest")).resolve()
    weights = hashlib.sha256((folder / "checkpoints" / "last" / "weights.safetensors").read_bytes())
    metrics = hashlib.sha256(json.dumps(comparable_metrics(folder)).encode())
    return weights.hexdigest(), metrics.hexdigest()


def where(folder: Path) -> str:
    """Say what a killed process left behind: a hint at what it was doing."""
    latest = next(folder.glob("*/latest"), None)
    if latest is None or not (latest / "status.json").exists():
        return "before its folder was complete"
    if list((latest / "checkpoints").glob(".saving-*")):
        return "in a save"
    return "training or evaluating" if list((latest / "checkpoints").glob("step-*")) else "starting"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    draw = random.Random(options.seed)
    kills, runs_done, different = 0, 0, 0
    places: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        wanted, seconds = {}, {}
        for variant in VARIANTS:
            started = time.monotonic()
            subprocess.run(command(variant, Path(folder) / variant), check=True, capture_output=True)
            seconds[variant] = time.monotonic() - started
            wanted[variant] = outcome(Path(folder) / variant)
        while kills < options.kills:
            variant = list(VARIANTS)[runs_done % len(VARIANTS)]
            runs = Path(folder) / f"{variant}-{runs_done}"
            while True:
                process = subprocess.Popen(command(variant, runs), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                try:
                    process.wait(timeout=seconds[variant] * draw.uniform(0.1, 1.2))
                except subprocess.TimeoutExpired:
                    process.send_signal(signal.SIGKILL)
                    process.wait()
                    kills += 1
                    places[where(runs)] += 1
                    continue
                assert process.returncode == 0, f"a resumed run ended with {process.returncode}"
                break
            runs_done += 1
            if outcome(runs) != wanted[variant]:
                different += 1
                print(f"run {runs_done} ({variant}) differs from the undisturbed one", flush=True)
    told = ", ".join(f"{count} {place}" for place, count in places.most_common())
    print(f"{kills} kills in {runs_done} runs ({told}): {different} runs differ from the undisturbed one")
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
