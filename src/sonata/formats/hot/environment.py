"""Environments: values of parameters, and which type of resource stands for which other or for a nested template.

Source: Heat template guide, "Environments".
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sonata.errors import Unsupported
from sonata.formats.hot.errors import StackValidationFailed
from sonata.formats.yaml_nodes import parse_yaml

SECTIONS = (
    "parameters",
    "parameter_defaults",
    "resource_registry",
    "event_sinks",
    "encrypted_param_names",
    "parameter_merge_strategies",
)
STRATEGIES = ("overwrite", "merge", "deep_merge")


@dataclass(frozen=True, slots=True)
class Environment:
    """What is given beside a template.

    Args:
        registry: `resource_registry`: type or pattern to another type or the name of a template; `resources` holds the
            same for single resources.
    """

    parameters: Mapping[str, Any] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)
    registry: Mapping[str, Any] = field(default_factory=dict)
    encrypted: tuple[str, ...] = ()

    def mapped(self, resource: str, kind: str) -> str:
        """The type or template that stands for a type; the type itself when none does. The most special entry wins."""
        own = (self.registry.get("resources") or {}).get(resource)
        if isinstance(own, Mapping) and isinstance(target := own.get(kind), str):
            return target
        plain = {key: value for key, value in self.registry.items() if isinstance(value, str)}
        if kind in plain:
            return plain[kind]
        for pattern in sorted((key for key in plain if "*" in key), key=len, reverse=True):
            if fnmatch.fnmatchcase(kind, pattern):
                prefix = pattern.partition("*")[0]
                return plain[pattern].replace("*", kind.removeprefix(prefix))
        return kind

    def document(self) -> dict[str, Any]:
        """The environment as it is shown."""
        return {
            "parameters": dict(self.parameters),
            "parameter_defaults": dict(self.defaults),
            "resource_registry": {"resources": {}, **self.registry},
            "encrypted_param_names": list(self.encrypted),
            "event_sinks": [],
        }


def read_environment(
    given: str | Mapping[str, Any] | None, files: Mapping[str, str], names: Iterable[str] = ()
) -> Environment:
    """The environment of a request: files in their order, each over the one before, then what is given directly.

    Args:
        given: its text or object.
        files: content of files by name.
        names: of the environments among the files.

    Raises:
        StackValidationFailed: it has unknown sections or a section of the wrong form.
        Unsupported: it asks for hooks or event sinks.
    """
    merged: dict[str, Any] = {}
    for name in names:
        if name not in files:
            raise StackValidationFailed(f'No contents available for environment file "{name}"')
        _merge(merged, _parsed(files[name], name))
    _merge(merged, _parsed(given, "environment"))
    registry = merged.get("resource_registry") or {}
    _refuse_hooks(registry)
    if merged.get("event_sinks"):
        raise Unsupported("event_sinks are not offered: there is no message queue service", hint="poll the events")
    return Environment(
        parameters=merged.get("parameters") or {},
        defaults=merged.get("parameter_defaults") or {},
        registry=_with_base(registry),
        encrypted=tuple(merged.get("encrypted_param_names") or ()),
    )


def _parsed(given: str | Mapping[str, Any] | None, name: str) -> Mapping[str, Any]:
    if not given or (isinstance(given, str) and not given.strip()):
        return {}
    document = parse_yaml(given, name).data if isinstance(given, str) else given
    if not isinstance(document, Mapping):
        raise StackValidationFailed(f"The environment `{name}` is not a valid YAML mapping data type.")
    if unknown := [key for key in document if key not in SECTIONS]:
        raise StackValidationFailed(f'environment has wrong section "{unknown[0]}"')
    return document


def _merge(into: dict[str, Any], more: Mapping[str, Any]) -> None:
    strategies = more.get("parameter_merge_strategies") or {}
    for section, content in more.items():
        if section == "parameter_merge_strategies" or content is None:
            continue
        if isinstance(content, list):
            into[section] = [*into.get(section, []), *content]
            continue
        if not isinstance(content, Mapping):
            raise StackValidationFailed(f'the environment section "{section}" must be a map')
        target = into.setdefault(section, {})
        for key, value in content.items():
            strategy = strategies.get(key, strategies.get("default", "overwrite")) if "param" in section else "merge"
            target[key] = _combined(target.get(key), value, strategy)


def _combined(old: Any, new: Any, strategy: str) -> Any:
    if strategy not in STRATEGIES:
        raise StackValidationFailed(f"parameter merge strategy {strategy!r} is none of {', '.join(STRATEGIES)}")
    if strategy == "overwrite" or old is None:
        return new
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        deep = {key: _combined(old[key], new[key], strategy) for key in old.keys() & new.keys()}
        return {**old, **new, **(deep if strategy == "deep_merge" else {})}
    if isinstance(old, list) and isinstance(new, list):
        return [*old, *new]
    if isinstance(old, str) and isinstance(new, str) and strategy != "overwrite" and "," in old + new:
        return f"{old},{new}"
    return new


def _refuse_hooks(registry: Mapping[str, Any]) -> None:
    for name, entry in (registry.get("resources") or {}).items():
        if isinstance(entry, Mapping) and ("hooks" in entry or "restricted_actions" in entry):
            raise Unsupported(
                f"hooks and restricted_actions are not offered (resource_registry.resources.{name})",
                hint="leave them out of the environment",
            )


def _with_base(registry: Mapping[str, Any]) -> dict[str, Any]:
    """Relative names of templates are below `base_url` where that is given."""
    base = registry.get("base_url", "")

    def absolute(value: Any) -> Any:
        is_relative = isinstance(value, str) and base and "::" not in value and "://" not in value
        return f"{str(base).rstrip('/')}/{value}" if is_relative else value

    return {key: absolute(value) for key, value in registry.items() if key != "base_url"}
