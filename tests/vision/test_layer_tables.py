"""The `layers` of a pipeline file: the layout that follows from them, and every way an entry can be wrong."""

from __future__ import annotations

import re

import pytest

from dlpipe_vision.layer_tables import layout, parse_layers

SHAPE = (2, 6, 7)


def test_the_layout_shows_the_layers_as_in_the_file():
    layers = parse_layers([{"conv": 5, "norm": True}, {"global_pool": "max"}], SHAPE)

    assert layout(layers, SHAPE, 3).splitlines() == [
        "images 2×6×7",
        "{ conv = 5, norm = true } 5×6×7",
        '{ global_pool = "max" } 5×1×1',
        "classifier 3",
    ]


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        (
            [{"dropout": 0.5}, {"conv": 8, "pool": 2}],
            "layers[1] = { conv = 8, pool = 2 }: it names 2 layer types (conv, pool); expected exactly one of conv, pool, "
            "average_pool, global_pool, dropout, dense per entry",
        ),
        ([{"kernel": 3}], "layers[0] = { kernel = 3 }: it names no layer type; expected exactly one of conv, pool,"),
        (
            [{"pool": 2, "kernel": 3}],
            "layers[0] = { pool = 2, kernel = 3 }: kernel is not an option of pool; pool takes no options; remove it",
        ),
        (
            [{"dense": 4, "padding": 1}],
            "layers[0] = { dense = 4, padding = 1 }: padding is not an option of dense; dense takes only norm; remove it",
        ),
        (
            [{"conv": 4, "kernle": 1}],
            "layers[0] = { conv = 4, kernle = 1 }: kernle is not an option of conv; "
            "conv takes only kernel, stride, padding, norm; remove it",
        ),
        (
            [{"dense": 4}, {"dropout": 0.5}, {"conv": 8}],
            "layers[2] = { conv = 8 }: conv needs images, but a dense layer before it has flattened "
            "them; move conv before the first dense layer",
        ),
        (
            [{"dense": 4}, {"global_pool": "max"}],
            'layers[1] = { global_pool = "max" }: global_pool needs images, but a dense layer before it has flattened',
        ),
        (
            [{"pool": 3}, {"conv": 8, "kernel": 5, "padding": 1}],
            "layers[1]: conv with kernel = 5 and padding = 1 is too large for its input of 2×2; expected an input of at least 3×3: "
            "pool less before it, choose a smaller kernel or more padding, or use larger images",
        ),
        (
            [{"conv": 8, "kernel": 7, "padding": 0}],
            "layers[0]: conv with kernel = 7 and padding = 0 is too large for its input of 6×7; expected an input of at least 7×7",
        ),
        (
            [{"pool": 4}, {"pool": 2}],
            "layers[1]: pool = 2 is too large for its input of 1×1; expected an input of at least 2×2: pool less before it, remove it, or use larger images",
        ),
        (
            [{"average_pool": 7}],
            "layers[0]: average_pool = 7 is too large for its input of 6×7; expected an input of at least 7×7",
        ),
    ],
)
def test_a_layer_that_is_not_valid_is_refused(layers, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        parse_layers(layers, SHAPE)
