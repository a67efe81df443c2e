"""Options that would have no effect are refused, and those that are accepted are obeyed."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from dlpipe.cli import make_program
from dlpipe.errors import InputError
from dlpipe.registry.loading import load_plugins

REGISTRY = load_plugins()


def call(*arguments):
    """Run the program in this process; raise the error that it ends with."""
    return CliRunner().invoke(
        make_program(REGISTRY), arguments, obj=REGISTRY, catch_exceptions=False, standalone_mode=False
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        *(
            (f"run cnn_digits --dry-run {option}", f"{option.split()[0]} has no effect with --dry-run; leave it out")
            for option in ("--fast", "--fresh", "--explain", "--profile", "--no-rehearsal", "--resume auto")
        ),
        *(
            (
                f"run cnn_digits --resume auto {option}",
                f"{option} has no effect on a run that is resumed, as by --resume auto; leave it out",
            )
            for option in ("--fast", "--fresh")
        ),
        ("show cnn_digits --origins --json", "--json has no effect with --origins; leave it out"),
        ("show core.mlp --origins", "--origins has no effect on a component; leave it out"),
        ("show core.mlp --set foo=1", "--set has no effect on a component; leave it out"),
    ],
)
def test_an_option_without_effect_is_refused(arguments, message):
    with pytest.raises(InputError) as caught:
        call(*arguments.split())

    assert str(caught.value) == message
