"""Measure the scores in the docs: run each pipeline with several seeds.

    python benchmarks/slot_filling_scores.py flights
    python benchmarks/slot_filling_scores.py atis --data ATIS_FOLDER
    python benchmarks/slot_filling_scores.py lecture --data ATIS_FOLDER

Seed s means ``--set seed=s``, and on ATIS also ``--set data.seed=s``: a different dev split each time. Each
run evaluates on test once, with the best checkpoint on dev. Seconds are those of the whole process.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PIPELINES = Path(__file__).resolve().parents[1] / "pipelines"
ATIS = "slot_filling_atis.toml"
#: Settings of the recurrent networks of the lecture.
LECTURE = ["trainer.epochs=10", "trainer.batch_size=16", "model.hidden_dim=100", "model.dropout=0.25"]
GROUPS: dict[str, list[tuple[str, str, list[str]]]] = {
    "flights": [
        ("BiLSTM", "slot_filling.toml", []),
        ("one word at a time", "slot_filling_feedforward.toml", []),
        ("seven words at a time", "slot_filling_feedforward.toml", ["model.window=3"]),
    ],
    "atis": [("BiLSTM", ATIS, []), ("BiLSTM-CRF with letter trigrams", "slot_filling_atis_best.toml", [])],
    "lecture": [
        *(
            (
                f"feed-forward, {words} at a time",
                ATIS,
                [f"model={{use='text.feedforward_tagger',window={window}}}"],
            )
            for window, words in ((0, "one word"), (1, "three words"), (3, "seven words"))
        ),
        *(
            (
                name,
                ATIS,
                [*LECTURE, f"model.cell={cell}", f"model.bidirectional={both}", f"model.context_window={words}"],
            )
            for name, cell, both, words in (
                ("Jordan, one word at a time", "jordan", "false", 1),
                ("Jordan, five words at a time", "jordan", "false", 5),
                ("Elman", "elman", "false", 1),
                ("GRU", "gru", "false", 1),
                ("LSTM", "lstm", "false", 1),
                ("Elman, both directions", "elman", "true", 1),
                ("LSTM, both directions", "lstm", "true", 1),
            )
        ),
    ],
}


def measure(pipeline: str, settings: list[str], runs: Path) -> tuple[float, float, float]:
    """Run a pipeline once and return F1 on dev and test, and seconds."""
    command = [sys.executable, "-m", "dlpipe", "run", str(PIPELINES / pipeline), "--runs", str(runs), "--json"]
    started = time.monotonic()
    done = subprocess.run(
        [*command, *(part for setting in settings for part in ("--set", setting))],
        capture_output=True,
        text=True,
        check=True,
    )
    seconds = time.monotonic() - started
    lines = (Path(json.loads(done.stdout)["run"]) / "metrics.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    dev = max(record["dev/slots/f1"] for record in records if "dev/slots/f1" in record)
    return dev, records[-1]["test/slots/f1"], seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("group", choices=GROUPS)
    parser.add_argument("--data", type=Path, help="folder with atis.train.iob and atis.test.iob")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    options = parser.parse_args()
    print(f"| | test F1, seeds {', '.join(map(str, options.seeds))} | median | dev, median | seconds |")
    print("|---|---|---|---|---|")
    for name, pipeline, settings in GROUPS[options.group]:
        results = []
        for seed in options.seeds:
            data = [f"data.path={options.data.resolve()}", f"data.seed={seed}"] if options.group != "flights" else []
            with tempfile.TemporaryDirectory() as runs:
                results.append(measure(pipeline, [f"seed={seed}", *data, *settings], Path(runs)))
        dev, test, seconds = zip(*results, strict=True)
        scores = ", ".join(f"{score:.4f}" for score in test)
        medians = [statistics.median(values) for values in (test, dev, seconds)]
        print(f"| {name} | {scores} | {medians[0]:.4f} | {medians[1]:.4f} | {medians[2]:.0f} |", flush=True)


if __name__ == "__main__":
    main()
