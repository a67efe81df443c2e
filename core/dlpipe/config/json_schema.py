"""A JSON Schema of the pipeline file, for editors: every installed component, its keys and their descriptions.

It uses the forms of draft 4 only (``oneOf`` with one-value enums for ``use``), which TOML language servers support.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic.errors import PydanticUserError

from dlpipe.config.pipeline import as_toml
from dlpipe.config.signatures import Parameter, read_signature
from dlpipe.config.tables import KIND_OF_GROUP, KIND_OF_TABLE, SETTINGS, choice_keys, keys_of
from dlpipe.config.torch_names import CHOICES
from dlpipe.config.values import adapter
from dlpipe.errors import PluginError
from dlpipe.fields import ModelReference
from dlpipe.registry.loading import Registry

REFERENCE = {
    "oneOf": [
        {"type": "object", "properties": {key: {"type": "string"}}, "required": [key], "additionalProperties": False}
        for key in ("stage", "run")
    ],
    "description": "a trained model: of an earlier stage, or of a finished run",
}


_NUMBERS = {"type": "object", "additionalProperties": {"type": "number"}}
_SEARCH_METRIC = {"type": "string", "pattern": "^(dev/[^/]+/[^/]+|seconds)$"}
_GOAL = {"enum": ["max", "min"]}
SEARCH = {
    "type": "object",
    "description": "search the axes, which can be ranges, instead of running all combinations",
    "properties": {
        "method": {"enum": ["random", "tpe"], "description": "how trials are proposed"},
        "trials": {"type": "integer", "minimum": 1, "description": "trials in all", "default": 30},
        "seed": {
            "type": "integer",
            "minimum": 0,
            "description": "of the proposals; by default that of the pipeline",
        },
        "pruner": {
            "enum": ["none", "median", "hyperband"],
            "description": "what stops trials early that do worse than others",
            "default": "none",
        },
        "metric": {
            "oneOf": [_SEARCH_METRIC, {"type": "array", "items": _SEARCH_METRIC, "minItems": 1}],
            "description": "objectives on the dev split, or seconds of training",
        },
        "goal": {
            "oneOf": [_GOAL, {"type": "array", "items": _GOAL, "minItems": 1}],
            "description": "whether each objective should grow or fall",
        },
    },
    "required": ["method"],
    "additionalProperties": False,
}
RANGE = {
    "type": "object",
    "properties": {
        "low": {"type": "number"},
        "high": {"type": "number"},
        "step": {"type": "number", "minimum": 0, "exclusiveMinimum": True},
        "scale": {"enum": ["linear", "log"], "default": "linear"},
    },
    "required": ["low", "high"],
    "additionalProperties": False,
}
SWEEP = {
    "type": "object",
    "description": "what `dlpipe sweep` varies: values or ranges by path, or named tables of several paths each",
    "properties": {
        "search": SEARCH,
        "metric": {
            "oneOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}],
            "description": "metric that trials are compared by, such as dev/slots/f1; the table shows all of a list",
        },
        "seeds": {
            "type": "integer",
            "minimum": 1,
            "description": "consecutive seeds that each trial is run with",
            "default": 1,
        },
        "average_over": {
            "type": "array",
            "items": {"type": "string"},
            "description": "axes whose choices are runs of each trial, such as data.fold; their mean is compared",
        },
        "reference": {
            "type": "object",
            "additionalProperties": _NUMBERS,
            "description": "published numbers to compare with: by source, then by the label of a trial",
        },
    },
    "additionalProperties": {
        "oneOf": [
            {"type": "array", "minItems": 1},
            RANGE,
            {"type": "object", "additionalProperties": {"type": "object"}, "minProperties": 1},
        ]
    },
}

#: In a file that extends another, a table need not repeat its `use`.
WITHOUT_USE = {"not": {"required": ["use"]}, "title": "changes to a table of the file that this one extends"}


def pipeline_schema(registry: Registry) -> dict[str, Any]:
    """Return the schema of a pipeline file that uses the components of `registry`."""
    tables = {table: _defined(kind) for table, kind in KIND_OF_TABLE.items()}
    groups = {
        group: {"type": "object", "additionalProperties": _defined(kind)} for group, kind in KIND_OF_GROUP.items()
    }
    kinds = [*KIND_OF_TABLE.values(), *KIND_OF_GROUP.values()]
    stage = {"type": "object", "properties": {**tables, **groups}, "additionalProperties": False}
    top = _properties(read_signature(SETTINGS).parameters)
    return {
        "$schema": "http://json-schema.org/draft-04/schema#",
        "title": "dlpipe pipeline",
        "type": "object",
        "properties": {
            **top,
            "extends": {"type": "string", "description": "start from another pipeline file"},
            "plugins": {"type": "array", "items": {"type": "string"}, "description": "local plugin files"},
            **tables,
            **groups,
            "stages": {"type": "object", "additionalProperties": stage},
            "sweep": SWEEP,
        },
        "additionalProperties": False,
        "definitions": {
            **{kind: _kind(registry, kind) for kind in kinds},
            **{choice: {"oneOf": [*_choices(registry, choice)]} for choice in CHOICES},
        },
    }


def _defined(name: str) -> dict[str, Any]:
    """Return a schema that refers to one of the definitions."""
    return {"$ref": f"#/definitions/{name}"}


def _kind(registry: Registry, kind: str) -> dict[str, Any]:
    tables = []
    for name, component in sorted(registry.components[kind].items()):
        try:
            tables.append(_table(name, component.spec.summary, keys_of(component.spec)))
        except PluginError:  # `dlpipe check` names the cause; the schema accepts any key
            tables.append(
                {"type": "object", "title": name, "properties": {"use": {"enum": [name]}}, "required": ["use"]}
            )
    return {"oneOf": [*tables, WITHOUT_USE], "type": "object"}


def _table(name: str, summary: str, known: Mapping[str, Parameter]) -> dict[str, Any]:
    use = {"enum": [name], "description": summary}
    return {
        "type": "object",
        "title": name,
        "properties": {"use": use, **_properties(known)},
        "required": ["use"],
        "additionalProperties": False,
    }


def _properties(parameters: Mapping[str, Parameter]) -> dict[str, Any]:
    return {name: _property(parameter) for name, parameter in parameters.items()}


def _property(parameter: Parameter) -> dict[str, Any]:
    if isinstance(parameter.kind, ModelReference):
        many = {"type": "array", "items": REFERENCE, "minItems": 1}
        schema: dict[str, Any] = dict(many if parameter.kind.many else REFERENCE)
    elif parameter.choice:
        schema = {"allOf": [_defined(parameter.choice)]}  # keywords next to a bare $ref are ignored
        if isinstance(parameter.default, Mapping):  # a table that names none changes the default one
            changed = _properties(choice_keys(parameter.choice, parameter.default["use"]))
            without = {"type": "object", "properties": changed, "additionalProperties": False}
            schema = {"anyOf": [_defined(parameter.choice), without]}
    else:
        try:
            schema = adapter(parameter.kind).json_schema()
            schema = _draft4(_inlined(schema, schema.pop("$defs", {})))
        except PydanticUserError:  # JSON has no such values
            schema = {}
    if parameter.help:
        schema["description"] = parameter.help
    default = as_toml(parameter.default)
    if default is not None and default not in (float("inf"), float("-inf")):  # JSON has no infinity
        schema["default"] = default
    return schema


def _choices(registry: Registry, choice: str) -> Iterator[dict[str, Any]]:
    """Yield the forms that select an optimizer, a schedule or a loss: those without a plugin first."""
    if choice == "loss":
        yield {"type": "string", "enum": [*CHOICES[choice], *sorted(registry.components[choice])]}
    for name, target in CHOICES[choice].items():
        if target:  # the others have no options
            yield _table(name, read_signature(target).summary, choice_keys(choice, name))
    for name, component in sorted(registry.components[choice].items()):
        try:
            yield _table(name, component.spec.summary, choice_keys(choice, name, component.spec.target))
        except PluginError:  # `dlpipe check` names the cause
            continue


def _inlined(schema: Any, definitions: Mapping[str, Any]) -> Any:
    """Replace each ``$ref`` by its definition, since a property of a larger schema cannot hold definitions."""
    if isinstance(schema, list):
        return [_inlined(part, definitions) for part in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return _inlined(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    return {key: _inlined(value, definitions) for key, value in schema.items()}


def _draft4(schema: Any) -> Any:
    """Rewrite the forms of newer drafts (bounds, ``const``), and drop null, which TOML does not have."""
    if isinstance(schema, list):
        return [_draft4(part) for part in schema if part != {"type": "null"}]
    if not isinstance(schema, dict):
        return schema
    rewritten = {key: _draft4(value) for key, value in schema.items()}
    for bound, exclusive in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
        if exclusive in rewritten:
            rewritten[bound], rewritten[exclusive] = rewritten[exclusive], True
    if "const" in rewritten:
        rewritten["enum"] = [rewritten.pop("const")]
    if "prefixItems" in rewritten:
        rewritten["items"] = rewritten.pop("prefixItems")
    if len(rewritten.get("anyOf", ())) == 1:
        rewritten |= rewritten.pop("anyOf")[0]
    return rewritten
