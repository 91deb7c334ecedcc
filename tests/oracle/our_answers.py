"""What this project says to the cases that Heat is asked."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sonata.api.openstack.orchestration.requests import patched_definition, read_definition
from sonata.emulator.cloud.entities.orchestration import Definition, Owner, Stack
from sonata.emulator.cloud.orchestration.blueprint import Blueprint, compiled
from sonata.emulator.cloud.orchestration.catalogue import HIDDEN, UNSUPPORTED, absent, is_known, kinds
from sonata.emulator.cloud.orchestration.evaluation import Evaluation
from sonata.emulator.cloud.orchestration.judge import Judge
from sonata.emulator.cloud.orchestration.properties import changed, checked
from sonata.emulator.cloud.orchestration.schema import shown_all
from sonata.emulator.cloud.orchestration.validation import validate
from sonata.errors import InvalidInput, SonataError
from sonata.formats.hot.environment import HOOKS, read_environment
from sonata.formats.hot.errors import InvalidTemplateReference, StackValidationFailed
from sonata.formats.hot.functions import select
from sonata.formats.hot.template import read_template
from sonata.formats.yaml_nodes import parse_yaml

Case = dict[str, Any]
OWNER = Owner("u", "u", "tenant", ())


class Ours:
    """Answers cases in the form of the oracle."""

    def __init__(self) -> None:
        self._runner = asyncio.Runner()
        self._judge = Judge()

    def answer(self, case: Case) -> dict[str, Any]:
        """What this project says to a case."""
        return self._runner.run(_answer(case, self._judge))

    def close(self) -> None:
        """End what evaluates expressions."""
        self._runner.run(self._judge.close())
        self._runner.close()


async def _answer(case: Case, judge: Judge) -> dict[str, Any]:
    try:
        return {"value": json.loads(json.dumps(await _KINDS[case["kind"]](case, judge), default=str))}
    except SonataError as error:
        return {"error": type(error).__name__, "message": error.message}


async def _blueprint(document: dict[str, Any], case: Case, judge: Judge) -> Blueprint:
    environment = read_environment({"parameters": case.get("parameters") or {}}, {}).document()
    definition = Definition(document, environment, case.get("files") or {})
    stack = Stack(id="id", name="stack", project_id="tenant", owner=OWNER, definition=definition)
    return await compiled(definition, stack, judge, case.get("facade") or {})


async def _snippet(case: Case, judge: Judge) -> Any:
    known = case.get("attributes") or {}
    document: dict[str, Any] = {
        "heat_template_version": case["version"],
        "parameters": {name: {"type": kind_of(value)} for name, value in (case.get("parameters") or {}).items()},
        "resources": {name: {"type": "OS::Heat::None"} for name in known},
    }
    if case.get("conditions"):
        document["conditions"] = case["conditions"]

    async def attribute(resource: str, name: str, path: tuple[Any, ...]) -> Any:
        if name and name not in known[resource]:
            raise InvalidTemplateReference(f"The Referenced Attribute ({resource} {name}) is incorrect.")
        return select(known[resource][name], path, None) if name else known[resource]

    # What a resource says is looked at together with the template, as findings of both make a template invalid.
    evaluation = Evaluation(await _blueprint(document, case, judge), lambda name: f"id-of-{name}", attribute)
    read_template({**document, "outputs": {"it": {"value": case["snippet"]}}})
    return (await evaluation.resolve({"it": case["snippet"]})).get("it", "OMITTED")


def kind_of(value: Any) -> str:
    """The type of a parameter that holds a value."""
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "number"
    return "string" if isinstance(value, str) else "json"


async def _parameter(case: Case, judge: Judge) -> Any:
    document = {"heat_template_version": case["version"], "parameters": {"p": case["declaration"]}}
    given = {} if case.get("given") is None else {"p": case["given"]}
    blueprint = await _blueprint(document, {**case, "parameters": given}, judge)
    await validate(blueprint, Stack(name="stack", owner=OWNER, definition=Definition({})))
    return {"value": blueprint.parameters["p"], "text": blueprint.shown_parameters()["p"]}


async def _template(case: Case, judge: Judge) -> Any:
    document = parse_yaml(case["text"], "template").data
    blueprint = await _blueprint(document if isinstance(document, dict) else {}, case, judge)
    plain = {name: replace(one, type="OS::Heat::None") for name, one in blueprint.resources.items()}
    await validate(replace(blueprint, resources=plain), Stack(name="stack", owner=OWNER, definition=Definition({})))
    return {
        "parameters": {name: one for name, one in blueprint.shown_parameters().items() if "::" not in name},
        "resources": sorted(blueprint.resources),
        "outputs": sorted(blueprint.template.outputs),
    }


def _shown(environment: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in environment.items() if key != "encrypted_param_names"}


async def _environment(case: Case, _judge: Judge) -> Any:
    template = {"heat_template_version": "rocky", "parameters": case["declared"], "resources": {}}
    return _shown(read_definition({**case["body"], "template": template}).environment)


async def _existing(case: Case, _judge: Judge) -> Any:
    template = {"heat_template_version": "rocky", "parameters": case["declared"], "resources": {}}
    old = Definition(template, read_environment(case["old"], {}).document())
    stack = Stack(name="stack", owner=OWNER, definition=old)
    return _shown(patched_definition(case["body"], stack).environment)


async def _mapping(case: Case, _judge: Judge) -> Any:
    environment = read_environment({"resource_registry": case["registry"]}, {})
    entry = environment.entry(case["resource"], case["type"], is_known)
    if entry is None:
        raise StackValidationFailed(f"The Resource Type ({case['type']}) could not be found.")
    return entry.target


async def _nested(case: Case, _judge: Judge) -> Any:
    environment = read_environment({"resource_registry": case["registry"]}, {})
    return {
        "hooks": [hook for hook in HOOKS if hook in environment.hooks(case["name"])],
        "restricted": sorted(environment.restricted(case["name"])),
        "registry": environment.child(case["name"], None, {})["resource_registry"],
    }


async def _types(_case: Case, _judge: Judge) -> Any:
    return sorted({*kinds(), *absent()})


async def _type(case: Case, _judge: Judge) -> Any:
    kind = kinds()[case["type"]]
    status = "HIDDEN" if kind.name in HIDDEN else "UNSUPPORTED" if kind.name in UNSUPPORTED else "SUPPORTED"
    return {
        "status": status,
        "checked": kind.schema.checked,
        "properties": shown_all(kind.properties),
        "attributes": kind.schema.shown_attributes,
    }


async def _property(case: Case, _judge: Judge) -> Any:
    schema = {"p": kinds()[case["type"]].properties[case["name"]]}
    return checked("p", schema, {"p": case["value"]}).get("p")


async def _change(case: Case, _judge: Judge) -> Any:
    kind = kinds()[case["type"]]
    before, after = (checked("p", kind.properties, case[when]) for when in ("before", "after"))
    different = changed(before, after)
    if any(kind.properties[name].immutable for name in different):
        raise InvalidInput("it is immutable")
    return "replaced" if kind.is_replaced(after, different) else "changed"


_KINDS = {
    "change": _change,
    "snippet": _snippet,
    "parameter": _parameter,
    "template": _template,
    "environment": _environment,
    "existing": _existing,
    "mapping": _mapping,
    "nested": _nested,
    "types": _types,
    "type": _type,
    "property": _property,
}
