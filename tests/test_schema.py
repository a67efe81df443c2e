"""The schema of pipeline files in the repository: every parameter of every component, with its type and default."""

from __future__ import annotations

import json

from dlpipe.config.json_schema import pipeline_schema
from dlpipe.registry.loading import load_plugins


def without_torch(schema):
    """Drop what depends on the torch that is installed: the parameters of its optimizers and schedules."""
    if isinstance(schema, dict):
        return {key: without_torch(value) for key, value in schema.items() if key not in ("optimizer", "schedule")}
    return [without_torch(part) for part in schema] if isinstance(schema, list) else schema


def test_the_schema_beside_the_pipelines_is_up_to_date(root):
    kept = json.loads((root / "pipelines" / "pipeline.schema.json").read_text())

    # If this fails: dlpipe schema --output pipelines/pipeline.schema.json
    assert without_torch(kept) == without_torch(pipeline_schema(load_plugins()))
