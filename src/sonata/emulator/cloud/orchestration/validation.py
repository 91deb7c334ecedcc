"""Checking what a stack is to become before anything is done: types, properties, attributes, nested templates."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

from sonata.emulator.cloud.entities.orchestration import Definition, Stack
from sonata.emulator.cloud.orchestration.blueprint import Blueprint, compiled
from sonata.emulator.cloud.orchestration.catalogue import is_known, kind_named
from sonata.emulator.cloud.orchestration.constraints import unknown
from sonata.emulator.cloud.orchestration.evaluation import Evaluation
from sonata.emulator.cloud.orchestration.kinds.base import Kind
from sonata.emulator.cloud.orchestration.kinds.nested import StackKind, TemplateKind
from sonata.emulator.cloud.orchestration.properties import checked
from sonata.errors import InvalidInput
from sonata.formats.hot.errors import ResourceTypeUnavailable, StackValidationFailed
from sonata.formats.hot.graph import references
from sonata.formats.hot.template import ResourceDefinition, read_template

DEEPEST = 5
"""How deep stacks may be nested, as Heat's `max_nested_stack_depth`."""
MOST_RESOURCES = 1000
"""Resources of one stack, as Heat's `max_resources_per_stack`."""


async def validate(blueprint: Blueprint, stack: Stack, depth: int = 0) -> None:
    """Check a blueprint.

    Raises:
        StackValidationFailed: with all findings.
        ResourceTypeUnavailable: a type is one of a service that there is not.
    """
    if depth > DEEPEST:
        raise StackValidationFailed(f"Recursion depth exceeds {DEEPEST}.")
    if len(blueprint.resources) > MOST_RESOURCES:
        raise StackValidationFailed(f"Maximum resources per stack exceeded: {MOST_RESOURCES}")
    findings = unknown(blueprint.template.parameters.values(), blueprint.parameters)
    for resource in blueprint.resources.values():
        try:
            await _check_resource(blueprint, resource, stack, depth)
        except ResourceTypeUnavailable:
            raise  # before all else, and under its own name
        except InvalidInput as error:
            findings.append(error.message)
    findings += _attribute_findings(blueprint)
    findings += [text async for text in _output_findings(blueprint)]
    if findings:
        raise StackValidationFailed("; ".join(findings))


async def _check_resource(blueprint: Blueprint, resource: ResourceDefinition, stack: Stack, depth: int) -> None:
    kind = kind_named(blueprint.kind_of(resource), blueprint.files)
    if resource.deletion_policy == "Snapshot" and not kind.saved:
        where = f"resources.{resource.name}.deletion_policy"
        raise StackValidationFailed(f'{where}: "Snapshot" deletion policy not supported')
    for name in resource.properties:
        if name in kind.refused:
            raise StackValidationFailed(
                f"Property error: resources.{resource.name}.properties.{name}: not offered: {kind.refused[name]}"
            )
    values = await known_properties(blueprint, resource, kind)
    if isinstance(kind, StackKind):
        await _check_nested(blueprint, resource, kind, values, stack, depth)


async def known_properties(blueprint: Blueprint, resource: ResourceDefinition, kind: Kind) -> dict[str, Any]:
    """The properties that do not wait for other resources, checked.

    Raises:
        StackValidationFailed: they are not valid.
    """
    waiting = {name for name, snippet in resource.properties.items() if any(references(snippet))}
    static = {name: snippet for name, snippet in resource.properties.items() if name not in waiting}
    evaluation = Evaluation(blueprint, lambda name: name, _no_attribute)
    values = await evaluation.resolve(static, "resources", resource.name, "properties")
    policy = await evaluation.resolve(resource.update_policy, "resources", resource.name, "update_policy")
    checked(f"resources.{resource.name}.update_policy", kind.update_policies, policy)
    return {} if kind.open_ended else checked(f"resources.{resource.name}.properties", kind.properties, values, waiting)


async def _output_findings(blueprint: Blueprint) -> AsyncIterator[str]:
    """What is wrong with outputs that wait for no resource."""
    evaluation = Evaluation(blueprint, lambda name: name, _no_attribute)
    for output in blueprint.template.outputs.values():
        if not any(references(output.value)):
            try:
                if await evaluation.is_true(output.condition):
                    await evaluation.resolve(output.value, "outputs", output.name, "value")
            except InvalidInput as error:
                yield error.message


async def _no_attribute(_resource: str, _name: str, _path: tuple[Any, ...]) -> Any:
    return None


async def _check_nested(
    blueprint: Blueprint,
    resource: ResourceDefinition,
    kind: StackKind,
    values: Mapping[str, Any],
    stack: Stack,
    depth: int,
) -> None:
    """Check what is inside, as far as it is known: parameters that wait for others are not."""
    if isinstance(kind, TemplateKind):
        template, parameters = read_template(kind.template, kind.name).document, values
    elif isinstance(text := values.get("template"), str):
        template, parameters = read_template(text, resource.name).document, values.get("parameters") or {}
    else:
        for inner in _inner_types(values):
            kind_named(blueprint.environment.mapped(resource.name, inner, is_known), blueprint.files)
        return
    if all(name in values for name in resource.properties):
        known = blueprint.environment
        entry = known.entry(resource.name, resource.type, is_known)
        environment = known.child(resource.name if isinstance(kind, TemplateKind) else None, entry, parameters)
        nested = await compiled(Definition(template, environment, blueprint.files), stack, blueprint.judge)
        await validate(nested, stack, depth + 1)


def _inner_types(values: Mapping[str, Any]) -> Iterator[str]:
    for key in ("resource_def", "resource"):
        if isinstance(inner := values.get(key), Mapping):
            yield str(inner.get("type"))
    yield from map(str, values.get("resources") or ())


def _attribute_findings(blueprint: Blueprint) -> Iterator[str]:
    """Attributes that the types do not have, where names are written out."""
    snippets: list[Any] = [one.properties for one in blueprint.resources.values()]
    snippets += [one.value for one in blueprint.template.outputs.values()]
    for resource, attribute in dict.fromkeys(pair for snippet in snippets for pair in _attributes_in(snippet)):
        if resource not in blueprint.resources:
            continue
        try:
            kind = kind_named(blueprint.kind_of(blueprint.resources[resource]), blueprint.files)
        except InvalidInput:
            continue
        is_open = (
            kind.open_ended
            or kind.any_attribute
            or (isinstance(kind, StackKind) and not isinstance(kind, TemplateKind))
        )
        if not is_open and attribute != "show" and attribute not in kind.schema.attributes:
            yield f"The Referenced Attribute ({resource} {attribute}) is incorrect."


def _attributes_in(snippet: Any) -> Iterator[tuple[str, str]]:
    if isinstance(snippet, Mapping):
        argument = snippet.get("get_attr")
        if len(snippet) == 1 and isinstance(argument, list):
            match argument:
                case [str() as resource, str() as attribute, *_]:
                    yield resource, attribute
        for value in snippet.values():
            yield from _attributes_in(value)
    elif isinstance(snippet, list):
        for value in snippet:
            yield from _attributes_in(value)
