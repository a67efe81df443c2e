import io
import itertools
import os
import re
import signal
from types import SimpleNamespace

import pytest
import torch
from rich.console import Console
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from dlpipe.compute import Compute, randomness, restore_randomness, seed_everything
from dlpipe.config.settings import Budget, LoopOptions
from dlpipe.data.columns import Columns
from dlpipe.errors import ComponentError, InputError, Interrupted, NonFiniteError, Preempted
from dlpipe.evaluation.evaluate import evaluate
from dlpipe.evaluation.examples import Examples
from dlpipe.ranks import Ranks
from dlpipe.registry.hooks import RunView, hookimpl
from dlpipe.runs.checkpoint import Checkpoints, load_state, load_weights, verify
from dlpipe.runs.metrics_log import MetricsLog
from dlpipe.runs.signals import StopSignals
from dlpipe.training import loop as loop_module
from dlpipe.training.callbacks import Callbacks
from dlpipe.training.judging import Judged as JudgedExamples
from dlpipe.training.loop import Loop
from dlpipe.training.nan_search import first_non_finite
from dlpipe.training.progress import Progress
from dlpipe.training.supervised import Supervised

CLOCK = ("time", "seconds", "steps_per_second")
CPU = Compute(torch.device("cpu"))
ALONE = Ranks()


class Counter:
    """A trainer whose loss is the number of the step, and whose epochs have 4 steps."""

    def __init__(self, steps_per_epoch=4, act=lambda step: None):
        self.model = nn.Linear(1, 1)
        self.steps_per_epoch = steps_per_epoch
        self.step = 0
        self.told = []
        self._act = act

    def numbers(self):
        return {"loss": torch.tensor(float(self.step))}

    def steps(self):
        while True:
            self.step += 1
            self._act(self.step)
            yield self.numbers()

    def log_values(self):
        return {"lr": 0.5}

    def on_score(self, score, goal):
        self.told.append((score, goal))

    def state_dict(self):
        return {"step": self.step}

    def load_state_dict(self, state):
        self.step = state["step"]


class Scripted:
    """An evaluator that gives scores from a list, then 0."""

    primary = "f1"

    def __init__(self, *scores, goal="max"):
        self.scores, self.goal = list(scores), goal
        self.calls = 0

    def evaluate(self, model, examples):
        self.calls += 1
        return {"f1": self.scores.pop(0) if self.scores else 0.0, "size": 2.0}

    def write(self, folder):
        pass


class Judged(Scripted):
    """An evaluator with a loss for each score."""

    def __init__(self, scores, losses):
        super().__init__(*scores)
        self.losses = list(losses)

    def evaluate(self, model, examples):
        return super().evaluate(model, examples) | {"loss": self.losses.pop(0)}


class Everything:
    """A callback that writes down what it is told."""

    def __init__(self, stop_in=None):
        self.told = []
        self._stop_in = stop_in

    def _tell(self, run, hook, *what):
        self.told.append((hook, *what))
        if self._stop_in == hook:
            run.request_stop("enough")

    @hookimpl
    def dlpipe_step_logged(self, run, step, metrics):
        self._tell(run, "logged", step, dict(metrics))

    @hookimpl
    def dlpipe_epoch_end(self, run, step, epoch):
        self._tell(run, "epoch", step, epoch)

    @hookimpl
    def dlpipe_evaluated(self, run, step, split, metrics):
        self._tell(run, "evaluated", step, split, dict(metrics))

    @hookimpl
    def dlpipe_checkpoint_saved(self, run, step, path):
        self._tell(run, "saved", step, path.name)


class Failing:
    """A callback that raises."""

    @hookimpl
    def dlpipe_step_logged(self):
        raise ValueError("no space")


class Two(Ranks):
    """Two ranks that have the same."""

    def gather(self, own):
        return [own, own]

    def mean(self, tensor):
        return tensor

    def from_leader(self, make):
        return make()


def build(
    folder,
    trainer=None,
    *,
    evaluators=None,
    dev=True,
    train=(),
    callbacks=None,
    signals=None,
    diagnose=str,
    ranks=ALONE,
    **options,
):
    """Return a loop over a run folder, with its parts as attributes of `parts`."""
    trainer = trainer or Counter()
    log, out = MetricsLog(folder / "metrics.jsonl"), io.StringIO()
    progress = Progress(None, Console(file=out, width=200))
    chosen = LoopOptions(**{"log_every": 3} | options)
    checkpoints = Checkpoints(folder / "checkpoints", keep=chosen.keep)
    view = RunView("x", folder, 3, 0, lambda reason: loop.request_stop(reason))
    loop = Loop(
        trainer,
        chosen,
        evaluators={"slots": Scripted()} if evaluators is None else evaluators,
        dev=SimpleNamespace(split="dev", forget=lambda: None, check_stop=lambda: None) if dev is True else dev,
        train=train,
        checkpoints=checkpoints,
        log=log,
        callbacks=Callbacks(callbacks or {}, view, progress.warning),
        progress=progress,
        signals=signals or StopSignals(),
        samples=folder / "samples",
        find_nan=diagnose,
        ranks=ranks,
    )
    loop.parts = SimpleNamespace(trainer=trainer, log=log, checkpoints=checkpoints, out=out)
    return loop


def records(loop, *wanted):
    """Return the lines of the metrics file without times; those that have a key starting with `wanted`."""
    found = [
        {name: value for name, value in record.items() if name not in CLOCK} for record in loop.parts.log.records()
    ]
    return [record for record in found if not wanted or any(name.startswith(wanted) for name in record)]


def evaluated_at(loop):
    return [record["step"] for record in records(loop, "dev/")]


