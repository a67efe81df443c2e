"""A JSON Schema of the pipeline file, for editors: every installed component, its keys and their texts.

Draft 4 forms only (``oneOf`` with one-value enums for ``use``): that is what TOML language servers know.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic.errors import PydanticUserError

from dlpipe.config.check import KIND_OF_GROUP, KIND_OF_TABLE, PROVIDED, SETTINGS, adapter, options_of
from dlpipe.config.pipeline import as_toml
from dlpipe.config.signatures import Parameter, read_signature
from dlpipe.config.torch_names import CHOICES, GIVEN
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
SWEEP = {
    "type": "object",
    "description": "what `dlpipe sweep` tries: lists of values by path, or named tables of several paths each",
    "properties": {
        "metric": {
            "oneOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}],
            "description": "what trials are compared by, such as test/slots/f1; of a list, the first; all are shown",
        },
        "seeds": {"type": "integer", "minimum": 1, "description": "runs per trial, seed after seed", "default": 1},
        "reference": {
            "type": "object",
            "additionalProperties": _NUMBERS,
            "description": "published numbers to stand beside ours: by source, then by the label of a trial",
        },
    },
    "additionalProperties": {
        "oneOf": [
            {"type": "array", "minItems": 1},
            {"type": "object", "additionalProperties": {"type": "object", "minProperties": 1}},
        ]
    },
}

#: In a file that extends another, a table need not say again what it uses.
WITHOUT_USE = {"not": {"required": ["use"]}, "title": "changes to a table of the file that this one extends"}


def pipeline_schema(registry: Registry) -> dict[str, Any]:
    """Return the schema of a pipeline file over what `registry` components."""
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
            **{
                choice: {"oneOf": [_choice(name, target) for name, target in targets.items()]}
                for choice, targets in CHOICES.items()
            },
        },
    }


def _defined(name: str) -> dict[str, Any]:
    """Return a schema that says no more than one of the definitions."""
    return {"$ref": f"#/definitions/{name}"}


def _kind(registry: Registry, kind: str) -> dict[str, Any]:
    tables = []
    for name, component in sorted(registry.components[kind].items()):
        try:
            signature = read_signature(component.spec.target)
        except PluginError:  # `check` names the cause; here any key may be right
            tables.append(
                {"type": "object", "title": name, "properties": {"use": {"enum": [name]}}, "required": ["use"]}
            )
            continue
        known = {k: p for k, p in signature.parameters.items() if k not in PROVIDED.get(kind, set())}
        tables.append(_table(name, component.spec.summary, {**known, **options_of(kind)}))
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
        schema: dict[str, Any] = dict(REFERENCE)
    elif parameter.choice:
        schema = {"allOf": [_defined(parameter.choice)]}  # what stands beside a bare $ref counts for nothing
    else:
        try:
            schema = adapter(parameter.kind).json_schema()
            schema = _draft4(_inlined(schema, schema.pop("$defs", {})))
        except PydanticUserError:  # no JSON is such a value
            schema = {}
    if parameter.text:
        schema["description"] = parameter.text
    default = as_toml(parameter.default)
    if default is not None and default not in (float("inf"), float("-inf")):  # which JSON does not have
        schema["default"] = default
    return schema


def _choice(name: str, target: str) -> dict[str, Any]:
    signature = read_signature(target)
    known = {key: parameter for key, parameter in signature.parameters.items() if key not in GIVEN}
    return _table(name, signature.summary, known)


def _inlined(schema: Any, definitions: Mapping[str, Any]) -> Any:
    """Write definitions where they are meant; a property of a larger schema has no place for them."""
    if isinstance(schema, list):
        return [_inlined(part, definitions) for part in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return _inlined(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    return {key: _inlined(value, definitions) for key, value in schema.items()}


def _draft4(schema: Any) -> Any:
    """Rewrite what newer drafts say otherwise: bounds, ``const``, and TOML's lack of null."""
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
