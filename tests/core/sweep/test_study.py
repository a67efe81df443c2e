"""A search in a file: what it proposes, and what becomes of processes that are killed."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("optuna")

from dlpipe.errors import RunFolderError
from dlpipe.sweep.axes import Choice, Range
from dlpipe.sweep.journal import JournalFile
from dlpipe.sweep.settings import Search
from dlpipe.sweep.study import Study, TrialRecord
from dlpipe.sweep.workers import TrialKey

AXES = {
    "lr": Range("trainer.lr", 1e-4, 1.0, scale="log"),
    "layers": Range("layers", 1, 5),
    "act": [Choice("a", {}), Choice("b", {})],
}


def study(folder, method="tpe", seed=3, axes=AXES, goals=("max",), pruner="none"):
    return Study(folder, Search(method, pruner=pruner), seed, axes, goals)


def names(proposal):
    return tuple(choice.name for choice in proposal.point.values())


def searched(folder, method, each_opened_anew=False):
    """Propose 14 trials, more than TPE draws at random, and return their values."""
    found, opened = [], study(folder, method)
    for _ in range(14):
        opened = study(folder, method) if each_opened_anew else opened
        with opened.proposing():
            proposal = opened.propose()
        opened.tell(proposal.number, [proposal.point["lr"].values["trainer.lr"]])
        found.append(names(proposal))
    return found


@pytest.mark.parametrize("method", ["random", "tpe"])
def test_the_same_seed_gives_the_same_trials_also_after_a_restart(tmp_path, method):
    first = searched(tmp_path / "a", method)

    assert searched(tmp_path / "b", method, each_opened_anew=True) == first
    assert len(set(first)) == 14


def test_values_lie_in_their_ranges_and_whole_numbers_are_whole(tmp_path):
    opened = study(tmp_path)

    points = [opened.propose().point for _ in range(5)]

    assert all(1e-4 <= point["lr"].values["trainer.lr"] <= 1 for point in points)
    assert all(point["layers"].values["layers"] in range(1, 6) for point in points)
    assert {point["act"].name for point in points} <= {"a", "b"}


def test_several_processes_see_each_others_trials(tmp_path):
    one, other = study(tmp_path), study(tmp_path)
    first = one.propose()

    second = other.propose()
    other.tell(first.number, [0.5])
    one.tell(first.number, [0.7])  # too late: it changes nothing

    assert second.number == 1
    assert [(proposal.number, proposal.open) for proposal in one.proposals()] == [(0, False), (1, True)]


def test_a_trial_whose_process_was_killed_while_proposing_is_discarded(tmp_path):
    opened = study(tmp_path)
    opened._study.ask({"lr": opened._distributions["lr"]})

    with study(tmp_path).proposing():
        pass

    assert opened.proposals() == []
    assert opened.propose().number == 1


def test_a_line_that_was_cut_off_is_removed_by_the_next_writer(tmp_path):
    opened = study(tmp_path)
    path = tmp_path / "journal.jsonl"
    with path.open("a") as file:
        file.write('{"op_code": 4, "wor')

    again = study(tmp_path)
    again.propose()

    assert len(opened.proposals()) == 1
    assert all(json.loads(line) for line in path.read_text().splitlines())


def test_a_damaged_line_is_told(tmp_path):
    study(tmp_path)
    (tmp_path / "journal.jsonl").write_text("PK\n")

    with pytest.raises(
        RunFolderError, match=r"journal.jsonl:1: this is not a line of JSON that a search wrote; restore"
    ):
        list(JournalFile(tmp_path).read_logs(0))


@pytest.mark.parametrize(("pruner", "spacing"), [("median", 10), ("median", 7), ("hyperband", 10)])
def test_a_trial_that_does_worse_than_the_others_is_pruned_whatever_its_steps(tmp_path, pruner, spacing):
    opened, ended = study(tmp_path, goals=("min",)), {}
    for number in range(24):
        opened.propose()
        record = TrialRecord(TrialKey(tmp_path, number, "dev/a/loss", pruner))
        good = number < 12
        steps = [count * (10 if good else spacing) for count in range(1, 5)]
        pruned = [step for step in steps if record.should_be_pruned(step, (1 if good else 5) - step / 100)]
        opened.tell(number, None if pruned else [0.5])
        ended[number] = bool(pruned)

    assert not any(ended[number] for number in range(5))
    assert any(ended[number] for number in range(12, 24))


def test_an_evaluation_that_a_resumed_run_repeats_counts_once(tmp_path):
    study(tmp_path).propose()
    key = TrialKey(tmp_path, 0, "dev/a/loss", "median")
    for step, value in [(7, 0.5), (14, 0.4), (7, 0.3), (14, 0.2), (21, 0.1)]:
        TrialRecord(key).should_be_pruned(step, value)

    assert TrialRecord(key)._trial().intermediate_values == {1: 0.3, 2: 0.2, 3: 0.1}
