"""Evaluates HOT templates with OpenStack Heat itself; runs in a virtual environment that has `openstack-heat`.

Reads a case, a JSON object, from each line of stdin and prints its answer, `{value}` or `{error, message}`:

- `{kind: snippet, version, snippet, parameters, conditions, attributes, files, facade}`
- `{kind: parameter, version, declaration, given}`
- `{kind: template, text, parameters, files}`
"""

from __future__ import annotations

import json
import logging
import sys
import warnings
from typing import Any

warnings.simplefilter("ignore")
logging.disable(logging.CRITICAL)

from heat.common import context as heat_context  # noqa: E402
from heat.common import identifier, template_format  # noqa: E402
from heat.engine import attributes, environment, function, node_data, resources, stk_defn  # noqa: E402
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


KINDS = {"snippet": snippet, "parameter": parameter, "template": whole}


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
