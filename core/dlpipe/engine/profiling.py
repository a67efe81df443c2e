"""A profile of some steps of a run: a trace, the costliest operators, and what limits the steps.

The trainer of the run takes its steps as ever, so metrics and weights are those of a run without a profile.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from torch.profiler import ProfilerActivity, profile, record_function

from dlpipe.compute import Compute
from dlpipe.engine.flops import measured_peak, peak_side
from dlpipe.evaluation import write_csv
from dlpipe.runs.files import write_json
from dlpipe.training.step_parts import BACKWARD, DATA, PARTS, REST, StepParts

#: Steps before the recorded ones; recorded ones; then as many that are timed, and as many whose parts are measured.
SKIPPED, RECORDED, TIMED = 3, 10, 10
STEP = "step"
ENDED: Any = None  # the loop says that an iterator has ended
TRACE, OPERATORS, SUMMARY = "trace.json.gz", "operators.csv", "summary.json"
Metrics = dict[str, Any]


@dataclass(frozen=True)
class Operator:
    """What an operator of torch took, without those that it called.

    Args:
        calls: per step.
        cpu_ms: milliseconds per step.
        device_ms: milliseconds per step on an accelerator.
        share: of the time of all operators; on an accelerator, of the time there.
    """

    name: str
    calls: float
    cpu_ms: float
    device_ms: float
    share: float


class StepProfiler:
    """Records some steps of a trainer.

    Args:
        compute: what it computes on.
        steps_left: steps until the end of the run, None if only time ends it.

    Attributes:
        recorded: number of steps in the trace.
    """

    def __init__(self, compute: Compute, steps_left: int | None) -> None:
        self._compute = compute
        self._skipped = SKIPPED if steps_left is None else min(SKIPPED, max(0, steps_left - 1))
        self._timer = StepParts(compute.device)
        # Above all of kineto's levels: it prints when it starts and stops, and that it finds no GPU.
        os.environ.setdefault("KINETO_LOG_LEVEL", "6")
        activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if compute.device.type == "cuda" else [])]
        self._profile = profile(activities=activities)
        self._runs = False
        self._recorded_seconds: list[float] = []
        self._timed_seconds: list[float] = []
        self._watched: Iterator[Metrics] = iter(())
        self.recorded = 0

    def watch(self, steps: Iterator[Metrics]) -> Iterator[Metrics]:
        """Return the same steps; while they are taken, some are recorded and some are timed."""
        self._watched = self._watch(steps)
        return self._watched

    def _watch(self, steps: Iterator[Metrics]) -> Iterator[Metrics]:
        with self._timer:
            yield from islice(steps, self._skipped)
            self._timer.annotate = True
            self._profile.start()
            self._runs = True
            for _ in range(RECORDED):
                with record_function(STEP):
                    metrics, seconds = self._timer.measure(lambda: next(steps, ENDED))
                self._recorded_seconds.append(seconds)
                self.recorded += 1
                yield metrics
            self._stop()
            for _ in range(TIMED):
                metrics, seconds = self._timer.time(lambda: next(steps, ENDED))
                self._timed_seconds.append(seconds)
                yield metrics
            self._timer.seconds.clear()  # of the recorded steps, which the profiler slows down
            self._timer.annotate = False
            for _ in range(TIMED):
                yield self._timer.measure(lambda: next(steps, ENDED))[0]
        yield from steps

    def _stop(self) -> None:
        if self._runs:
            self._runs = False
            self._profile.stop()

    def close(self) -> None:
        """Stop recording, if the run is over before."""
        self._stop()
        if hasattr(self._watched, "close"):
            self._watched.close()

    def write(self, folder: Path, count_flops: Callable[[], int]) -> str:
        """Write trace, operators and summary into a folder, and return a summary in words.

        Args:
            count_flops: returns the floating-point operations of a step.
        """
        self.close()
        if not self.recorded:
            return "no step was left to profile"
        folder.mkdir(parents=True, exist_ok=True)
        operators = self._operators()
        self._profile.export_chrome_trace(str(folder / TRACE))
        rows = [(each.name, each.calls, each.cpu_ms, each.device_ms, each.share) for each in operators]
        write_csv(folder / OPERATORS, [("operator", "calls", "cpu_ms", "device_ms", "share"), *rows])
        summary = self._summary(operators, count_flops)
        write_json(folder / SUMMARY, summary)
        return _in_words(summary)

    def _summary(self, operators: list[Operator], count_flops: Callable[[], int]) -> dict[str, Any]:
        times = self._timed_seconds or self._recorded_seconds
        rate = len(times) / sum(times)
        shares = self._timer.shares()
        flops = count_flops() if shares[BACKWARD] is not None else 0
        peak = measured_peak(self._compute) if flops else None
        return {
            "recorded_steps": self.recorded,
            "timed_steps": len(self._timed_seconds),
            "steps_per_second": rate,
            "shares": shares,
            "top_operators": [{"name": each.name, "share": each.share} for each in operators[:3]],
            "flops_per_step": flops or None,
            "flops_per_second": flops * rate or None,
            "measured_peak_flops_per_second": peak,
            "measured_peak_side": peak_side(self._compute.device) if flops else None,
            "share_of_measured_peak": flops * rate / peak if peak else None,
            "precision": str(self._compute.dtype).removeprefix("torch."),
        }

    def _operators(self) -> list[Operator]:
        """Return the operators of the recorded steps (not of an evaluation between them), the costliest first."""
        events = [event for event in self._profile.events() or () if event.device_type.name == "CPU"]
        ranges = [event.time_range for event in events if event.name == STEP]
        within = lambda event: any(each.start <= event.time_range.start < each.end for each in ranges)  # noqa: E731
        totals: dict[str, list[float]] = defaultdict(lambda: [0, 0, 0])
        for event in events:
            if not event.is_user_annotation and event.name not in (STEP, *PARTS, REST) and within(event):
                numbers = (1, event.self_cpu_time_total / 1e3, event.self_device_time_total / 1e3)
                totals[event.name] = [sum(pair) for pair in zip(totals[event.name], numbers, strict=True)]
        key = 0 if self._compute.device.type == "cpu" else 1
        whole = sum(numbers[1 + key] for numbers in totals.values()) or 1.0
        found = [
            Operator(
                name, calls / self.recorded, cpu / self.recorded, device / self.recorded, (cpu, device)[key] / whole
            )
            for name, (calls, cpu, device) in totals.items()
        ]
        return sorted(found, key=lambda each: -each.share)


def _in_words(summary: Mapping[str, Any]) -> str:
    count, data = summary["recorded_steps"], summary["shares"][DATA]
    pieces = [
        f"profile of {count} step{'s' * (count != 1)}",
        f"{summary['steps_per_second']:.3g} steps/s"
        + ("" if summary["timed_steps"] else " (while they were recorded)"),
        "time for data not known" if data is None else f"{data:.0%} of it waiting for data",
        "most time in " + ", ".join(f"{each['name']} {each['share']:.0%}" for each in summary["top_operators"]),
    ]
    if count < RECORDED:
        pieces[0] += f" (of {RECORDED}: then the run was over)"
    if summary["flops_per_second"]:
        peak, side = summary["measured_peak_flops_per_second"], summary["measured_peak_side"]
        pieces.append(
            f"{summary['flops_per_second'] / 1e9:.3g} GFLOP/s, {summary['share_of_measured_peak']:.0%} of the measured "
            f"peak ({peak / 1e9:.3g} GFLOP/s, a product of {side} × {side} matrices in {summary['precision']})"
        )
    return "; ".join(pieces)
