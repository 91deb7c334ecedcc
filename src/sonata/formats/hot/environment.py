"""Environments: values of parameters, and which type of resource stands for which other or for a nested template.

Source: Heat template guide, "Environments".
"""

from __future__ import annotations

import fnmatch
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import field
from typing import Any

from sonata._lib.values import dataclass
from sonata.formats.hot.errors import ResourceTypeUnavailable, StackValidationFailed
from sonata.formats.yaml_nodes import parse_yaml

SECTIONS = (
    "parameters",
    "resource_registry",
    "parameter_defaults",
    "encrypted_param_names",
    "event_sinks",
    "parameter_merge_strategies",
)
LISTS = ("encrypted_param_names", "event_sinks")
OVERWRITE, MERGE, DEEP_MERGE = "overwrite", "merge", "deep_merge"
STRATEGIES = (OVERWRITE, MERGE, DEEP_MERGE)
HOOKS = ("pre-create", "pre-update", "pre-delete", "post-create", "post-update", "post-delete")
"""Where a stack can be held up until a client lets it go on."""
RESTRICTIONS = ("update", "replace")
TEMPLATES = (".yaml", ".template")
"""How names of templates end."""

Known = Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class Entry:
    """What the registry says of types: `path` leads to the entry, the last of it is the type or a pattern."""

    path: tuple[str, ...]
    target: str

    @property
    def name(self) -> str:
        """The type, or a prefix and an asterisk."""
        return self.path[-1]

    @property
    def is_template(self) -> bool:
        """Whether a template stands for the type."""
        return self.name.endswith(TEMPLATES) or self.target.endswith(TEMPLATES)

    def fits(self, kind: str) -> bool:
        """Whether it is a pattern in which a type falls; one that leads to itself does not."""
        return self.name.endswith("*") and kind != self.target and kind.startswith(self.name[:-1])

    def leads_to(self, kind: str) -> str:
        """The type that stands for one."""
        if self.name.endswith("*") and self.target.endswith("*"):
            return self.target[:-1] + kind[len(self.name) - 1 :]
        return self.target


