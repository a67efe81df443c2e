from pathlib import Path

import pytest

from dlpipe.errors import PluginError
from dlpipe.registry.hooks import RunView, hookimpl
from dlpipe.training.callbacks import Callbacks

RUN = RunView("slots", Path("runs"), 7, 0, lambda reason: None)


class Noting:
    """Writes down what it is told."""

    def __init__(self, name, notes):
        self.name, self.notes = name, notes

    @hookimpl
    def dlpipe_epoch_end(self, epoch, run):
        self.notes.append((self.name, epoch, run.name))


class Pushing(Noting):
    """Would like to have a place of its own choice in the order."""

    @hookimpl(tryfirst=True)
    def dlpipe_epoch_end(self, epoch, run):
        self.notes.append((self.name, epoch, run.name))


class Failing:
    """Raises."""

    def __init__(self):
        self.calls = []

    @hookimpl
    def dlpipe_epoch_end(self):
        self.calls.append("epoch")
        raise KeyError("loss")

    @hookimpl
    def dlpipe_run_end(self):
        self.calls.append("end")


class Misspelled:
    """Has a hook that does not exist."""

    @hookimpl
    def dlpipe_epoch_ends(self):
        pass


def test_callbacks_are_called_in_the_order_of_the_file():
    notes = []
    kinds = {"second": Pushing, "first": Noting, "third": Noting}
    watchers = Callbacks({name: kind(name, notes) for name, kind in kinds.items()}, RUN, notes.append)

    watchers.call("dlpipe_epoch_end", step=20, epoch=2)

    assert notes == [("second", 2, "slots"), ("first", 2, "slots"), ("third", 2, "slots")]


def test_a_hook_that_no_callback_has_is_called_in_peace():
    Callbacks({"curves": Noting("curves", [])}, RUN, print).call("dlpipe_run_end", step=5)


def test_a_callback_that_raises_is_named_once_and_off_and_the_others_go_on():
    notes, reports, failing = [], [], Failing()
    callbacks = {"first": Noting("first", notes), "bad": failing, "last": Noting("last", notes)}
    watchers = Callbacks(callbacks, RUN, reports.append)

    for epoch in (1, 2):
        watchers.call("dlpipe_epoch_end", step=epoch, epoch=epoch)
    watchers.call("dlpipe_run_end", step=2)

    assert [note[:2] for note in notes] == [("first", 1), ("last", 1), ("first", 2), ("last", 2)]
    assert failing.calls == ["epoch"]
    [report] = reports
    start = (
        "callback [callbacks.bad] failed in dlpipe_epoch_end and is disabled for the rest of the run: KeyError: 'loss'"
    )
    assert report.startswith(f"{start} (")
    assert report.endswith(", in dlpipe_epoch_end)")


def test_a_callback_cannot_change_what_is_logged():
    class Adding:
        @hookimpl
        def dlpipe_step_logged(self, metrics):
            metrics["mine"] = 1.0

    metrics, reports, seen = {"train/loss": float("nan")}, [], []
    reading = type("Reading", (), {"dlpipe_step_logged": hookimpl(lambda self, metrics: seen.append(metrics))})()
    watchers = Callbacks({"bad": Adding(), "good": reading}, RUN, reports.append)

    watchers.call("dlpipe_step_logged", step=2, metrics=metrics)

    assert list(metrics) == list(seen[0]) == ["train/loss"]
    assert reports == [
        "callback [callbacks.bad] changes what dlpipe_step_logged passes to it; only its own copy changes, neither the "
        "log nor what other callbacks get"
    ]


def test_a_callback_with_a_hook_that_does_not_exist_is_refused():
    with pytest.raises(PluginError, match=r"unknown hook 'dlpipe_epoch_ends'.*dlpipe_epoch_end"):
        Callbacks({"curves": Misspelled()}, RUN, print)
