"""Evaluates HOT templates with OpenStack Heat itself; runs in a virtual environment that has `openstack-heat`.

Reads a case, a JSON object, from each line of stdin and prints its answer, `{value}` or `{error, message}`:

- `{kind: snippet, version, snippet, parameters, conditions, attributes, files, facade}`
- `{kind: parameter, version, declaration, given}`
- `{kind: template, text, parameters, files}`
- `{kind: environment, declared, environment, parameters, files, names}`: what a request's environment becomes
- `{kind: existing, declared, old, body}`: what it becomes in an update that keeps what it does not name
- `{kind: mapping, registry, resource, type}`: what stands for a type
- `{kind: nested, registry, name}`: hooks and restrictions of a resource, and the registry of a stack nested in it
- `{kind: types}`, `{kind: type, type}`: names of types, and the schema of one
- `{kind: change, type, before, after}`: whether a change of properties needs another resource
- `{kind: property, type, name, value}`: the value of a property without constraints that only a cloud can check
"""

from __future__ import annotations

import json
import logging
import sys
import warnings
from collections.abc import Iterator
from typing import Any
from unittest import mock

warnings.simplefilter("ignore")
logging.disable(logging.CRITICAL)

from heat.api.openstack.v1 import stacks as stacks_api  # noqa: E402
from heat.common import context as heat_context  # noqa: E402
from heat.common import (  # noqa: E402
    environment_util,
    identifier,
    template_format,
)
from heat.engine import (  # noqa: E402
    attributes,
    environment,
    function,
    node_data,
    properties,
    resource,
    resources,
    rsrc_defn,
    service,
    stk_defn,
    support,
)
from heat.engine import stack as heat_stack  # noqa: E402
from heat.engine import template as heat_template  # noqa: E402
from oslo_config import cfg  # noqa: E402

IDENTITY = identifier.HeatIdentifier("tenant", "stack", "id")


class Attributes(dict):  # type: ignore[type-arg]
    """Attributes by name or by path, as Heat's resources give them."""

    def __missing__(self, key: Any) -> Any:
        """The attribute that a path leads into."""
        if not isinstance(key, tuple):
            raise KeyError(key)
        return attributes.select_from_attribute(self[key[0]], list(key[1:]))


class Parent:
    """The resource that stands for a nested stack in its parent."""

    def __init__(self, facade: dict[str, Any]) -> None:
        self._facade = facade
        self.t = self
        self._update_policy = facade.get("update_policy")

    def metadata_get(self) -> Any:
        """Its metadata."""
        return self._facade.get("metadata")

    def deletion_policy(self) -> Any:
        """Its deletion policy."""
        return self._facade.get("deletion_policy")


def snippet(case: dict[str, Any]) -> Any:
    """The value of a snippet, validated as Heat validates properties before it resolves them."""
    known = case.get("attributes") or {}
    document = {
        "heat_template_version": case["version"],
        "parameters": {name: {"type": kind_of(value)} for name, value in (case.get("parameters") or {}).items()},
        "resources": {name: {"type": "OS::Heat::None"} for name in known},
    }
    if case.get("conditions"):
        document["conditions"] = case["conditions"]
    env = environment.Environment({"parameters": case.get("parameters") or {}})
    template = heat_template.Template(document, files=case.get("files") or {}, env=env)
    data = {
        name: node_data.NodeData(1, name, "uuid", f"id-of-{name}", Attributes(values), "CREATE", "COMPLETE")
        for name, values in known.items()
    }
    definition = stk_defn.StackDefinition(None, template, IDENTITY, data, Parent(case.get("facade") or {}))
    parsed = template.parse(definition, {"it": case["snippet"]})
    function.validate(parsed)
    return function.resolve(parsed, nullable=True).get("it", "OMITTED")


def kind_of(value: Any) -> str:
    """The type of a parameter that holds a value."""
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "number"
    return "string" if isinstance(value, str) else "json"


def parameter(case: dict[str, Any]) -> Any:
    """The value of a parameter, and how it is shown."""
    document = {"heat_template_version": case["version"], "parameters": {"p": case["declaration"]}}
    values = {} if case.get("given") is None else {"p": case["given"]}
    template = heat_template.Template(document, env=environment.Environment({"parameters": values}))
    parameters = template.parameters(IDENTITY, template.env.params, template.env.param_defaults)
    parameters.validate(context=None)
    return {"value": parameters["p"], "text": str(parameters.params["p"])}


def whole(case: dict[str, Any]) -> Any:
    """Which resources and outputs a template has after validation; types of resources are not looked at."""
    document = template_format.parse(case["text"])
    declared = document.get("resources") or {}
    for one in declared.values() if isinstance(declared, dict) else ():
        if isinstance(one, dict) and isinstance(one.get("type"), str) and one["type"]:
            one["type"] = "OS::Heat::None"
    env = environment.Environment({"parameters": case.get("parameters") or {}})
    template = heat_template.Template(document, files=case.get("files") or {}, env=env)
    stack = heat_stack.Stack(heat_context.RequestContext(), "stack", template, use_stored_context=False)
    stack.validate(validate_res_tmpl_only=True)
    return {
        "parameters": {name: str(one) for name, one in stack.parameters.params.items() if "::" not in name},
        "resources": sorted(stack.resources),
        "outputs": sorted(stack.outputs),
    }


def env_of(body: dict[str, Any], template: Any) -> dict[str, Any]:
    """The environment of a request, its files merged into it."""
    data = stacks_api.InstantiationData(body)
    params: dict[str, Any] = data.environment()
    names, files = data.environment_files(), data.files()
    environment_util.merge_environments(names, files, params, template.all_param_schemata(files))
    return params


