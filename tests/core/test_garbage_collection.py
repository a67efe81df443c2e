"""A process of the command line does not collect garbage among what it imports."""

from __future__ import annotations

import gc
import subprocess
import sys
from types import SimpleNamespace

import pytest

from dlpipe import __main__ as program
from dlpipe import garbage_collection
from dlpipe.compute import configure_torch
from dlpipe.config.settings import Settings


@pytest.fixture(autouse=True)
def as_before(monkeypatch):
    threshold = gc.get_threshold()
    monkeypatch.setattr(garbage_collection, "_usual", None)
    yield
    gc.set_threshold(*threshold)
    gc.unfreeze()


def test_garbage_is_collected_rarely_and_then_as_usual_among_what_is_new():
    usual, frozen = gc.get_threshold(), gc.get_freeze_count()

    garbage_collection.collect_rarely()
    assert gc.get_threshold() == (garbage_collection.RARE, *usual[1:])
    assert gc.get_freeze_count() == frozen

    garbage_collection.collect_as_usual()
    assert gc.get_threshold() == usual
    assert gc.get_freeze_count() > frozen + 10_000


def test_a_process_that_only_imports_dlpipe_keeps_its_settings():
    usual, frozen = gc.get_threshold(), gc.get_freeze_count()

    configure_torch(Settings(name="mine", device="cpu"))

    assert gc.get_threshold() == usual
    assert gc.get_freeze_count() == frozen


def test_objects_are_exempted_once():
    garbage_collection.collect_rarely()
    garbage_collection.collect_as_usual()
    gc.unfreeze()

    garbage_collection.collect_as_usual()

    assert gc.get_freeze_count() == 0


def test_a_run_collects_as_usual():
    usual = gc.get_threshold()
    garbage_collection.collect_rarely()

    configure_torch(Settings(name="mine", device="cpu"))

    assert gc.get_threshold() == usual


def test_the_program_begins_with_it(monkeypatch):
    seen = []
    monkeypatch.setattr(program, "STOP_SIGNALS", ())
    module = SimpleNamespace(main=lambda: None, observe=lambda: None)
    monkeypatch.setattr(program.importlib, "import_module", lambda name: seen.append(gc.get_threshold()) or module)

    program.main()

    assert seen[0][0] == garbage_collection.RARE


def test_no_full_collection_comes_before_a_run():
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
