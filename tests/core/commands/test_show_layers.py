"""``dlpipe show --layers``: the names that ``freeze`` takes."""

import json

import pytest
from click.testing import CliRunner

from dlpipe.commands.show import WIDTH, show
from dlpipe.errors import InputError
from dlpipe.registry.loading import load_plugins

PIPELINE = """
name = "tagger"
[data]
use = "text.flights"
num_train = 20
[model]
use = "text.rnn_tagger"
hidden_dim = 6
embed_dim = 5
freeze = ["features"]
[trainer]
use = "core.supervised"
epochs = 1
"""


@pytest.fixture
def answer(write):
    """Return what the command prints about the pipeline."""
    path = write(PIPELINE, "tagger.toml")

    def answer(*options: str, what: str = str(path)) -> str:
        result = CliRunner().invoke(show, [what, *options], obj=load_plugins({}))
        if result.exception:
            raise result.exception
        return result.output

    return answer


def test_each_layer_has_its_name_size_and_shapes_and_says_if_it_is_frozen(answer):
    rows = {row.split()[0]: row.split(maxsplit=1)[1] for row in answer("--layers").splitlines() if row[0] != " "}

    assert rows["(the"].split() == ["model)", "RNNTagger", *rows["(the"].split()[2:]]
    assert rows["(the"].endswith("  partly frozen")
    assert rows["features"].endswith("  frozen")
    assert rows["net.recurrent"].split()[:1] == ["LSTM"]
    assert "weight_ih_l0 24×5," in rows["net.recurrent"]


def test_no_line_is_wider_than_a_terminal(answer):
    assert max(map(len, answer("--layers").splitlines())) <= WIDTH


def test_programs_get_the_same_as_json(answer):
    layers = {layer["name"]: layer for layer in json.loads(answer("--layers", "--json"))[""]}

    assert layers["features"]["trained"] == 0
    assert layers["net.recurrent"]["shapes"]["weight_ih_l0"] == [24, 5]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"what": "text.rnn_tagger"}, "text.rnn_tagger --layers: a component has no layers without data; give a"),
        ({"more": "--origins"}, "--layers has no effect with --origins; leave it out"),
    ],
)
def test_what_has_no_layers_is_refused(answer, options, message):
    more = [options.pop("more")] if "more" in options else []

    with pytest.raises(InputError, match=message):
        answer("--layers", *more, **options)