@dataclass(frozen=True, slots=True)
class Environment:
    """What is given beside a template.

    Args:
        registry: `resource_registry`: type or pattern to another type or the name of a template; `resources` holds the
            same for single resources, and their hooks and restricted actions.
    """

    parameters: Mapping[str, Any] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)
    registry: Mapping[str, Any] = field(default_factory=dict)
    encrypted: tuple[str, ...] = ()

    def mapped(self, resource: str, kind: str, known: Known) -> str:
        """The type or template that stands for a type; the type itself when none does.

        Args:
            resource: name of the resource.
            kind: its type.
            known: whether there is a type of a name.
        """
        found = self.entry(resource, kind, known)
        return found.target if found else kind

    def entry(self, resource: str, kind: str, known: Known, depth: int = 0) -> Entry | None:
        """The entry that says at last what stands for a type; None when the type is none.

        That of the single resource comes before those of all; among these the order of the alphabet counts, in which
        an asterisk comes first.

        Raises:
            StackValidationFailed: entries lead to one another in a circle.
        """
        if depth > len(self.registry) + 10:
            raise StackValidationFailed(f"the resource_registry leads in a circle at {kind}")
        for found in sorted(self._entries(resource, kind), key=lambda one: (-len(one.path), one.path)):
            if found.is_template:
                return found
            target = found.leads_to(kind)
            if last := self.entry(resource, target, known, depth + 1):
                return last
        return Entry((kind,), kind) if known(kind) else None

    def _entries(self, resource: str, kind: str) -> Iterator[Entry]:
        own = (self.registry.get("resources") or {}).get(resource)
        if isinstance(own, Mapping) and isinstance(own.get(kind), str):
            yield Entry(("resources", resource, kind), own[kind])
        if kind.endswith(TEMPLATES):
            yield Entry((kind,), kind)
        for name, target in self.registry.items():
            one = Entry((name,), target) if isinstance(target, str) and not name.endswith(TEMPLATES) else None
            if one and (name == kind or one.fits(kind)):
                yield one

    def hooks(self, resource: str) -> frozenset[str]:
        """Where a resource is held up."""
        return self._told(resource, "hooks")

    def restricted(self, resource: str) -> frozenset[str]:
        """What may not be done to a resource: `update`, `replace`."""
        return self._told(resource, "restricted_actions")

    def _told(self, resource: str, what: str) -> frozenset[str]:
        found: set[str] = set()
        for _pattern, one in _matching(self.registry.get("resources") or {}, resource):
            found |= set(_words(one.get(what)))
        return frozenset(found)

    def child(self, resource: str | None, entry: Entry | None, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """The environment of a nested stack.

        Args:
            resource: what stands for it in this stack; what is said of that holds for the resources in it. None when
                all of the environment holds there.
            entry: of the registry, by which it is nested; it does not hold inside, so that no template is in itself.
            parameters: of the nested stack.
        """
        registry = {key: value for key, value in self.registry.items() if key != "resources"}
        own = self.registry.get("resources") or {}
        single: dict[str, Any] = dict(own) if resource is None else {}
        for _pattern, one in _matching(own, resource or ""):
            single |= one
        if isinstance(own.get(resource), Mapping):
            single |= own[resource]
        if entry and entry.is_template and len(entry.path) == 1:
            registry.pop(entry.name, None)
        return {
            **self.document(),
            "parameters": dict(parameters),
            "resource_registry": {**registry, "resources": single},
        }

    def document(self) -> dict[str, Any]:
        """The environment as it is shown."""
        return {
            "parameters": dict(self.parameters),
            "parameter_defaults": dict(self.defaults),
            "resource_registry": {"resources": {}, **self.registry},
            "encrypted_param_names": list(self.encrypted),
            "event_sinks": [],
        }


def _matching(resources: Mapping[str, Any], name: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for pattern, one in resources.items():
        if isinstance(one, Mapping) and fnmatch.fnmatchcase(name, pattern):
            yield pattern, one


def _words(given: Any) -> tuple[str, ...]:
    if isinstance(given, str):
        return (given,)
    return tuple(map(str, given)) if isinstance(given, list | tuple) else ()


def read_environment(
    given: str | Mapping[str, Any] | None,
    files: Mapping[str, str],
    names: Iterable[str] = (),
    kinds: Mapping[str, str] | None = None,
    existing: Mapping[str, Any] | None = None,
) -> Environment:
    """The environment of a request: what is given, and over that files in their order, each over the one before.

    Args:
        given: its text or object.
        files: content of files by name.
        names: of the environments among the files.
        kinds: types of the parameters of the template and those nested in it, by which files are merged.
        existing: an environment as it is shown, over which all of that is laid.

    Raises:
        StackValidationFailed: it has unknown sections or a section of the wrong form.
        ResourceTypeUnavailable: it asks for event sinks.
    """
    merged: dict[str, Any] = dict(parsed(given, "environment"))
    merger = _Merger(kinds or {})
    for name in names:
        if name not in files:
            raise StackValidationFailed(f'No contents available for environment file "{name}"')
        merger.add(merged, parsed(files[name], name), name)
    merged = _over_existing(existing or {}, merged)
    _refuse_sinks(merged.get("event_sinks") or ())
    registry = merged.get("resource_registry") or {}
    _check_told(registry.get("resources") or {})
    return Environment(
        parameters=merged.get("parameters") or {},
        defaults=merged.get("parameter_defaults") or {},
        registry=_without_removed(_with_base(registry)),
        encrypted=tuple(merged.get("encrypted_param_names") or ()),
    )


def _refuse_sinks(sinks: Iterable[Any]) -> None:
    """Refuse event sinks, since there is no queue for events; Heat would take them and drop the events."""
    for sink in sinks:
        kind = sink.get("type") if isinstance(sink, Mapping) else None
        if kind != "zaqar-queue":
            raise StackValidationFailed(f'Invalid event sink type "{kind}", acceptable types are: zaqar-queue')
        raise ResourceTypeUnavailable(
            "HEAT-E99001 Service zaqar is not available for event sink zaqar-queue, reason: "
            "zaqar messaging endpoint is not in service catalog. Poll the events of the stack.",
        )


def _over_existing(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """An environment over another, as an update that keeps what it does not name wants it."""
    values = ("parameters", "parameter_defaults")
    return {
        **{section: {**(old.get(section) or {}), **(new.get(section) or {})} for section in values},
        **{section: [*(old.get(section) or ()), *(new.get(section) or ())] for section in LISTS},
        "resource_registry": _nested(old.get("resource_registry") or {}, new.get("resource_registry") or {}),
    }


def _nested(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """A registry over another; a null comes after what it takes out."""
    merged = {key: value for key, value in old.items() if key not in new or new[key] is not None}
    for key, value in new.items():
        before = merged.get(key)
        if isinstance(before, Mapping) and isinstance(value, Mapping):
            merged[key] = _nested(before, value)
        else:
            merged[key] = value
    return merged


def parsed(given: str | Mapping[str, Any] | None, name: str) -> Mapping[str, Any]:
    """The sections of an environment.

    Raises:
        StackValidationFailed: there is one that is unknown, or not of its form.
    """
    if not given or (isinstance(given, str) and not given.strip()):
        return {}
    document = parse_yaml(given, name).data if isinstance(given, str) else given
    if document is None:
        return {}
    if not isinstance(document, Mapping):
        raise StackValidationFailed(f"The environment `{name}` is not a valid YAML mapping data type.")
    for section, content in document.items():
        if section not in SECTIONS:
            raise StackValidationFailed(f'environment has wrong section "{section}"')
        if content is None:
            raise StackValidationFailed(f'environment has empty section "{section}"')
        if not isinstance(content, list if section in LISTS else Mapping):
            raise StackValidationFailed(f'the environment section "{section}" must be a map')
    return document


class _Merger:
    """Puts environments together; what a file says of how a parameter is merged holds for all of them.

    Args:
        kinds: types of parameters.
    """

    def __init__(self, kinds: Mapping[str, str]) -> None:
        self._kinds = kinds
        self._strategies: dict[str, str] = {}

    def add(self, into: dict[str, Any], more: Mapping[str, Any], file: str) -> None:
        """Merge a file over what there is.

        Raises:
            StackValidationFailed: files contradict one another, or values cannot be merged.
        """
        told = more.get("parameter_merge_strategies") or {}
        for section, content in more.items():
            if section == "parameter_merge_strategies" or not content:
                continue
            if section in ("parameters", "parameter_defaults"):
                into[section] = self._parameters(into.get(section) or {}, content, told, file)
            elif section in LISTS:
                into[section] = [*into.get(section, []), *content]
            else:
                into[section] = _laid_over(into.get(section) or {}, content)

    def _parameters(
        self, old: Mapping[str, Any], new: Mapping[str, Any], told: Mapping[str, Any], file: str
    ) -> dict[str, Any]:
        declared = {key: value for key, value in new.items() if key in self._kinds and value is not None}
        for key in declared:
            strategy = self._strategy(key, told)
            if self._strategies.setdefault(key, strategy) != strategy:
                raise StackValidationFailed(
                    f"Conflicting merge strategy '{strategy}' for parameter '{key}' in file '{file}'."
                )
        if not old:
            return dict(new)
        merged = dict(old)
        for key, value in declared.items():
            strategy = self._strategies[key]
            merged[key] = value if strategy == OVERWRITE else self._merged(key, old.get(key), value, strategy)
        return merged

    def _strategy(self, key: str, told: Mapping[str, Any]) -> str:
        usual = str(told.get("default", OVERWRITE))
        strategy = told.get(key, self._strategies.get(key, usual))
        return str(strategy) if strategy in STRATEGIES else usual

    def _merged(self, key: str, old: Any, new: Any, strategy: str) -> Any:
        kind = self._kinds[key]
        if kind == "json":
            if isinstance(old, str):
                raise StackValidationFailed(f"the parameter {key} cannot be merged: it is written as text before")
            return _laid_over(old or {}, _object(new), deep=strategy == DEEP_MERGE)
        if kind in ("boolean", "number") or not isinstance(new, str | list):
            raise StackValidationFailed(f"Invalid merge strategy '{strategy}' for parameter '{key}'.")
        try:
            return _listed(old, new) if kind == "comma_delimited_list" else new if old is None else old + new
        except TypeError as error:
            raise StackValidationFailed(f"the parameter {key} cannot be merged: {error}") from None


def _object(value: Any) -> Mapping[str, Any]:
    try:
        found = json.loads(value) if isinstance(value, str) and value else value
    except ValueError as error:
        raise StackValidationFailed(f"Invalid parameter in environment {error}.") from None
    if not isinstance(found, Mapping):
        raise StackValidationFailed("Invalid parameter in environment: a map is needed.")
    return found


def _listed(old: Any, new: Any) -> Any:
    if not old:
        return new
    return [*old, *new] if isinstance(new, list) else f"{old},{new}"


def _laid_over(old: Mapping[str, Any], new: Mapping[str, Any], *, deep: bool = False) -> dict[str, Any]:
    """A map over another; what is null in it changes nothing."""
    return {**old, **{key: _inner(old, key, value, deep) for key, value in new.items() if value is not None}}


def _inner(old: Mapping[str, Any], key: str, value: Any, deep: bool) -> Any:
    before = old.get(key)
    if not deep:
        return value
    if isinstance(value, str):
        return f"{before or ''}{value}"
    if isinstance(value, Mapping):
        return _laid_over(before, value, deep=True) if before else value
    return _listed(before, value) if isinstance(value, list) else value


def _check_told(resources: Mapping[str, Any]) -> None:
    """Refuse hooks and restricted actions that there are not, at any depth."""
    for key, value in resources.items():
        for what, allowed in (("hooks", HOOKS), ("restricted_actions", RESTRICTIONS)):
            words = _words(value)
            if key == what and (not words or set(words) - set(allowed)):
                kind, of = ("hook", "resource breakpoint") if what == "hooks" else ("restricted_action", "resource")
                raise StackValidationFailed(
                    f'Invalid {kind} type "{value}" for {of}, acceptable {kind} types are: {", ".join(allowed)}'
                )
        if isinstance(value, Mapping):
            _check_told(value)


def _without_removed(registry: Mapping[str, Any]) -> dict[str, Any]:
    """The registry without what a null takes out again: one entry, or those before it that begin so."""
    kept: dict[str, Any] = {}
    for key, value in registry.items():
        if isinstance(value, Mapping):
            kept[key] = _without_removed(value)
        elif value is not None:
            kept[key] = value
        elif key.endswith("*"):
            kept = {
                name: one for name, one in kept.items() if isinstance(one, Mapping) or not name.startswith(key[:-1])
            }
        else:
            kept.pop(key, None)
    return kept


def _with_base(registry: Mapping[str, Any]) -> dict[str, Any]:
    """Relative names of templates are below `base_url` where that is given."""
    base = registry.get("base_url", "")

    def absolute(value: Any) -> Any:
        is_relative = isinstance(value, str) and base and "::" not in value and "://" not in value
        return f"{str(base).rstrip('/')}/{value}" if is_relative else value

    return {key: absolute(value) for key, value in registry.items() if key != "base_url"}