@pytest.mark.parametrize(
    ("options", "steps", "reason"),
    [
        ({"epochs": 2}, 8, "2 epochs done"),
        ({"steps": 5}, 5, "5 steps done"),
        ({"epochs": 2, "steps": 5}, 5, "5 steps done"),
        ({"epochs": 1, "steps": 5}, 4, "1 epoch done"),
    ],
)
def test_a_run_ends_with_its_budget(tmp_path, options, steps, reason):
    loop = build(tmp_path, **options)

    assert loop.run() == reason
    assert loop.state.step == loop.parts.trainer.step == loop.total_steps == steps
    assert loop.parts.checkpoints.latest().name == f"step-{steps:08d}"


def test_minutes_count_training_and_not_evaluation(tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(loop_module.time, "monotonic", lambda: now[0])

    def pass_time(seconds):
        now[0] += seconds

    slow = Scripted()
    slow.evaluate = lambda model, examples: pass_time(1000) or {"f1": 0.0}
    trainer = Counter(act=lambda step: pass_time(30))
    loop = build(tmp_path, trainer, evaluators={"slots": slow}, minutes=3, log_every=1, evaluate_every=2)

    assert loop.run() == "3 minutes used"
    assert loop.state.step == 6
    assert loop.total_steps is None


def test_minutes_of_resumed_parts_add_up(tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(loop_module.time, "monotonic", lambda: now[0])

    def thirty_seconds(step):
        now[0] += 30

    signals = StopSignals()
    first = build(tmp_path, Counter(act=thirty_seconds), signals=signals, minutes=3, log_every=1)
    first._callbacks.call = lambda hook, **what: setattr(signals, "received", "SIGTERM")
    with pytest.raises(Preempted, match="stopped by SIGTERM after step"):
        first.run()
    second = build(tmp_path, Counter(act=thirty_seconds), minutes=3, log_every=1)

    restore(second)

    assert second.run() == "3 minutes used"
    assert second.state.step == 6


def test_epochs_of_a_stream_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"epochs = 2: this data is a stream without epochs; give steps or minutes"):
        build(tmp_path, Counter(steps_per_epoch=None), epochs=2)


def test_log_points_hold_the_means_since_the_last_one(tmp_path):
    loop = build(tmp_path, dev=None, steps=8)

    loop.run()

    assert records(loop) == [
        {"step": 3, "epoch": 0.75, "train/loss": 2.0, "train/lr": 0.5},
        {"step": 6, "epoch": 1.5, "train/loss": 5.0, "train/lr": 0.5},
        {"step": 8, "epoch": 2.0, "train/loss": 7.5, "train/lr": 0.5},
    ]
    assert all({"time", "steps_per_second"} <= record.keys() for record in loop.parts.log.records())


class Player(Counter):
    """Plays as many episodes as the number of the step says, all of which have that return."""

    metric_weights = {"return": "episodes"}  # noqa: RUF012

    def numbers(self):
        return {"return": torch.tensor(float(self.step)), "episodes": torch.tensor(self.step)}


@pytest.mark.parametrize("stop", [1, 2, 5])
def test_log_points_weigh_the_metrics_of_steps_as_the_trainer_says(tmp_path, stop):
    signals = StopSignals()

    def receive(step):
        signals.received = "SIGTERM" if step == stop else ""

    with pytest.raises(Preempted):
        build(tmp_path, Player(act=receive), dev=None, signals=signals, steps=6).run()
    second = build(tmp_path, Player(), dev=None, steps=6)
    restore(second)
    second.run()

    logged = [record["train/return"] for record in records(second)]
    assert logged == [(1 + 4 + 9) / (1 + 2 + 3), (16 + 25 + 36) / (4 + 5 + 6)]
    assert "train/episodes" not in records(second)[0]


def test_the_rate_is_that_of_training(tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(loop_module.time, "monotonic", lambda: now[0])

    def half_a_second(step):
        now[0] += 0.5

    loop = build(tmp_path, Counter(act=half_a_second), dev=None, steps=8)
    loop.run()

    assert [record["steps_per_second"] for record in loop.parts.log.records()] == [2, 2, 2]


@pytest.mark.parametrize(
    ("options", "reason", "waits"),
    [
        ({"steps": 9, "log_every": 3, "evaluate_every": 6}, "9 steps done", [3, 6, 9]),
        ({"minutes": 2, "steps": 30, "log_every": 2, "evaluate_every": 99}, "2 minutes used", [2, 4, 6]),
        ({"steps": 8, "log_every": 99, "evaluate_every": 4}, "8 steps done", [4, 8]),
        ({"steps": 8, "log_every": 99, "evaluate_every": 99, "checkpoint_every": 4}, "8 steps done", [4, 8]),
    ],
)
def test_the_work_of_a_gpu_that_the_host_waits_for_counts_as_training(tmp_path, monkeypatch, options, reason, waits):
    now, done, waited_after = [0.0], [0.0], []
    monkeypatch.setattr(loop_module.time, "monotonic", lambda: now[0])

    class Queued(torch.Tensor):
        """A number on a GPU, which takes 20 s for a step; the host waits for it where it is read."""

        is_cpu = False

        def item(self):
            if now[0] < done[0]:
                now[0] = done[0]
                waited_after.append(loop.parts.trainer.step)
            return super().item()

        def tolist(self):
            self.sum().item()
            return super().tolist()

    def twenty_seconds_later(step):
        done[0] = max(done[0], now[0]) + 20

    trainer = Counter(1, act=twenty_seconds_later)
    trainer.numbers = lambda: {"loss": torch.tensor(0.5).as_subclass(Queued)}
    loop = build(tmp_path, trainer, **options)

    assert loop.run() == reason
    assert loop.state.seconds == 20 * loop.state.step
    assert waited_after == waits  # and not at each end of an epoch
    rates = [record["steps_per_second"] for record in loop.parts.log.records() if "steps_per_second" in record]
    assert set(rates) == {0.05}


@pytest.mark.parametrize(
    ("options", "steps"),
    [({}, [4, 8, 10]), ({"evaluate_every": 3}, [3, 6, 9, 10]), ({"evaluate_every": 5}, [5, 10])],
)
def test_evaluations_come_every_epoch_or_so_many_steps_and_at_the_end(tmp_path, options, steps):
    loop = build(tmp_path, steps=10, **options)

    loop.run()

    assert evaluated_at(loop) == steps
    assert records(loop, "dev/")[0] == {"step": steps[0], "epoch": steps[0] / 4, "dev/slots/f1": 0, "dev/slots/size": 2}


def test_evaluations_follow_log_points_of_the_same_step(tmp_path):
    loop = build(tmp_path, steps=8, log_every=4)

    loop.run()

    assert [(record["step"], "train/loss" in record) for record in records(loop)] == [
        (4, True),
        (4, False),
        (8, True),
        (8, False),
    ]


@pytest.mark.parametrize(
    ("options", "steps"),
    [
        ({}, [4, 8, 10]),
        ({"evaluate_every": 3}, [3, 6, 9, 10]),
        ({"checkpoint_every": 3}, [3, 4, 6, 9, 10]),  # at 4 as the first evaluation is the best so far
        ({"dev": None}, [4, 8, 10]),
        ({"dev": None, "checkpoint_every": 7}, [7, 10]),
    ],
)
def test_checkpoints_come_after_each_evaluation_or_so_many_steps_and_at_the_end(tmp_path, options, steps):
    loop = build(tmp_path, steps=10, keep=9, ties="first", **options)

    loop.run()

    assert loop.parts.checkpoints.steps() == steps


def test_a_stream_that_is_evaluated_is_saved(tmp_path):
    loop = build(tmp_path, Counter(steps_per_epoch=None), steps=7, evaluate_every=3, keep=9)

    loop.run()

    assert loop.parts.checkpoints.steps() == [3, 6, 7]
    assert "epoch" not in records(loop)[0]


@pytest.mark.parametrize(("ranks", "steps"), [(ALONE, [2, 4]), (Two(0, 2), [2])])
def test_after_an_evaluator_that_fails_only_a_process_without_others_saves(tmp_path, ranks, steps):
    def fail(model, examples):
        raise ValueError("broken on purpose")

    judge = Scripted()
    judge.evaluate = fail
    loop = build(tmp_path, evaluators={"slots": judge}, ranks=ranks, checkpoint_every=2, steps=8)

    with pytest.raises(ComponentError, match="broken on purpose"):
        loop.run()

    assert loop.parts.checkpoints.steps() == steps


def test_checkpoints_come_after_so_many_minutes(tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(loop_module.time, "monotonic", lambda: now[0])

    def one_minute(step):
        now[0] += 60

    loop = build(tmp_path, Counter(100, one_minute), steps=10, log_every=1, checkpoint_minutes=4, keep=9, dev=None)
    loop.run()

    assert loop.parts.checkpoints.steps() == [4, 8, 10]


@pytest.mark.parametrize(
    ("scores", "goal", "best"),
    [
        ([0.1, 0.5, 0.5, 0.2], "max", 3),
        ([0.5, 0.1, 0.1, 0.2], "min", 3),
        ([float("nan"), 0.2, float("nan"), 0.1], "max", 2),
        ([-float("inf"), 0.2, 0.1, 0.1], "max", 2),
        ([0.0, -1.0], "max", 1),
    ],
)
def test_the_best_and_the_last_checkpoint_are_linked_and_kept(tmp_path, scores, goal, best):
    loop = build(
        tmp_path, evaluators={"slots": Scripted(*scores, goal=goal)}, steps=len(scores), evaluate_every=1, keep=1
    )

    loop.run()

    folder = loop.parts.checkpoints.folder
    assert loop.state.best_step == best
    assert (folder / "best").readlink().name == f"step-{best:08d}"
    assert (folder / "last").readlink().name == f"step-{len(scores):08d}"
    assert loop.parts.checkpoints.steps() == [best, len(scores)]


def test_scores_that_are_never_numbers_leave_no_best(tmp_path):
    loop = build(tmp_path, evaluators={"slots": Scripted(*[float("nan")] * 3)}, steps=3, evaluate_every=1)

    loop.run()

    assert (loop.state.best, loop.state.stale) == (None, 3)
    assert not (loop.parts.checkpoints.folder / "best").exists()
    assert (
        "warning: dev/slots/f1 was not a number in any of the 3 evaluations, so no checkpoint is the best one; the last "
        "one counts"
    ) in loop.parts.out.getvalue()


def test_the_trainer_gets_the_score_and_its_direction(tmp_path):
    loops = [
        build(
            tmp_path / goal, evaluators={"slots": Scripted(0.1, 0.5, goal=goal)}, steps=2, evaluate_every=1, log_every=9
        )
        for goal in ("max", "min")
    ]
    for loop, folder in zip(loops, ("max", "min"), strict=True):
        (tmp_path / folder).mkdir()
        loop.run()

    assert [loop.parts.trainer.told for loop in loops] == [[(0.1, "max"), (0.5, "max")], [(0.1, "min"), (0.5, "min")]]


def test_nothing_is_done_after_a_step_where_nothing_is_due(tmp_path):
    loop, paused = build(tmp_path, Counter(100), steps=20, log_every=15, dev=None), []
    pause = loop._after_step
    loop._after_step = lambda: paused.append(loop.state.step) or pause()

    loop.run()

    assert paused == [15, 20]


def test_patience_ends_a_run_with_all_its_steps_logged(tmp_path):
    loop = build(tmp_path, evaluators={"slots": Scripted(0.2, 0.5, 0.1, 0.5)}, steps=50, evaluate_every=2, patience=2)

    assert loop.run() == "no better dev/slots/f1 in 2 evaluations"
    assert evaluated_at(loop) == [2, 4, 6, 8]
    assert records(loop, "train/")[-1] == {"step": 8, "epoch": 2.0, "train/loss": 7.5, "train/lr": 0.5}
    assert loop.parts.checkpoints.latest().name == "step-00000008"


NAN = float("nan")


@pytest.mark.parametrize(
    ("options", "scores", "losses", "best"),
    [
        ({}, [0.5, 1.0, 1.0, 1.0], [0.9, 0.5, 0.2, 0.3], 3),
        ({}, [1.0, 1.0, 1.0, 0.5], [0.2, 0.2, 0.3, 0.1], 2),  # of equal losses, the last
        ({}, [1.0, 1.0, 1.0, 1.0], [NAN, 0.5, NAN, 0.6], 2),
        ({"ties": "loss"}, [0.5, 1.0, 1.0, 1.0], [0.9, 0.5, 0.2, 0.3], 3),
        ({"ties": "first"}, [0.5, 1.0, 1.0, 1.0], [0.9, 0.5, 0.2, 0.3], 2),
        ({"ties": "last"}, [0.5, 1.0, 1.0, 1.0], [0.9, 0.5, 0.2, 0.3], 4),
        ({"ties": "last"}, [0.5, 1.0, 0.9, 0.9], [0.9, 0.5, 0.2, 0.3], 2),
    ],
)
def test_between_equal_scores_the_loss_on_dev_decides_unless_the_file_says_otherwise(
    tmp_path, options, scores, losses, best
):
    loop = build(tmp_path, evaluators={"slots": Judged(scores, losses)}, steps=4, evaluate_every=1, **options)

    loop.run()

    assert loop.state.best_step == best
    assert loop.parts.checkpoints.best().name == f"step-{best:08d}"


def test_the_loss_of_another_evaluator_decides_if_that_of_the_metric_has_none(tmp_path):
    evaluators = {"slots": Scripted(1.0, 1.0, 1.0), "loss": Judged([0.0] * 3, [0.5, 0.2, 0.4])}
    loop = build(tmp_path, evaluators=evaluators, steps=3, evaluate_every=1)

    loop.run()

    assert (loop.state.best_step, loop.state.best_loss) == (2, 0.2)


def test_a_tie_is_no_improvement_for_patience(tmp_path):
    evaluators = {"slots": Judged([0.5, 1.0, 1.0, 1.0, 1.0], [0.9, 0.5, 0.4, 0.3, 0.2])}
    loop = build(tmp_path, evaluators=evaluators, steps=50, evaluate_every=1, patience=2)

    assert loop.run() == "no better dev/slots/f1 in 2 evaluations"
    assert (loop.state.step, loop.state.best_step) == (4, 4)


@pytest.mark.parametrize(
    ("goal", "scores", "step", "best"),
    [
        ("max", [0.25, 0.5, 0.625, 0.75], 5, 4),  # 0.5 is better than 0.25 by 0.25, not by more
        ("max", [0.25, 0.375, 0.5625, 0.75, 0.75], 5, 5),  # small improvements add up
        ("max", [NAN, 0.25, NAN, 0.375], 4, 4),
        ("min", [4.0, 3.0, 2.875, 2.75], 4, 4),
    ],
)
@pytest.mark.parametrize("stop", [None, 1, 2, 3])
def test_patience_counts_improvements_above_min_delta_only_also_when_resumed(tmp_path, goal, scores, step, best, stop):
    signals = StopSignals()
    options = {"steps": 50, "evaluate_every": 1, "patience": 2, "min_delta": 0.25}

    def receive(at):
        signals.received = "SIGTERM" if at == stop else ""

    loop = build(
        tmp_path, Counter(act=receive), evaluators={"slots": Scripted(*scores, goal=goal)}, signals=signals, **options
    )
    if stop:
        with pytest.raises(Preempted):
            loop.run()
        loop = build(tmp_path, evaluators={"slots": Scripted(*scores[stop:], goal=goal)}, **options)
        restore(loop)

    assert loop.run() == "no better dev/slots/f1 by more than 0.25 in 2 evaluations"
    assert (loop.state.step, loop.state.best_step) == (step, best)


def test_a_checkpoint_of_a_version_without_min_delta_continues_from_its_best_score(tmp_path):
    signals = StopSignals()
    options = {"steps": 50, "evaluate_every": 1, "patience": 1}

    def receive(at):
        signals.received = "SIGTERM" if at == 1 else ""

    with pytest.raises(Preempted):
        build(tmp_path, Counter(act=receive), evaluators={"slots": Scripted(0.5)}, signals=signals, **options).run()
    loop = build(tmp_path, evaluators={"slots": Scripted(0.25)}, **options)
    state = load_state(loop.parts.checkpoints.latest())["loop"]
    loop.restore({name: value for name, value in state.items() if name != "reference"})

    assert loop.run() == "no better dev/slots/f1 in 1 evaluations"


def test_ties_by_loss_need_a_loss(tmp_path):
    loop = build(tmp_path, steps=2, ties="loss")

    with pytest.raises(InputError, match=r'ties = "loss": no evaluator gives a loss on dev, but dev/slots/f1, dev/sl'):
        loop.run()


def test_a_resumed_run_knows_the_loss_of_the_best_checkpoint(tmp_path):
    scores, losses = [1.0, 1.0, 1.0], [0.3, 0.2, 0.25]
    signals = StopSignals()
    first = build(tmp_path, evaluators={"slots": Judged(scores, losses)}, signals=signals, steps=3, evaluate_every=1)
    first._callbacks.call = lambda hook, **what: setattr(
        signals, "received", "SIGTERM" if first.state.step == 2 else ""
    )
    with pytest.raises(Preempted):
        first.run()
    second = build(tmp_path, evaluators={"slots": Judged(scores[2:], losses[2:])}, steps=3, evaluate_every=1)
    restore(second)

    second.run()

    assert (second.state.step, second.state.best_step, second.state.best_loss) == (3, 2, 0.2)


def test_another_metric_can_be_monitored(tmp_path):
    loop = build(tmp_path, monitor="dev/slots/size", goal="min", steps=20, patience=1)

    assert loop.run() == "no better dev/slots/size in 1 evaluations"


def test_the_goal_of_the_file_wins(tmp_path):
    loop = build(tmp_path, evaluators={"slots": Scripted(0.5, 0.1)}, goal="min", steps=2, evaluate_every=1)

    loop.run()

    assert loop.state.best == 0.1


def test_the_first_evaluator_is_monitored(tmp_path):
    loop = build(tmp_path, evaluators={"b": Scripted(0.5), "a": Scripted(0.25)}, steps=1)

    loop.run()

    assert loop.state.best == 0.5


@pytest.mark.parametrize("monitor", ["f1", "train/loss", "dev/words/f1", "test/slots/f1", "dev/slots"])
def test_a_monitor_that_no_evaluator_gives_is_refused(tmp_path, monitor):
    with pytest.raises(InputError, match=rf'monitor = "{monitor}": expected one of dev/slots/…'):
        build(tmp_path, monitor=monitor, goal="max", steps=1)


def test_a_monitor_without_a_goal_is_refused(tmp_path):
    with pytest.raises(InputError, match=r'monitor = "dev/slots/size": say whether it should grow or fall'):
        build(tmp_path, monitor="dev/slots/size", steps=1)


def test_a_monitor_that_the_evaluator_does_not_give_is_an_error_that_lists_what_it_gives(tmp_path):
    loop = build(tmp_path, monitor="dev/slots/recall", goal="max", steps=1)

    with pytest.raises(InputError, match=r"'dev/slots/recall': the evaluators give dev/slots/f1, dev/slots/size"):
        loop.run()


def test_so_many_checkpoints_are_kept(tmp_path):
    loop = build(tmp_path, dev=None, steps=9, checkpoint_every=1, keep=3)

    loop.run()

    assert loop.parts.checkpoints.steps() == [7, 8, 9]


def test_callbacks_hear_of_everything_in_its_order(tmp_path):
    callback = Everything()
    loop = build(tmp_path, steps=4, callbacks={"notes": callback})

    loop.run()

    assert callback.told == [
        ("logged", 3, {"train/loss": 2.0, "train/lr": 0.5}),
        ("logged", 4, {"train/loss": 4.0, "train/lr": 0.5}),
        ("epoch", 4, 1),
        ("evaluated", 4, "dev", {"dev/slots/f1": 0.0, "dev/slots/size": 2.0}),
        ("saved", 4, "step-00000004"),
    ]


def test_a_callback_that_raises_is_named_once_and_the_run_goes_on(tmp_path):
    loop = build(tmp_path, steps=9, callbacks={"bad": Failing(), "notes": Everything()})

    assert loop.run() == "9 steps done"
    assert loop.parts.out.getvalue().count("[callbacks.bad] failed in dlpipe_step_logged and is disabled") == 1


@pytest.mark.parametrize(("hook", "step"), [("logged", 3), ("epoch", 4), ("evaluated", 4), ("saved", 5)])
def test_a_callback_can_end_the_run_with_evaluation_and_checkpoint(tmp_path, hook, step):
    callback = Everything(stop_in=hook)
    loop = build(tmp_path, steps=50, callbacks={"stop": callback})

    assert loop.run() == "enough"
    assert loop.state.step == step
    assert evaluated_at(loop)[-1] == step
    assert records(loop, "train/")[-1]["step"] == step
    assert [what[1] for what in callback.told if what[0] == "saved"][-1] == step


@pytest.mark.parametrize(
    ("number", "error"),
    [(signal.SIGUSR1, Preempted), (signal.SIGTERM, Preempted), (signal.SIGINT, Interrupted)],
)
@pytest.mark.parametrize("step", [2, 4])
def test_a_signal_stops_after_the_step_with_a_checkpoint(tmp_path, number, error, step):
    def kill(now):
        if now == step:
            os.kill(os.getpid(), number)

    with StopSignals() as signals:
        loop = build(tmp_path, Counter(act=kill), signals=signals, steps=50)
        with pytest.raises(error, match=rf"stopped by {number.name} after step {step}, with a checkpoint"):
            loop.run()

    assert loop.parts.checkpoints.latest().name == f"step-{step:08d}"
    assert load_state(loop.parts.checkpoints.latest())["trainer"] == {"step": step}


def test_a_run_that_is_done_is_done_even_if_a_signal_came(tmp_path):
    signals = StopSignals()
    signals.received = "SIGTERM"

    assert build(tmp_path, signals=signals, steps=1).run() == "1 step done"


@pytest.mark.parametrize("reads", range(12))
def test_whenever_a_signal_comes_there_is_a_checkpoint_of_the_step(tmp_path, reads):
    class Late:
        """A signal that is there from the given look on."""

        interrupted, looks = False, 0

        @property
        def received(self):
            self.looks += 1
            return "SIGTERM" if self.looks > reads else ""

    loop = build(tmp_path, signals=Late(), steps=50, log_every=1, checkpoint_every=100, dev=None)

    with pytest.raises(Preempted, match="stopped by SIGTERM after step"):
        loop.run()

    assert loop.parts.checkpoints.steps() == [loop.state.step]


class Broken(Counter):
    """A counter one of whose numbers is broken from a step on."""

    def __init__(self, name, step, value=float("nan")):
        super().__init__()
        self._name, self._from, self._value = name, step, value

    def numbers(self):
        found = {"loss": torch.tensor(1.0), "grad_norm": torch.tensor(2.0)}
        if self.step >= self._from:
            if self._name == "weight":
                self.model.weight.data.fill_(self._value)
            else:
                found[self._name] = torch.tensor(self._value)
                found["loss"] = found["loss"] if self.step == self._from else torch.tensor(float("nan"))
        return found


def lines(loop):
    """Return the lines of evaluations that were shown."""
    return [line.strip() for line in loop.parts.out.getvalue().splitlines() if "train loss" in line]


@pytest.mark.parametrize("log_every", [1, 3, 4, 50])
def test_the_train_loss_of_a_line_is_the_mean_of_all_steps_since_the_line_before(tmp_path, log_every):
    loop = build(tmp_path, steps=8, log_every=log_every, evaluate_every=4)

    loop.run()

    shown = [re.search("train loss (.*)  dev slots/f1", line)[1] for line in lines(loop)]
    assert shown == ["2.5", "6.5"]  # the losses are 1, 2, 3 …; in float64, as those of log points


@pytest.mark.parametrize("stop", range(1, 9))
def test_the_train_loss_of_a_line_counts_the_steps_of_processes_that_were_stopped(tmp_path, stop):
    signals = StopSignals()

    def receive(step):
        signals.received = "SIGTERM" if step == stop else ""

    with pytest.raises(Preempted):
        build(tmp_path, Counter(act=receive), signals=signals, steps=9, evaluate_every=4).run()
    second = build(tmp_path, steps=9, evaluate_every=4)
    restore(second)
    second.run()

    shown = [re.search("train loss (.*)  dev slots/f1", line)[1] for line in lines(second)]
    assert shown == ["2.5", "6.5", "9"][-len(shown) :]
    assert len(shown) == 3 - (stop >= 4) - (stop >= 8)


def test_without_dev_a_line_at_the_first_log_point_after_each_epoch_has_the_train_loss(tmp_path):
    loop = build(tmp_path, dev=None, steps=14, log_every=3)

    loop.run()

    assert lines(loop) == [
        "epoch 1.5  train loss 3.5",
        "epoch 2.25  train loss 8",
        "epoch 3  train loss 11",
        "epoch 3.5  train loss 13.5",
    ]


@pytest.mark.parametrize("step", [1, 5, 7, 10])
@pytest.mark.parametrize(("name", "value"), [("loss", float("inf")), ("grad_norm", float("nan"))])
def test_the_step_of_a_nan_is_named_although_it_is_found_later(tmp_path, step, name, value):
    loop = build(
        tmp_path,
        Broken(name, step, value),
        dev=None,
        checkpoint_every=99,
        diagnose=lambda n: f"At {n}.",
        steps=20,
        log_every=10,
    )

    with pytest.raises(
        NonFiniteError, match=rf"step {step}: train/{name} is {value}\. At {step}\.\nTry .*\(now 0\.5\)"
    ):
        loop.run()

    assert loop.state.step == 10


@pytest.mark.parametrize("name", ["weight", "loss", "grad_norm"])
@pytest.mark.parametrize("step", range(1, 10))
def test_no_checkpoint_and_no_evaluation_ever_sees_a_nan(tmp_path, name, step):
    evaluator = Scripted(0.1, 0.2, 0.3, 0.4, 0.5)
    loop = build(
        tmp_path, Broken(name, step), evaluators={"slots": evaluator}, evaluate_every=4, checkpoint_every=3, keep=9,
        steps=20, log_every=7,
    )  # fmt: skip

    with pytest.raises(NonFiniteError, match=rf"^step {step if name != 'weight' else '[0-9]+'}: "):
        loop.run()

    checkpoints = loop.parts.checkpoints
    assert all(saved < step for saved in checkpoints.steps())
    assert evaluator.calls == (step - 1) // 4
    for saved in checkpoints.steps():
        model = nn.Linear(1, 1)
        load_weights(checkpoints.folder / f"step-{saved:08d}", model)
        assert all(weight.isfinite().all() for weight in model.parameters())


def test_no_checkpoint_ever_sees_a_running_statistic_that_is_nan(tmp_path):
    trainer = Counter()
    trainer.model = nn.BatchNorm1d(1)
    trainer.model.running_var.fill_(torch.nan)
    loop = build(tmp_path, trainer, dev=None, checkpoint_every=3, steps=5)

    with pytest.raises(NonFiniteError, match=r"step 3: a weight or running statistic is nan"):
        loop.run()

    assert not loop.parts.checkpoints.steps()


class Bomb(nn.Module):
    """A layer whose output overflows in its 6th training pass."""

    def __init__(self):
        super().__init__()
        self.register_buffer("passes", torch.tensor(0.0))

    def forward(self, hidden):
        self.passes += self.training
        return hidden / (6 - self.passes)


class Classifier(nn.Module):
    """Scores 3 classes for images of 5 numbers, with dropout."""

    def __init__(self, middle=None):
        super().__init__()
        self.hidden = nn.Linear(5, 7)
        self.middle = middle or nn.Identity()
        self.dropout = nn.Dropout(0.5)
        self.classify = nn.Linear(7, 3)

    def forward(self, images):
        return self.classify(self.dropout(torch.tanh(self.middle(self.hidden(images)))))


class Exploding(Classifier):
    """The same without the function that would tame what is too large."""

    def forward(self, images):
        return self.classify(self.dropout(self.middle(self.hidden(images))))


class Pictures:
    """Images in 3 classes: 23 to learn from, 7 to judge by."""

    splits = ("train", "dev")

    def split(self, name):
        generator = torch.Generator().manual_seed(len(name))
        images = torch.randn(23 if name == "train" else 7, 5, generator=generator)
        return Columns({"images": images, "targets": (images.sum(1) * 2).long().remainder(3)})


class Sums:
    """An evaluator whose numbers follow from the weights."""

    primary, goal = "sum", "max"

    def evaluate(self, model, examples):
        return {"sum": float(sum(outputs.sum() for _, outputs, _ in examples.predictions(model)))}

    def write(self, folder):
        pass


def real(folder, act=lambda step: None, *, model=Classifier, trainer=None, **options):
    """Return a loop that really trains; `act` is called in the middle of each step."""
    seed_everything(3)
    data = Pictures()
    made = Supervised(
        model(),
        data,
        CPU,
        3,
        **{"batch_size": 7, "ema_decay": 0.9, "warmup_steps": 3, "budget": Budget(steps=11)} | (trainer or {}),
    )
    take = made._step
    step = [0]

    def acting(parts):
        metrics = take(parts)
        step[0] += 1
        act(step[0])
        return metrics

    made._step = acting
    settings = {"steps": 11, "evaluate_every": 4, "log_every": 3, "checkpoint_every": 4} | options
    loop = build(folder, made, evaluators={"sums": Sums()}, dev=Examples(data, "dev", CPU), **settings)
    seed_everything(4)
    return loop


def restore(loop):
    """Do what a resumed process does."""
    checkpoint = loop.parts.checkpoints.latest()
    if checkpoint is None:
        loop.parts.log.truncate(0)
        return
    state = load_state(checkpoint)
    load_weights(checkpoint, loop.parts.trainer.model)
    loop.parts.trainer.load_state_dict(state["trainer"])
    loop.restore(state["loop"])


def outcome(loop):
    """Return all that two runs must have in common."""
    best = loop.parts.checkpoints.best()
    assert verify(best) == ""
    model = Classifier()
    load_weights(best, model)
    place = {name: value for name, value in vars(loop.state).items() if name not in ("seconds", "pending")}
    weights = [loop.parts.trainer.model, loop.parts.trainer._live, model]
    return records(loop), place, best.name, [value.tolist() for part in weights for value in part.state_dict().values()]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    loop = real(tmp_path_factory.mktemp("uninterrupted"))
    loop.run()
    return outcome(loop)


@pytest.mark.parametrize("step", range(1, 11))
def test_a_run_stopped_after_any_step_ends_as_if_it_had_not_been(tmp_path, uninterrupted, step):
    signals = StopSignals()

    def receive(now):
        signals.received = "SIGTERM" if now == step else ""

    with pytest.raises(Preempted, match="stopped by SIGTERM after step"):
        real(tmp_path, receive, signals=signals).run()
    second = real(tmp_path)
    restore(second)
    assert second.state.step == step
    second.run()

    assert outcome(second) == uninterrupted


@pytest.mark.parametrize("step", range(1, 12))
def test_a_run_killed_in_any_step_ends_as_if_it_had_not_been(tmp_path, uninterrupted, step):
    def die(now):
        if now == step:
            raise SystemExit("killed")

    with pytest.raises(SystemExit):
        real(tmp_path, die).run()
    second = real(tmp_path)
    restore(second)
    second.run()

    assert outcome(second) == uninterrupted


def test_a_run_killed_again_and_again_ends_as_if_it_had_not_been(tmp_path, uninterrupted):
    def die(now):
        if now == 3:
            raise SystemExit("killed")

    for _ in range(4):
        loop = real(tmp_path, die, checkpoint_every=1)
        restore(loop)
        if loop.state.step < 9:
            with pytest.raises(SystemExit):
                loop.run()
    last = real(tmp_path, checkpoint_every=1)
    restore(last)
    last.run()

    assert outcome(last) == uninterrupted


def test_a_run_that_is_over_stays_over(tmp_path, uninterrupted):
    real(tmp_path).run()
    again = real(tmp_path)
    restore(again)

    assert again.run() == "11 steps done"
    assert outcome(again) == uninterrupted


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pending_steps": 10**12}, r"pending_steps"),
        ({"pending_steps": 10**6}, r"it has 1000000 steps since the last log point"),
        ({"step": 1, "pending_steps": 2}, r"it has 2 steps since the last log point"),
        ({"step": "11"}, r"step\n"),
        ({"log_size": -1}, r"log_size"),
        ({"best": [1]}, r"best"),
        ({"randomness": {}}, r"'python'"),
        ({"pending": {"loss": ([10**9], torch.zeros(1))}}, r"list index out of range"),
    ],
)
def test_a_state_that_no_loop_has_saved_is_refused_before_it_takes_memory(tmp_path, change, message):
    real(tmp_path).run()
    again = real(tmp_path)
    state = load_state(again.parts.checkpoints.latest())["loop"] | change

    with pytest.raises((ValueError, KeyError, IndexError), match=message):
        again.restore(state)


def test_a_state_of_numpy_that_would_be_read_beyond_its_end_is_refused():
    state = randomness()
    keys, _, *rest = state["numpy"]

    with pytest.raises(ValueError, match=r"the position 1000000 is not in the state of numpy's generator"):
        restore_randomness(state | {"numpy": (keys, 10**6, *rest)})


@pytest.mark.parametrize("checkpoint_every", [1, 2, 99])
def test_the_layer_whose_output_overflows_is_named(tmp_path, checkpoint_every):
    options = {"model": lambda: Exploding(Bomb()), "trainer": {"ema_decay": None}}

    def diagnose(step):
        again = real(tmp_path / "again", **options)
        checkpoint = loop.parts.checkpoints.latest(before=step)
        at = 0
        if checkpoint:
            state = load_state(checkpoint)
            load_weights(checkpoint, again.parts.trainer.model)
            again.parts.trainer.load_state_dict(state["trainer"])
            restore_randomness(state["loop"]["randomness"])
            at = state["loop"]["step"]
        return first_non_finite(again.parts.trainer, again.parts.trainer._live, at, step)

    loop = real(
        tmp_path, checkpoint_every=checkpoint_every, evaluate_every=99, log_every=8, diagnose=diagnose, **options
    )

    text = r"step 6: train/loss is nan\. The first non-finite tensor is the output of `middle` \(Bomb\), at step 6\."
    with pytest.raises(NonFiniteError, match=text):
        loop.run()

    assert max(loop.parts.checkpoints.steps(), default=0) <= 5


class Reads(TorchDispatchMode):
    """Counts what makes the program wait for the values of a tensor."""

    READING = ("_local_scalar_dense", "nonzero", "equal", "is_nonzero", "masked_select")

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += function.overloadpacket.__name__ in self.READING
        return function(*args, **kwargs or {})


@pytest.mark.parametrize("read", [lambda t: t.item(), float, bool, lambda t: t if t else None, torch.nonzero])
def test_reading_a_tensor_is_counted(read):
    with Reads() as reads:
        read(torch.tensor(1.0))

    assert reads.count == 1


@pytest.mark.parametrize(
    ("trainer", "metrics"),
    [({}, 1), ({"max_grad_norm": 1.0}, 2), ({"gradient_accumulation_steps": 2}, 1), ({"warmup_steps": 5}, 1)],
)
def test_only_the_metrics_of_a_step_are_read(tmp_path, trainer, metrics):
    marks = []
    with Reads() as reads:
        loop = real(
            tmp_path, lambda step: marks.append(reads.count), steps=10, evaluate_every=99, log_every=5,
            trainer={"batch_size": 1, "optimizer": {"use": "sgd", "lr": 0.1, "momentum": 0.9}, "ema_decay": None} | trainer,
            checkpoint_every=99,
        )  # fmt: skip
        loop.run()

    # On an accelerator, they are not read either: tests/test_waits.py.
    read = [after - before for before, after in itertools.pairwise(marks)]
    assert read == [metrics] * 9  # a log point reads nothing more


def test_metrics_are_named_by_split_and_evaluator():
    forgotten = []
    examples = SimpleNamespace(split="test", forget=lambda: forgotten.append(True), check_stop=lambda: None)

    metrics = evaluate(nn.Identity(), {"a": Scripted(0.5), "b": Scripted(0.25)}, examples)

    assert metrics == {"test/a/f1": 0.5, "test/a/size": 2.0, "test/b/f1": 0.25, "test/b/size": 2.0}
    assert len(forgotten) == 2  # before, as the model may have changed, and after, for the memory


# Training examples that are judged


def judged_on_train(**evaluators):
    examples = SimpleNamespace(split="train", forget=lambda: None, check_stop=lambda: None)
    return [JudgedExamples(evaluators, examples)]


def test_training_examples_are_judged_at_the_steps_of_dev_and_do_not_decide(tmp_path):
    told = Everything()
    loop = build(
        tmp_path,
        evaluators={"slots": Scripted(0.5, 0.25)},
        train=judged_on_train(slots=Scripted(0.5, 0.75)),
        callbacks={"told": told},
        epochs=2,
    )

    loop.run()

    found = records(loop, "dev/", "train/slots")
    assert [(each["step"], each["train/slots/f1"], each["dev/slots/f1"]) for each in found] == [
        (4, 0.5, 0.5),
        (8, 0.75, 0.25),
    ]
    assert loop.state.best_step == 4
    assert [(step, split) for hook, step, split, *_ in told.told if hook == "evaluated"] == [
        (4, "train"),
        (4, "dev"),
        (8, "train"),
        (8, "dev"),
    ]
    assert "epoch 1  train loss 2.5 slots/f1 0.5  dev slots/f1 0.5  * best so far" in loop.parts.out.getvalue()


def test_without_a_dev_split_training_examples_are_judged_and_the_last_checkpoint_counts(tmp_path):
    loop = build(tmp_path, dev=None, train=judged_on_train(slots=Scripted(0.5, 0.75)), steps=6)

    loop.run()

    assert [(each["step"], each["train/slots/f1"]) for each in records(loop, "train/slots")] == [(4, 0.5), (6, 0.75)]
    assert loop.monitor == ("", "max")
    assert loop.parts.checkpoints.best().name == "step-00000006"
    assert "epoch 1.5  train loss 5.5 slots/f1 0.75" in loop.parts.out.getvalue()


def test_a_loss_on_train_breaks_no_tie(tmp_path):
    loop = build(
        tmp_path,
        evaluators={"slots": Scripted(0.5, 0.5)},
        train=judged_on_train(slots=Judged([0.1, 0.1], [1.0, 2.0])),
        epochs=2,
    )

    loop.run()

    assert loop.state.best_step == 8  # the last one, as no loss on dev is known


def stopped_after(tmp_path, last, act, **options):
    """Take steps until SIGTERM comes in one of them."""
    signals = StopSignals()

    def step_and_signal(step):
        act(step)
        if step == last:
            signals.received = "SIGTERM"

    with pytest.raises(Preempted, match=f"stopped by SIGTERM after step {last}"):
        build(tmp_path, Counter(100, step_and_signal), signals=signals, dev=None, **options).run()


def test_the_rate_of_a_resumed_run_is_that_of_the_steps_since(tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(loop_module.time, "monotonic", lambda: now[0])
    stopped_after(tmp_path, 4, lambda step: now.__setitem__(0, now[0] + 0.5), steps=9)
    second = build(tmp_path, Counter(100, lambda step: now.__setitem__(0, now[0] + 0.25)), dev=None, steps=9)
    restore(second)

    second.run()

    assert [record["steps_per_second"] for record in second.parts.log.records()] == [2, 4, 4]


def test_the_minutes_between_checkpoints_count_from_the_one_that_a_run_was_resumed_from(tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(loop_module.time, "monotonic", lambda: now[0])

    def one_minute(step):
        now[0] += 60

    options = {"steps": 10, "log_every": 1, "checkpoint_minutes": 4, "keep": 9}
    stopped_after(tmp_path, 2, one_minute, **options)
    second = build(tmp_path, Counter(100, one_minute), dev=None, **options)
    restore(second)

    second.run()

    assert second.parts.checkpoints.steps() == [2, 6, 10]


def test_after_an_evaluator_that_fails_the_checkpoint_has_the_random_numbers_from_before_it(tmp_path):
    before = []

    def fail(model, examples):
        before.append(torch.get_rng_state())
        torch.rand(3)
        raise ValueError("broken on purpose")

    judge = Scripted()
    judge.evaluate = fail
    loop = build(tmp_path, evaluators={"slots": judge}, steps=8)

    with pytest.raises(ComponentError, match="broken on purpose"):
        loop.run()

    assert torch.equal(load_state(loop.parts.checkpoints.latest())["loop"]["randomness"]["torch"], before[0])
