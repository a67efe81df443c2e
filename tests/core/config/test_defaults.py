"""Defaults are computed from their source, or left to the component."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from dlpipe.config.defaults import Computed
from dlpipe.config.signatures import read_signature
from dlpipe.config.tables import SETTINGS, keys_of
from dlpipe.config.torch_names import OPTIMIZERS, SCHEDULES
from dlpipe.registry.loading import load_plugins
from dlpipe.registry.specs import SELECTABLE

SIZES = "BASE = 4\nDOUBLE = BASE * 2\nNAMES = ('a', 'b')\n"


@pytest.fixture
def default(tmp_path, monkeypatch, request):
    """Return the default of `X(a=…)` in a module, which is not imported."""
    monkeypatch.syspath_prepend(tmp_path)
    name = f"module_{abs(hash(request.node.nodeid))}"
    (tmp_path / "sizes_of_defaults.py").write_text(SIZES)

    def default(source, code=""):
        (tmp_path / f"{name}.py").write_text(f"{code}\ndef X(a={source}): ...\n")
        value = read_signature(f"{name}:X").parameters["a"].default
        assert name not in sys.modules
        return value

    return default


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("STEPS", 300),
        ("-STEPS", -300),
        ("STEPS // 7 + 2**3", 50),
        ("(STEPS, 'a', [1.5])", (300, "a", [1.5])),
        ("{'use': 'adam', 'lr': RATE / 10}", {"use": "adam", "lr": 0.05}),
        ("Path('drawn.png')", Path("drawn.png")),
        ("Path('a') / 'b'", Path("a/b")),
        ("pathlib.Path('a')", Path("a")),
        ("float('inf')", float("inf")),
        ("math.inf", float("inf")),
        ("not STEPS", False),
        ("BASE", 4),
        ("sizes.DOUBLE", 8),
        ("sizes.NAMES", ("a", "b")),
        ("ANNOTATED", 7),
        ("HEIGHT", 6),
    ],
)
def test_constants_and_arithmetic_are_computed(default, source, value):
    code = (
        "import math, pathlib\nfrom pathlib import Path\nimport sizes_of_defaults as sizes\n"
        "from sizes_of_defaults import BASE\nSTEPS = 300\nRATE = 0.5\nANNOTATED: int = 7\nWIDTH, HEIGHT = 8, 6\n"
    )

    found = default(source, code)

    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("source", "code"),
    [
        ("UNKNOWN", ""),
        ("N", "N = 1\nN = 2"),
        ("N", "N = 1\nN += 1"),
        ("N", "if True:\n    N = 1"),
        ("N", "try:\n    from nowhere import N\nexcept ImportError:\n    N = 1"),
        ("N", "N = 1\ndef change():\n    global N\n    N = 2"),
        ("N", "N = N"),
        ("N", "N, M = range(2)"),
        ("N", "(*M, N) = 1, 2, 3"),
        ("N", "def N(): ..."),
        ("N", "N = M\nM = N"),
        ("N", "N = len('abc')"),
        ("len('abc')", ""),
        ("1 / 0", ""),
        ("'a' + 1", ""),
        ("[*'ab']", ""),
        ("{**{}}", ""),
        ("f'{1}'", ""),
        ("lambda: 1", ""),
        ("Path('a')", "def Path(text): return text"),
        ("Color.RED", "import enum\nclass Color(enum.Enum):\n    RED = 1"),
    ],
)
def test_what_only_running_the_code_can_tell_is_left_to_the_component(default, source, code):
    assert isinstance(default(source, code), Computed)


@pytest.mark.parametrize("module", ["assigned", "imported"])
def test_a_constant_of_the_class_is_left_to_the_component(tmp_path, monkeypatch, module):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "one_constant.py").write_text("N = 1\n")
    outside = {"assigned": "N = 1\n", "imported": "from one_constant import N\n"}[module]
    (tmp_path / f"class_and_{module}.py").write_text(
        f"{outside}class X:\n    N = 2\n    def __init__(self, a=N): ...\n"
    )

    assert read_signature(f"class_and_{module}:X").parameters["a"].default == Computed("N")


def test_no_default_of_our_components_is_left_to_the_component():
    components = load_plugins({}).components
    specs = [component.spec for kind in components if kind in SELECTABLE for component in components[kind].values()]
    keys = [parameter for spec in specs for parameter in keys_of(spec).values()]
    applications = [spec.application for spec in specs if getattr(spec, "application", "")]
    for target in [*applications, SETTINGS, *OPTIMIZERS.values(), *SCHEDULES.values()]:
        keys += read_signature(target).parameters.values()

    assert len(keys) > 200
    assert [parameter for parameter in keys if isinstance(parameter.default, Computed)] == []
