"""Reading templates: from text or an object to a `Template`, with all findings at once.

Findings have file, line and column where the template is given as text. Codes: HOT-0001 unknown key, HOT-0002 missing
key, HOT-0003 wrong value, HOT-0010 parameters, HOT-0011 references, HOT-0012 functions, HOT-0013 circles.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import field
from typing import Any

from sonata._lib.values import dataclass
from sonata.errors import Diagnostic
from sonata.formats.hot.errors import (
    CircularDependency,
    InvalidTemplateVersion,
    StackValidationFailed,
)
from sonata.formats.hot.graph import dependencies, references
from sonata.formats.hot.parameters import Parameter, declared, findings_in
from sonata.formats.hot.resolver import function_name
from sonata.formats.hot.versions import FUNCTIONS, NAMES, WITH_CONDITIONS, canonical
from sonata.formats.suggestions import suggestion
from sonata.formats.yaml_nodes import DocumentPath, YamlDocument, parse_yaml

SECTIONS = (
    "heat_template_version",
    "description",
    "parameter_groups",
    "parameters",
    "resources",
    "outputs",
    "conditions",
)
RESOURCE_KEYS = (
    "type",
    "properties",
    "metadata",
    "depends_on",
    "deletion_policy",
    "update_policy",
    "description",
    "external_id",
    "condition",
)
OUTPUT_KEYS = ("description", "value", "condition")
POLICIES = ("Delete", "Retain", "Snapshot")
PSEUDO_PARAMETERS = ("OS::stack_name", "OS::stack_id", "OS::project_id")


@dataclass(frozen=True, slots=True)
class ResourceDefinition:
    """A resource as a template declares it; properties and metadata are unresolved.

    Args:
        depends_on: a name or a list of names.
        condition: True, the name of a condition or a function.
        deletion_policy: `Delete`, `Retain` or `Snapshot`.
        external_id: physical id of an existing object that is only referred to.
    """

    name: str
    type: str
    properties: Mapping[str, Any] = field(default_factory=dict)
    metadata: Any = field(default_factory=dict)
    depends_on: Any = ()
    deletion_policy: Any = "Delete"
    update_policy: Any = field(default_factory=dict)
    description: str = ""
    external_id: Any = None
    condition: Any = True


@dataclass(frozen=True, slots=True)
class Output:
    """A value that a stack tells."""

    name: str
    value: Any
    description: str = ""
    condition: Any = True


@dataclass(frozen=True, slots=True)
class Template:
    """A valid template."""

    version: str
    description: str
    parameters: Mapping[str, Parameter]
    parameter_groups: tuple[Mapping[str, Any], ...]
    conditions: Mapping[str, Any]
    resources: Mapping[str, ResourceDefinition]
    outputs: Mapping[str, Output]
    document: Mapping[str, Any]


def read_template(given: str | Mapping[str, Any], file: str = "template") -> Template:
    """A template from its text (YAML or JSON) or as an object.

    Raises:
        InvalidInput: it is no plain YAML.
        InvalidTemplateVersion: there is no such version, or it is a CloudFormation template.
        StackValidationFailed: with all other findings.
    """
    document = parse_yaml(given, file) if isinstance(given, str) else None
    data = document.data if document else given
    if not isinstance(data, Mapping):
        raise StackValidationFailed("The template is not a JSON object or YAML mapping.")
    version = _version(data)
    findings = list(_Checker(data, version, document, file).findings())
    if findings:
        told = "; ".join(str(one) if document else one.summary for one in findings)
        raise StackValidationFailed(told, diagnostics=findings)
    return _built(data, version)


def _version(data: Mapping[str, Any]) -> str:
    for key in ("HeatTemplateFormatVersion", "AWSTemplateFormatVersion"):
        if key in data:
            raise InvalidTemplateVersion(
                f'The template version is invalid: "{key}: {data[key]}". CloudFormation templates are not taken',
                hint=f"write a HOT template, `heat_template_version: {max(FUNCTIONS)}`",
            )
    if "heat_template_version" not in data:
        raise InvalidTemplateVersion("Template format version not found.")
    given = data["heat_template_version"]
    if not (version := canonical(given)):
        known = ", ".join((*FUNCTIONS, *NAMES))
        raise InvalidTemplateVersion(
            f'The template version is invalid: "heat_template_version: {given}". "heat_template_version" should be '
            f"one of: {known}"
        )
    return version


class _Checker:
    """Finds what is wrong with a template."""

    def __init__(self, data: Mapping[str, Any], version: str, document: YamlDocument | None, file: str) -> None:
        self._data = data
        self._version = version
        self._document = document
        self._file = file if document else ""

    def findings(self) -> Iterator[Diagnostic]:
        """All findings in the order of the sections."""
        sections = SECTIONS if self._version >= WITH_CONDITIONS else SECTIONS[:-1]
        for key in self._data:
            if key not in sections:
                hint = suggestion(str(key), sections)
                yield self._told("HOT-0001", f'"{key}" is not a valid keyword inside the template', (key,), hint)
        broken = [name for name in SECTIONS[3:] if not isinstance(self._data.get(name) or {}, Mapping)]
        for name in broken:
            yield self._told("HOT-0003", f'The "{name}" section must be a map', (name,))
        if not broken:
            yield from self._parameters()
            yield from self._groups()
            yield from self._resources()
            yield from self._outputs()
            yield from self._conditions()
            yield from self._references()

    def _section(self, name: str) -> Mapping[str, Any]:
        return self._data.get(name) or {}

    def _parameters(self) -> Iterator[Diagnostic]:
        for name, document in self._section("parameters").items():
            if name in self._section("resources"):
                yield self._told("HOT-0010", f"Duplicate names {{'{name}'}}", ("parameters", name))
            if name in PSEUDO_PARAMETERS:
                yield self._told("HOT-0010", f"The parameter name '{name}' is reserved", ("parameters", name))
            for text in findings_in(document, self._version):
                yield self._told("HOT-0010", f"Parameter '{name}': {text}", ("parameters", name))

    def _groups(self) -> Iterator[Diagnostic]:
        groups = self._data.get("parameter_groups") or []
        if not isinstance(groups, list):
            yield self._told("HOT-0003", "The parameter_groups should be a list", ("parameter_groups",))
            return
        seen: set[str] = set()
        for index, group in enumerate(groups):
            names = group.get("parameters") if isinstance(group, Mapping) else None
            if not isinstance(names, list):
                yield self._told(
                    "HOT-0003", "A parameter group needs a list of parameters", ("parameter_groups", index)
                )
                continue
            for name in names:
                if name not in self._section("parameters"):
                    text = f"The grouped parameter {name} does not reference a valid parameter"
                    yield self._told("HOT-0010", text, ("parameter_groups", index))
                if name in seen:
                    text = f"The {name} parameter must be assigned to one parameter group only"
                    yield self._told("HOT-0010", text, ("parameter_groups", index))
                seen.add(name)

    def _resources(self) -> Iterator[Diagnostic]:
        for name, document in self._section("resources").items():
            yield from self._resource(str(name), document, ("resources", name))

    def _resource(self, name: str, document: Any, path: DocumentPath) -> Iterator[Diagnostic]:
        if not isinstance(document, Mapping):
            yield self._told("HOT-0003", f"Resource {name} must be a map", path)
            return
        if "/" in name or not name:
            yield self._told("HOT-0003", f'Resource name "{name}" must not contain "/"', path)
        for key in document:
            if key not in RESOURCE_KEYS or (key in RESOURCE_KEYS[-2:] and self._version < WITH_CONDITIONS):
                text = f'"{key}" is not a valid keyword inside a resource definition'
                yield self._told("HOT-0001", text, (*path, key), suggestion(str(key), RESOURCE_KEYS))
        if not isinstance(document.get("type"), str) or not document["type"]:
            yield self._told("HOT-0002", f"Resource {name} type must be given as a string", path)
        yield from self._forms(name, document, path)
        policy = document.get("deletion_policy")
        if isinstance(policy, str) and policy not in self._policies():
            yield self._told("HOT-0003", f'Invalid deletion policy "{policy}"', (*path, "deletion_policy"))

    def _forms(self, name: str, document: Mapping[str, Any], path: DocumentPath) -> Iterator[Diagnostic]:
        for key in ("properties", "metadata", "update_policy"):
            if not isinstance(document.get(key) or {}, Mapping):
                yield self._told("HOT-0003", f"Resource {name} {key} type must be object", (*path, key))
        if not isinstance(document.get("depends_on") or [], str | list):
            yield self._told("HOT-0003", f"Resource {name} depends_on must be a list", (*path, "depends_on"))

    def _policies(self) -> tuple[str, ...]:
        lower = tuple(one.lower() for one in POLICIES) if self._version >= WITH_CONDITIONS else ()
        return POLICIES + lower

    def _outputs(self) -> Iterator[Diagnostic]:
        for name, document in self._section("outputs").items():
            path = ("outputs", name)
            if not isinstance(document, Mapping) or "value" not in document:
                yield self._told("HOT-0002", f'Each output must contain a value key: "{name}"', path)
                continue
            for key in document:
                if key not in OUTPUT_KEYS:
                    yield self._told("HOT-0001", f'"{key}" is not a valid keyword inside an output', (*path, key))

    def _conditions(self) -> Iterator[Diagnostic]:
        known = self._section("conditions")
        for name, snippet in known.items():
            if not isinstance(snippet, bool | str | Mapping):
                yield self._told(
                    "HOT-0003", f"The condition {name} must be a boolean or a function", ("conditions", name)
                )
        for section in ("resources", "outputs"):
            for name, document in self._section(section).items():
                used = document.get("condition") if isinstance(document, Mapping) else None
                if isinstance(used, str) and used not in known:
                    text = f'Invalid condition "{used}" (in {section}.{name}.condition)'
                    yield self._told("HOT-0011", text, (section, name, "condition"))

    def _references(self) -> Iterator[Diagnostic]:
        """References of resources and outputs: to parameters, resources, and circles of them."""
        resources = {name: one for name, one in self._section("resources").items() if isinstance(one, Mapping)}
        for section in ("resources", "outputs"):
            for name, document in self._section(section).items():
                yield from self._references_of(document, (section, name), resources)
        for name, document in resources.items():
            for needed in names_in(document.get("depends_on")):
                if needed not in resources:
                    text = f'The specified reference "{needed}" (in {name}) is incorrect.'
                    yield self._told("HOT-0011", text, ("resources", name, "depends_on"))
        explicit = {name: names_in(one.get("depends_on")) for name, one in resources.items()}
        try:
            dependencies(resources, explicit)
        except CircularDependency as error:
            yield self._told("HOT-0013", error.message, ("resources",))

    def _references_of(self, document: Any, path: DocumentPath, resources: Mapping[str, Any]) -> Iterator[Diagnostic]:
        for name in dict.fromkeys(references(document)):
            is_parameter = name in self._section("parameters") or name in PSEUDO_PARAMETERS
            if name not in resources and not (is_parameter and self._version < "2014-10-16"):
                text = f'The specified reference "{name}" (in {path[-1]}) is incorrect.'
                yield self._told("HOT-0011", text, path)
        for where, name in _parameters_used(document, path):
            if name not in self._section("parameters") and name not in PSEUDO_PARAMETERS:
                yield self._told("HOT-0011", f"The Parameter ({name}) was not provided.", where)
        yield from self._removed_functions(document, path)

    def _removed_functions(self, snippet: Any, path: DocumentPath) -> Iterator[Diagnostic]:
        if isinstance(snippet, Mapping):
            try:
                function_name(snippet, self._version)
            except StackValidationFailed as error:
                yield self._told("HOT-0012", error.message, path)
            for key, value in snippet.items():
                yield from self._removed_functions(value, (*path, key))
        elif isinstance(snippet, list):
            for index, value in enumerate(snippet):
                yield from self._removed_functions(value, (*path, index))

    def _told(self, code: str, summary: str, path: DocumentPath, hint: str = "") -> Diagnostic:
        if self._document:
            return self._document.diagnostic(code, summary, path, hint=hint, of_key=True)
        return Diagnostic("error", code, summary, hint=hint)


def _parameters_used(snippet: Any, path: DocumentPath) -> Iterator[tuple[DocumentPath, str]]:
    if isinstance(snippet, Mapping):
        for key, value in snippet.items():
            name = value[0] if key == "get_param" and isinstance(value, list) and value else value
            if key == "get_param" and len(snippet) == 1 and isinstance(name, str):
                yield (*path, key), name
            else:
                yield from _parameters_used(value, (*path, key))
    elif isinstance(snippet, list):
        for index, value in enumerate(snippet):
            yield from _parameters_used(value, (*path, index))


def names_in(value: Any) -> tuple[str, ...]:
    """The names that `depends_on` holds; what is to be chosen by a condition does not count."""
    given = (value,) if isinstance(value, str) else tuple(value or ())
    return tuple(str(one) for one in given if not isinstance(one, Mapping))


def _built(data: Mapping[str, Any], version: str) -> Template:
    return Template(
        version=version,
        description=str(data.get("description") or ""),
        parameters={name: declared(name, one) for name, one in (data.get("parameters") or {}).items()},
        parameter_groups=tuple(data.get("parameter_groups") or ()),
        conditions=dict(data.get("conditions") or {}),
        resources={str(name): _resource(str(name), one) for name, one in (data.get("resources") or {}).items()},
        outputs={str(name): _output(str(name), one) for name, one in (data.get("outputs") or {}).items()},
        document=data,
    )


def _resource(name: str, one: Mapping[str, Any]) -> ResourceDefinition:
    policy = one.get("deletion_policy", "Delete")
    return ResourceDefinition(
        name=name,
        type=one["type"],
        properties=one.get("properties") or {},
        metadata=one.get("metadata") or {},
        depends_on=one.get("depends_on") or (),
        deletion_policy=policy.capitalize() if isinstance(policy, str) else policy,
        update_policy=one.get("update_policy") or {},
        description=str(one.get("description") or ""),
        external_id=one.get("external_id"),
        condition=one.get("condition", True),
    )


def _output(name: str, one: Mapping[str, Any]) -> Output:
    return Output(name, one["value"], str(one.get("description") or ""), one.get("condition", True))
