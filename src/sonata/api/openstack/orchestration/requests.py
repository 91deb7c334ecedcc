"""Reading what clients send: templates, environments, options."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from sonata.api.openstack.call import Call
from sonata.emulator.cloud.entities.orchestration import Definition, Owner, Stack
from sonata.emulator.cloud.orchestration.stacks import StackRequest
from sonata.errors import InvalidInput, Unsupported
from sonata.formats.hot.environment import TEMPLATES, parsed, read_environment
from sonata.formats.hot.errors import StackValidationFailed
from sonata.formats.hot.parameters import is_true
from sonata.formats.hot.template import read_template
from sonata.formats.yaml_nodes import parse_yaml

Body = Mapping[str, Any]
LONGEST_TAG = 80


def read_request(call: Call, body: Body) -> StackRequest:
    """A stack to be made.

    Raises:
        InvalidInput: the request is not complete or not of the right form.
    """
    if "stack_name" not in body:
        raise InvalidInput("No stack name specified")
    adopted = _adopted(body.get("adopt_stack_data"))
    return StackRequest(
        name=str(body["stack_name"]),
        owner=owner_of(call),
        definition=read_definition(body, adopted),
        disable_rollback=flag(body, "disable_rollback", default=True),
        timeout_mins=timeout(body),
        tags=tags(body) or (),
        base_url=call.url("orchestration", "/v1"),
        adopted=adopted,
    )


def owner_of(call: Call) -> Owner:
    """The caller as the owner of what is done in the background."""
    user = call.token.user
    return Owner(user.id, user.name, call.project_id, tuple(call.token.roles))


def read_definition(body: Body, adopted: Body | None = None, existing: Body | None = None) -> Definition:
    """Template, environment and files of a request.

    Parameters given directly win over the request's environment and, as in Heat, lose against its environment files.

    Args:
        body: the request.
        adopted: what an adopted stack was.
        existing: an environment over which that of the request is laid; parameters in it that the template does not
            have are dropped.

    Raises:
        InvalidInput: there is no template, or something cannot be read.
        Unsupported: the template would have to be fetched.
    """
    files = body.get("files") or (adopted or {}).get("files") or {}
    if not isinstance(files, Mapping):
        raise InvalidInput("The files must be a JSON object of texts")
    texts = {str(name): text if isinstance(text, str) else str(text) for name, text in files.items()}
    template = _template(body, adopted)
    names = body.get("environment_files") or ()
    kinds = _parameter_kinds(template, texts) if names else {}
    environment = read_environment(_given(body, adopted or {}), texts, names, kinds, existing).document()
    document = read_template(template).document if isinstance(template, str) else template
    if existing is not None:
        declared = document.get("parameters") or {}
        environment["parameters"] = {
            name: value for name, value in environment["parameters"].items() if name in declared
        }
    return Definition(document, environment, texts)


def _given(body: Body, adopted: Body) -> dict[str, Any]:
    """The environment of a request outside of its files, with the parameters that are given directly.

    Where there are files the rest is passed over, since clients put these together in it.
    """
    given = None if body.get("environment_files") else body.get("environment") or adopted.get("environment")
    environment = parsed(given, "environment")
    earlier = (adopted.get("environment") or {}).get("parameters") or {}
    values = {**earlier, **environment.get("parameters", {}), **_object(body, "parameters")}
    return {**environment, "parameters": values}


def _parameter_kinds(template: str | Mapping[str, Any], files: Mapping[str, str]) -> dict[str, str]:
    """Types of the parameters of a template, and of those among the files."""
    kinds: dict[str, str] = {}
    for name, text in files.items():
        if name.endswith(TEMPLATES) and "heat_template_version" in text:
            with suppress(InvalidInput):
                kinds |= {one.name: one.kind for one in read_template(text, name).parameters.values()}
    return kinds | {one.name: one.kind for one in read_template(template).parameters.values()}


def patched_definition(body: Body, stack: Stack) -> Definition:
    """The definition of an update that keeps what it does not name (PATCH).

    Raises:
        InvalidInput: as `read_definition`.
    """
    old = stack.definition
    dropped = set(body.get("clear_parameters") or ())
    kept = {name: value for name, value in old.environment.get("parameters", {}).items() if name not in dropped}
    has_template = any(body.get(key) for key in ("template", "template_url"))
    whole = {
        **body,
        "template": body.get("template") if has_template else old.template,
        "files": {**old.files, **(body.get("files") or {})},
    }
    return read_definition(whole, existing={**old.environment, "parameters": kept})


def _template(body: Body, adopted: Body | None) -> str | Mapping[str, Any]:
    if adopted is not None and not adopted.get("template"):
        raise InvalidInput("Invalid adopt data: there is no template in it")
    if template := (adopted or body).get("template"):
        if not isinstance(template, str | Mapping):
            raise InvalidInput("The template is neither a JSON object nor text")
        return template
    if body.get("template_url"):
        raise Unsupported("template_url is not offered: the service fetches nothing", hint="send the template itself")
    raise InvalidInput("No template specified")


def _adopted(given: Any) -> Body | None:
    if not given:
        return None
    data = parse_yaml(given, "adopt data").data if isinstance(given, str) else given
    if not isinstance(data, Mapping):
        raise InvalidInput("Invalid adopt data: an object is needed")
    return data


def _object(body: Body, name: str) -> Mapping[str, Any]:
    found = body.get(name) or {}
    if not isinstance(found, Mapping):
        raise InvalidInput(f"The {name} must be a JSON object")
    return found


def flag(body: Body, name: str, *, default: bool) -> bool:
    """A boolean of a request.

    Raises:
        InvalidInput: it is none.
    """
    if body.get(name) is None:
        return default
    try:
        return is_true(body[name])
    except ValueError as error:
        raise InvalidInput(f"Invalid value for {name}: {error}") from None


def timeout(body: Body) -> int | None:
    """The timeout in minutes.

    Raises:
        InvalidInput: it is no positive number.
    """
    given = body.get("timeout_mins")
    if given in (None, 0, "0", ""):
        return None
    try:
        minutes = int(given)
    except (TypeError, ValueError):
        raise InvalidInput(f"Only integer is allowed for timeout_mins, not {given!r}") from None
    if minutes <= 0:
        raise InvalidInput(f"Invalid timeout value {minutes}")
    return minutes


def tags(body: Body) -> tuple[str, ...] | None:
    """The tags of a stack, None when none are given.

    Raises:
        StackValidationFailed: one is too long or has a comma in it.
    """
    given = body.get("tags")
    if given is None:
        return None
    found = given.split(",") if isinstance(given, str) else given
    if not isinstance(found, list) or not all(isinstance(tag, str) for tag in found):
        raise StackValidationFailed(f"Invalid tags, not a list of texts: {given}")
    for tag in found:
        if len(tag) > LONGEST_TAG:
            raise StackValidationFailed(f'Invalid tag, "{tag}" is longer than {LONGEST_TAG} characters')
        if "," in tag:
            raise StackValidationFailed(f'Invalid tag, "{tag}" contains a comma')
    return tuple(found)
