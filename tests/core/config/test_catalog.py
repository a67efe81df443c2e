"""The values of a pipeline by path."""

from __future__ import annotations

from dlpipe.config.catalog import resolved_values
from dlpipe.config.source import key_path, leaves


def test_the_path_of_each_value_is_one_that_set_takes(changed, load, write):
    pipeline = load(write(changed(12, "[evaluators.'v1.0']")))

    paths = [path for path, _, _ in resolved_values(pipeline)]
    assert 'evaluators."v1.0".use' in paths
    assert list(map(key_path, paths)) == [path for path, _ in leaves(pipeline.plain())]
