"""A stack's definition compiled: its template with the values of its parameters and conditions in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sonata.emulator.cloud.entities.orchestration import Definition, Stack
from sonata.formats.hot.environment import Environment, read_environment
from sonata.formats.hot.errors import StackValidationFailed, UnknownUserParameter, UserParameterMissing
from sonata.formats.hot.graph import Graph, dependencies
from sonata.formats.hot.parameters import shown
from sonata.formats.hot.resolver import Resolver
from sonata.formats.hot.template import PSEUDO_PARAMETERS, ResourceDefinition, Template, read_template

Facade = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Blueprint:
    """What a stack is to become.

    Args:
        parameters: values by name, pseudo parameters included.
        conditions: their values.
        resources: those whose condition holds.
        graph: what each of them needs.
        facade: what `resource_facade` tells.
    """

    template: Template
    environment: Environment
    files: Mapping[str, str]
    parameters: Mapping[str, Any]
    conditions: Mapping[str, bool]
    resources: Mapping[str, ResourceDefinition]
    graph: Graph
    facade: Facade = field(default_factory=dict)

    def kind_of(self, resource: ResourceDefinition) -> str:
        """The type, or the name of the template, that stands for a resource's type."""
        return self.environment.mapped(resource.name, resource.type)

    def shown_parameters(self) -> dict[str, str]:
        """Parameters as users see them."""
        own = {name: shown(one, self.parameters[name]) for name, one in self.template.parameters.items()}
        return {**{name: str(self.parameters[name]) for name in PSEUDO_PARAMETERS}, **own}


def compiled(definition: Definition, stack: Stack, facade: Facade | None = None) -> Blueprint:
    """Compile a definition for a stack.

    Raises:
        InvalidInput: template, environment or parameters are not valid.
    """
    template = read_template(definition.template)
    environment = read_environment(definition.environment, definition.files)
    pseudo = {"OS::stack_name": stack.name, "OS::stack_id": stack.id, "OS::project_id": stack.project_id}
    parameters = {**parameter_values(template, environment), **pseudo}
    static = _Static(parameters, definition.files, template)
    resolver = Resolver(template.version, static)
    conditions = {name: static.condition(name) for name in template.conditions}
    active = {
        name: one
        for name, one in template.resources.items()
        if resolver.truth(one.condition, ("resources", name, "condition"))
    }
    explicit = {name: one.depends_on for name, one in active.items()}
    graph = dependencies(
        {name: (one.properties, one.metadata, one.external_id) for name, one in active.items()}, explicit
    )
    return Blueprint(template, environment, definition.files, parameters, conditions, active, graph, facade or {})


def parameter_values(template: Template, environment: Environment) -> dict[str, Any]:
    """The value of each parameter: given, else the environment's default, else the template's.

    Raises:
        UnknownUserParameter, UserParameterMissing, StackValidationFailed: values do not fit the declarations.
    """
    if unknown := [name for name in environment.parameters if name not in template.parameters]:
        raise UnknownUserParameter(f"The Parameter ({unknown[0]}) was not defined in template.")
    values: dict[str, Any] = {}
    wrong: list[str] = []
    for name, parameter in template.parameters.items():
        given = environment.parameters.get(name, environment.defaults.get(name, parameter.default))
        if given is None:
            raise UserParameterMissing(f"The Parameter ({name}) was not provided.")
        try:
            values[name] = parameter.value(given)
        except StackValidationFailed as error:
            wrong.append(error.message)
    if wrong:
        raise StackValidationFailed("; ".join(wrong))
    return values


class _Static:
    """A scope without resources, in which conditions are evaluated."""

    def __init__(self, parameters: Mapping[str, Any], files: Mapping[str, str], template: Template) -> None:
        self._parameters = parameters
        self._files = files
        self._template = template
        self._resolver = Resolver(template.version, self)
        self._open: list[str] = []
        self._known: dict[str, bool] = {}

    def parameter(self, name: str) -> Any:
        """The value of a parameter."""
        if name not in self._parameters:
            raise UserParameterMissing(f"The Parameter ({name}) was not provided.")
        return self._parameters[name]

    def reference(self, resource: str) -> Any:
        """Nothing: there are no resources in conditions."""
        raise StackValidationFailed(f"a condition cannot refer to the resource {resource}")

    def attribute(self, resource: str, name: str, path: tuple[str, ...]) -> Any:
        """Nothing: there are no resources in conditions."""
        return self.reference(resource)

    def file(self, name: str) -> str:
        """The content of a file."""
        if name not in self._files:
            raise StackValidationFailed(f'No content found in the "files" section for get_file path: {name}')
        return self._files[name]

    def condition(self, name: str) -> bool:
        """The value of a named condition; circles are refused."""
        if name in self._open:
            raise StackValidationFailed(f"Circular definition for conditions: {', '.join(self._open)}")
        if name not in self._template.conditions:
            raise StackValidationFailed(f'Invalid condition "{name}"')
        if name not in self._known:
            self._open.append(name)
            self._known[name] = self._resolver.truth(self._template.conditions[name], ("conditions", name))
            self._open.pop()
        return self._known[name]

    def facade(self, what: str) -> Any:
        """Nothing: conditions do not look at the parent."""
        raise StackValidationFailed(f"a condition cannot use resource_facade {what}")
