"""The interface of plugins: its signatures are those of tests/core/api.txt, and its reference is up to date."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import dlpipe
from dlpipe.registry.hooks import API

ROOT = Path(__file__).resolve().parents[2]


def load_generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("api", ROOT / "docs" / "api.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


GENERATOR = load_generator()


def test_the_signatures_of_the_interface_change_with_its_version():
    # What was removed or changed raises the major number of dlpipe.registry.hooks.API, what was added the minor one
    # (docs/plugins.md, "The stability promise"); then: python docs/api.py
    assert (ROOT / "tests" / "core" / "api.txt").read_text().splitlines() == [
        f"plugin API {API}",
        *GENERATOR.signatures(),
    ]


def test_the_reference_is_up_to_date():
    # If this fails: python docs/api.py
    assert (ROOT / "docs" / "api.md").read_text() == GENERATOR.page()


def test_the_reference_has_every_public_module():
    assert set(GENERATOR.MODULES) == {"dlpipe", *(f"dlpipe.{name}" for name in dlpipe._PUBLIC_MODULES)}


def test_everything_public_says_what_it_is():
    page = GENERATOR.page()

    undocumented = {entry.splitlines()[0] for entry in page.split("\n### ")[1:] if entry.count("\n") <= 5}
    # The value of these is their description.
    assert undocumented <= {"hookimpl", "NonNegative", "NonNegativeFloat", "Positive", "PositiveFloat"}


def test_a_signature_has_no_quotes_around_annotations_and_keeps_those_of_defaults() -> None:
    def step(
        name: str | dict[str, str] = {"use": "adam"},  # noqa: B006
        path: Path | None = None,
        mode: str = "a",
    ) -> Path | None: ...

    assert GENERATOR._signature(step) == (
        "(name: str | dict[str, str] = {'use': 'adam'}, path: Path | None = None, mode: str = 'a') -> Path | None"
    )
