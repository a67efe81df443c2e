from pathlib import Path

import pytest

from dlpipe.registry.hooks import RunView
from dlpipe.training.callbacks import Callbacks

pytest.importorskip("tensorboard", reason="tensorboard is not installed; pip install '.[track]'")
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from dlpipe.training.tensorboard import TensorBoard


def process(folder: Path, steps, resumed_step=0, *, end=True):
    """Do what a run does with its callbacks; return them, for while they live nothing closes the file."""
    run = RunView("slots", folder, 7, resumed_step, lambda reason: None)
    failures = []
    watchers = Callbacks({"curves": TensorBoard()}, run, failures.append)
    watchers.call("dlpipe_run_start")
    for step in steps:
        watchers.call("dlpipe_step_logged", step=step, metrics={"train/loss": 1 / step})
        watchers.call("dlpipe_evaluated", step=step, split="dev", metrics={"dev/slots/f1": step / 10})
    watchers.call("dlpipe_checkpoint_saved", step=steps[-1], path=folder)
    if end:
        watchers.call("dlpipe_run_end", step=steps[-1])
    assert failures == []
    return watchers


def scalars(folder, name):
    events = EventAccumulator(str(folder)).Reload()
    return [(event.step, pytest.approx(event.value)) for event in events.Scalars(name)]


def test_all_metrics_can_be_read_as_curves(tmp_path):
    process(tmp_path, [2, 5])

    assert scalars(tmp_path, "train/loss") == [(2, 0.5), (5, 0.2)]
    assert scalars(tmp_path, "dev/slots/f1") == [(2, 0.2), (5, 0.5)]


def test_what_a_checkpoint_stands_for_is_on_disk_when_a_process_is_killed(tmp_path):
    alive = process(tmp_path, [2, 5], end=False)

    assert alive
    assert scalars(tmp_path, "train/loss") == [(2, 0.5), (5, 0.2)]


@pytest.mark.parametrize(("resumed_step", "steps"), [(2, [1, 2, 3, 5]), (0, [3, 5])])
def test_what_was_written_after_the_checkpoint_is_struck_out_by_a_resumed_run(tmp_path, resumed_step, steps):
    process(tmp_path, [1, 2, 3, 4])

    process(tmp_path, [3, 5], resumed_step=resumed_step)

    assert [step for step, _ in scalars(tmp_path, "train/loss")] == steps
