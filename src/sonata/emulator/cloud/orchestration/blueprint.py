"""A stack's definition compiled: its template with the values of its parameters and conditions in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field, replace
from typing import Any

from sonata._lib.values import dataclass
from sonata.emulator.cloud.entities.orchestration import Definition, Stack
from sonata.emulator.cloud.orchestration.catalogue import is_known
from sonata.emulator.cloud.orchestration.implied import implied
from sonata.emulator.cloud.orchestration.judge import Judge
from sonata.emulator.cloud.orchestration.queries import Queries, QueryWanted
from sonata.formats.hot.environment import Environment, read_environment
from sonata.formats.hot.errors import (
    InvalidTemplateReference,
    StackValidationFailed,
    UnknownUserParameter,
    UserParameterMissing,
)
from sonata.formats.hot.graph import Graph, dependencies, references
from sonata.formats.hot.parameters import Parameter, shown
from sonata.formats.hot.resolver import Resolver
from sonata.formats.hot.template import (
    POLICIES,
    PSEUDO_PARAMETERS,
    ResourceDefinition,
    Template,
    names_in,
    read_template,
)

Facade = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Blueprint:
    """What a stack is to become.

    Args:
        parameters: values by name, pseudo parameters included.
        conditions: their values.
        resources: those whose condition holds.
        graph: what each of them needs.
        judge: evaluates what users write and what might take long.
        facade: what `resource_facade` tells.
    """

    template: Template
    environment: Environment
    files: Mapping[str, str]
    parameters: Mapping[str, Any]
    conditions: Mapping[str, bool]
    resources: Mapping[str, ResourceDefinition]
    graph: Graph
    judge: Judge
    facade: Facade = field(default_factory=dict)

    def kind_of(self, resource: ResourceDefinition) -> str:
        """The type, or the name of the template, that stands for a resource's type."""
        return self.environment.mapped(resource.name, resource.type, is_known)

    def shown_parameters(self) -> dict[str, str]:
        """Parameters as users see them."""
        own = {name: shown(one, self.parameters[name]) for name, one in self.template.parameters.items()}
        return {**{name: str(self.parameters[name]) for name in PSEUDO_PARAMETERS}, **own}


async def compiled(definition: Definition, stack: Stack, judge: Judge, facade: Facade | None = None) -> Blueprint:
    """Compile a definition for a stack.

    Raises:
        InvalidInput: template, environment or parameters are not valid.
    """
    template = read_template(definition.template)
    environment = read_environment(definition.environment, definition.files)
    pseudo = {"OS::stack_name": stack.name, "OS::stack_id": stack.id, "OS::project_id": stack.project_id}
    parameters = {**await parameter_values(template, environment, judge), **pseudo}
    queries = Queries(judge)
    while True:
        static = _Static(parameters, definition.files, template, queries)
        try:
            conditions, active = static.conditions(), static.active()
        except QueryWanted as wanted:
            await queries.find(wanted)
        else:
            break
    beside = implied(active)
    explicit = {name: (*names_in(one.depends_on), *beside[name]) for name, one in active.items()}
    snippets = {name: (one.properties, one.metadata, one.external_id) for name, one in active.items()}
    _require_active(template, snippets)
    graph = dependencies(snippets, explicit)
    return Blueprint(
        template, environment, definition.files, parameters, conditions, active, graph, judge, facade or {}
    )


def _require_active(template: Template, snippets: Mapping[str, Any]) -> None:
    """Refuse references to resources whose condition is false."""
    for name, snippet in snippets.items():
        for needed in references(snippet):
            if needed in template.resources and needed not in snippets:
                raise InvalidTemplateReference(f'The specified reference "{needed}" (in {name}) is incorrect.')


async def parameter_values(template: Template, environment: Environment, judge: Judge) -> dict[str, Any]:
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
        else:
            wrong += await _pattern_findings(parameter, values[name], judge)
    if wrong:
        raise StackValidationFailed("; ".join(wrong))
    return values


async def _pattern_findings(parameter: Parameter, value: Any, judge: Judge) -> list[str]:
    """Patterns that a value or the default do not match."""
    findings: list[str] = []
    for pattern, description in parameter.patterns:
        for text, prefix in ((value, ""), (parameter.default, f"Invalid default {parameter.default} ")):
            if text is None:
                continue
            try:
                told = "" if await judge.matches(pattern, str(text)) else f'"{text}" does not match pattern "{pattern}"'
            except ValueError as error:
                told = f'"{text}" cannot be compared with pattern "{pattern}": {error}'
            else:
                told = description if told and description else told
            if told:
                findings.append(f"Parameter '{parameter.name}' is invalid: {prefix}{told}")
                break
    return findings


class _Static:
    """A scope without resources, in which conditions are evaluated."""

    def __init__(
        self, parameters: Mapping[str, Any], files: Mapping[str, str], template: Template, queries: Queries
    ) -> None:
        self._parameters = parameters
        self._files = files
        self._template = template
        self._queries = queries
        self._resolver = Resolver(template.version, self)
        self._open: list[str] = []
        self._known: dict[str, bool] = {}

    def conditions(self) -> dict[str, bool]:
        """All named conditions."""
        return {name: self.condition(name) for name in self._template.conditions}

    def active(self) -> dict[str, ResourceDefinition]:
        """The resources whose condition holds, with what is chosen by conditions inside of them."""
        return {
            name: self._chosen(one)
            for name, one in self._template.resources.items()
            if self._resolver.truth(one.condition, ("resources", name, "condition"))
        }

    def _chosen(self, one: ResourceDefinition) -> ResourceDefinition:
        where = ("resources", one.name)
        return replace(
            one,
            properties=self._resolver.chosen(one.properties, (*where, "properties")),
            metadata=self._resolver.chosen(one.metadata, (*where, "metadata")),
            depends_on=names_in(self._resolver.chosen(one.depends_on, (*where, "depends_on"))),
            deletion_policy=self._policy(one),
        )

    def _policy(self, one: ResourceDefinition) -> str:
        policy = self._resolver.resolve(one.deletion_policy, ("resources", one.name, "deletion_policy"))
        if str(policy).capitalize() not in POLICIES:
            raise StackValidationFailed(f'resources.{one.name}.deletion_policy: Invalid deletion policy "{policy}"')
        return str(policy).capitalize()

    def query(self, expression: str, data: Any) -> Any:
        """What a YAQL expression finds."""
        return self._queries.answer(expression, data)

    def parameter(self, name: str) -> Any:
        """The value of a parameter."""
        if name not in self._parameters:
            raise UserParameterMissing(f"The Parameter ({name}) was not provided.")
        return self._parameters[name]

    def reference(self, resource: str) -> Any:
        """Nothing: there are no resources in conditions."""
        raise StackValidationFailed(f"a condition cannot refer to the resource {resource}")

    def attribute(self, resource: str, name: str, path: tuple[Any, ...]) -> Any:
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