def request_environment(case: dict[str, Any]) -> Any:
    """What the environment of a request to create a stack becomes."""
    template = heat_template.Template({"heat_template_version": "rocky", "parameters": case["declared"]})
    return environment.Environment(env_of(case["body"], template)).user_env_as_dict()


def existing_environment(case: dict[str, Any]) -> Any:
    """What the environment becomes in an update with `existing`."""
    document = {"heat_template_version": "rocky", "parameters": case["declared"]}
    old = heat_template.Template(document, env=environment.Environment(case["old"]))
    context = heat_context.RequestContext()
    stack = heat_stack.Stack(context, "stack", old, use_stored_context=False, convergence=True)
    data = stacks_api.InstantiationData(case["body"], patch=True)
    engine = mock.Mock(wraps=None)
    arguments = {**data.args(), "existing": True}
    new, _old, _updated = service.EngineService._prepare_stack_updates(
        engine, context, stack, data.template(), data.environment(), data.environment_files(), data.files(), None,
        arguments,
    )  # fmt: skip
    return new.env.user_env_as_dict()


def mapping(case: dict[str, Any]) -> Any:
    """The type or template that stands for a type."""
    env = environment.Environment({"resource_registry": case["registry"]})
    info = env.get_resource_info(case["type"], resource_name=case["resource"])
    return info.template_name if isinstance(info, environment.TemplateResourceInfo) else info.name


def nested(case: dict[str, Any]) -> Any:
    """Hooks and restrictions of a resource, and what the registry is in a stack nested in it."""
    env = environment.Environment({"resource_registry": case["registry"]})
    inner = environment.get_child_environment(env, {}, child_resource_name=case["name"])
    return {
        "hooks": [hook for hook in environment.HOOK_TYPES if env.registry.matches_hook(case["name"], hook)],
        "restricted": sorted(env.registry.get_rsrc_restricted_actions(case["name"])),
        "registry": inner.user_env_as_dict()["resource_registry"],
    }


def classes() -> dict[str, Any]:
    """All types of resources that Heat has itself, by name."""
    registered = resources.global_env().registry._registry
    found = {name: one.get_class() for name, one in registered.items() if name != "resources"}
    return {name: one for name, one in found.items() if one is not None}


def types(_case: dict[str, Any]) -> Any:
    """Names of all types."""
    return sorted(classes())


def schemata(described: Any) -> Iterator[tuple[str, Any]]:
    """Schemata that users see."""
    for name, one in described.items():
        schema = properties.Schema.from_legacy(one)
        if schema.implemented and schema.support_status.status != support.HIDDEN:
            yield name, schema


def plain(schema: Any) -> dict[str, Any]:
    """A schema without words."""
    shown = {key: value for key, value in dict(schema).items() if key not in ("description", "schema", "constraints")}
    if schema.schema is not None:
        shown["schema"] = {name: plain(one) for name, one in schemata(schema.schema)}
    found = [{key: value for key, value in dict(one).items() if key != "description"} for one in schema.constraints]
    if found:
        shown["constraints"] = found
    return shown


def type_schema(case: dict[str, Any]) -> Any:
    """Properties and attributes of a type, and whether checks look at it."""
    one = classes()[case["type"]]
    described = {**one.attributes_schema, **one.base_attributes_schema}
    known = {name: attributes.Schema.from_attribute(schema) for name, schema in described.items()}
    return {
        "status": one.support_status.status,
        "checked": hasattr(one, "handle_check"),
        "properties": {name: plain(schema) for name, schema in schemata(one.properties_schema)},
        "attributes": {
            name: (schema.type or "any").lower()
            for name, schema in known.items()
            if schema.support_status.status != support.HIDDEN
        },
    }


def property_value(case: dict[str, Any]) -> Any:
    """What becomes of the value of a property."""
    schema = classes()[case["type"]].properties_schema[case["name"]]
    values = properties.Properties({"p": schema}, {"p": case["value"]})
    values.validate()
    return values["p"]


def change(case: dict[str, Any]) -> Any:
    """Whether a change of properties needs another resource."""
    parts = {"type": case["type"], "properties": case["before"]}
    document = {"heat_template_version": "rocky", "resources": {"r": parts}}
    context = heat_context.RequestContext()
    stack = heat_stack.Stack(context, "s", heat_template.Template(document), use_stored_context=False)
    one = stack["r"]
    one.id, one.resource_id, one.action, one.status = 1, "x", "CREATE", "COMPLETE"
    after = rsrc_defn.ResourceDefinition("r", case["type"], case["after"])
    new, old = (definition.properties(one.properties_schema, context) for definition in (after, one.t))
    try:
        one._needs_update(after, one.t, new, old, None)
        one.update_template_diff_properties(new, old)
    except resource.UpdateReplace:
        return "replaced"
    return "changed"


KINDS = {
    "change": change,
    "snippet": snippet,
    "parameter": parameter,
    "template": whole,
    "environment": request_environment,
    "existing": existing_environment,
    "mapping": mapping,
    "nested": nested,
    "types": types,
    "type": type_schema,
    "property": property_value,
}


def judged(case: dict[str, Any]) -> dict[str, Any]:
    """What Heat says to a case."""
    try:
        return {"value": KINDS[case["kind"]](case)}
    except Exception as error:  # noqa: BLE001  # whatever Heat raises is its answer
        return {"error": type(error).__name__, "message": str(error)}


def main() -> None:
    """Answer a case on each line with a line."""
    cfg.CONF([], project="heat")
    resources.initialise()
    for line in sys.stdin:
        print(json.dumps(judged(json.loads(line)), default=str), flush=True)


if __name__ == "__main__":
    main()
