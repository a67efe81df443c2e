"""Checks for authors of plugins: whether components and pipelines keep dlpipe's promises.

Use them in tests of your own::

    @pytest.mark.parametrize("check", component_checks("mine", pipelines=["mine.toml"]), ids=str)
    def test_component(check):
        check()

    def test_my_trainer_resumes_exactly(tmp_path):
        check_resume("pipelines/mine.toml", tmp_path, assignments=["trainer.steps=12"])

    def test_my_trainer_survives_kills(tmp_path):
        check_kills("pipelines/mine.toml", tmp_path, assignments=["trainer.steps=200"], kills=10)

The modules are imported when one of their names is first used: pytest collects `component_checks` without torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dlpipe.testing.checks import Check, component_checks
    from dlpipe.testing.kills import check_kills
    from dlpipe.testing.resume import assert_same_outcome, check_resume, comparable_metrics

__all__ = [
    "Check",
    "assert_same_outcome",
    "check_kills",
    "check_resume",
    "comparable_metrics",
    "component_checks",
]

_MODULES_OF_NAMES = {"Check": "checks", "check_kills": "kills", "component_checks": "checks"}


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(importlib.import_module(f"{__name__}.{_MODULES_OF_NAMES.get(name, 'resume')}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
