"""A process of the command line does not look for garbage among what it imports."""

from __future__ import annotations

import gc
import subprocess
import sys

import pytest

from dlpipe import __main__ as program
from dlpipe import garbage
from dlpipe.compute import configure_torch
from dlpipe.config.settings import Settings


@pytest.fixture(autouse=True)
def as_before(monkeypatch):
    threshold = gc.get_threshold()
    monkeypatch.setattr(garbage, "_usual", None)
    yield
    gc.set_threshold(*threshold)
    gc.unfreeze()


def test_garbage_is_looked_for_seldom_and_then_as_usual_among_what_is_new():
    usual, frozen = gc.get_threshold(), gc.get_freeze_count()

    garbage.search_seldom()
    assert gc.get_threshold() == (garbage.MANY, *usual[1:])
    assert gc.get_freeze_count() == frozen

    garbage.search_as_usual()
    assert gc.get_threshold() == usual
    assert gc.get_freeze_count() > frozen + 10_000


def test_a_process_of_somebody_else_is_left_alone():
    usual, frozen = gc.get_threshold(), gc.get_freeze_count()

    configure_torch(Settings(name="mine", device="cpu"))

    assert gc.get_threshold() == usual
    assert gc.get_freeze_count() == frozen


def test_what_there_is_now_is_set_aside_once():
    garbage.search_seldom()
    garbage.search_as_usual()
    gc.unfreeze()

    garbage.search_as_usual()

    assert gc.get_freeze_count() == 0


def test_a_run_looks_for_garbage_as_usual():
    usual = gc.get_threshold()
    garbage.search_seldom()

    configure_torch(Settings(name="mine", device="cpu"))

    assert gc.get_threshold() == usual


def test_the_program_begins_with_it(monkeypatch):
    seen = []
    monkeypatch.setattr(program, "STOP_SIGNALS", ())
    monkeypatch.setattr(program.importlib, "import_module", lambda name: seen.append(gc.get_threshold()) or sys)
    monkeypatch.setattr(sys, "main", lambda: None, raising=False)

    program.main()

    assert seen[0][0] == garbage.MANY


def test_no_search_among_all_objects_comes_before_a_run():
    text = """
import gc, sys
from dlpipe import __main__ as program
whole = []
gc.callbacks.append(lambda phase, info: whole.append(info) if info["generation"] == 2 else None)
sys.argv = ["dlpipe", "show", "core.mlp"]
try:
    program.main()
finally:
    import torch
    print(len(whole), file=sys.stderr)
"""

    answer = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)

    assert answer.stderr == "0\n"
