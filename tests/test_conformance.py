"""The built-in plugins pass the conformance kit that plugin authors run (`dlpipe.testing.component_checks`).

The static rules of all components and the dynamic ones of a few pipelines are fast; the dynamic rules of all other
components are slow. The pipelines are those of tests/test_option_audit.py, which has one for each component.
"""

from __future__ import annotations

import pytest

from dlpipe.registry.loading import load_plugins
from dlpipe.testing import component_checks
from dlpipe.testing.checks import COACH_RULE, USED

from .conftest import ROOT, needs_packages_of
from .test_option_audit import BASES, COMPONENTS, files

__all__ = ["files"]  # a fixture

pytestmark = pytest.mark.usefixtures("without_report")
REGISTRY = load_plugins({})
BUILT_IN = [plugin.namespace for plugin in REGISTRY.plugins]
WITH_RULES = sorted({rule.namespace for rule in REGISTRY.components["rule"].values()})
#: Pipelines that are tried in the fast tests, by the component that test_option_audit.py changes in them.
FAST = ["generative.modes", "rl.a2c", "text.flights", "text.impulse", "vision.cnn"]
ITEMS = {
    "text.flights": "leave taipei on monday",
    "text.stories": "alma came to the bakery. where is alma?",
    "text.english_german": "I see a dog.",
    "text.impulse": "0.5",
    "generative.gaussian_ring": "0.5 -0.2",
}
#: Changes to a pipeline whose model is too small to learn anything by heart.
LARGER = {
    "audio.seq2seq_autoencoder": ["model.hidden_dim=64", "model.vector_dim=64"],
    "audio.wavenet": ["model.channels=32", "model.skip_channels=64", "model.layers=5"],
}
#: What a rule cannot be expected of, and why.
EXPECTED_FAILURES = dict.fromkeys(
    (f"text.{name}: reaches worker processes" for name in ("corpus", "analogy_corpus", "review_corpus")),
    "it reads its documents again and again from a function, in the process of its own trainers",
)


def static_checks(namespace):
    return [check for check in component_checks(namespace) if check.rule != USED]


STATIC = [check for namespace in BUILT_IN for check in static_checks(namespace)]


@pytest.mark.parametrize("check", STATIC, ids=str)
def test_a_built_in_component_keeps_the_static_rules(check):
    check()


def checks_of(base, files, folder, subjects):
    """Return the dynamic checks of some components in the pipeline of a component."""
    text, assignments = BASES[base]
    file = folder / "pipeline.toml"
    file.write_text(f'name = "kit"\nthreads = 1\n{text}')
    changes = [change.replace("@", str(files)) for change in [*assignments, *LARGER.get(base, [])]]
    static = {str(check) for check in STATIC}
    for namespace in sorted({name.partition(".")[0] for name in subjects}):
        items = {name: item for name, item in ITEMS.items() if name in subjects and name.startswith(namespace)}
        for check in component_checks(namespace, pipelines=[file], assignments=changes, items=items):
            if str(check) not in static and check.subject in subjects:
                yield check


def failures(checks):
    """Return what is wrong; an expected failure that passes is wrong, too."""
    found = []
    for check in checks:
        try:
            check()
        except AssertionError as error:
            if str(check) not in EXPECTED_FAILURES:
                found.append(str(error))
        else:
            if str(check) in EXPECTED_FAILURES:
                found.append(f"{check} passes now; remove it from EXPECTED_FAILURES")
    return found


@pytest.mark.parametrize("base", FAST)
def test_the_components_of_a_pipeline_keep_all_rules(base, files, tmp_path):
    checks = [check for check in checks_of(base, files, tmp_path, COMPONENTS) if check.rule != USED]

    assert not failures(checks)


@pytest.mark.parametrize("namespace", WITH_RULES)
def test_the_rules_of_the_coach_cope_with_any_pipeline(namespace):
    names = ["dqn_cartpole", "ppo_cartpole", "gan_ring", "dcgan_digits", "vae_digits", "word_vectors", "fine_tuning"]
    checks = component_checks(namespace, pipelines=[ROOT / "pipelines" / f"{name}.toml" for name in names])
    checks = [check for check in checks if check.rule == COACH_RULE]

    assert checks
    for check in checks:
        check()


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in COMPONENTS if name in BASES])
def test_a_built_in_component_keeps_all_rules(name, files, tmp_path):
    needs_packages_of(name)
    checks = list(checks_of(name, files, tmp_path, {name}))

    assert USED in {check.rule for check in checks}
    assert not failures(checks)
