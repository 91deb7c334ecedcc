"""Volume types of the Block Storage API: their extra specs and who may use them. Administrators make them."""

from __future__ import annotations

from sonata.api.openstack.call import Call
from sonata.api.openstack.listing import Document
from sonata.api.openstack.reply import ACCEPTED, Reply, json_reply
from sonata.api.openstack.schemas import TEXTS
from sonata.api.openstack.volume import bodies
from sonata.api.openstack.volume.common import Paths, flag_of, listed, text_of, texts_of
from sonata.emulator.cloud.entities.volume import VolumeType
from sonata.emulator.cloud.volume.types import usable
from sonata.errors import Conflict, InvalidInput, NotFound, Unsupported


def register(paths: Paths) -> None:
    """Add the routes of volume types."""
    paths.add("GET", "/types", _list)
    paths.add("POST", "/types", _create, needs="admin", body=bodies.TYPE_CREATE)
    paths.add("GET", "/types/{id}", _show)
    paths.add("PUT", "/types/{id}", _update, needs="admin", body=bodies.TYPE_UPDATE)
    paths.add("DELETE", "/types/{id}", _delete, needs="admin")
    paths.add("POST", "/types/{id}/action", _action, needs="admin", body=bodies.TYPE_ACTION)
    paths.add("GET", "/types/{id}/extra_specs", _specs)
    paths.add("POST", "/types/{id}/extra_specs", _add_specs, needs="admin", body=bodies.EXTRA_SPECS)
    paths.add("GET", "/types/{id}/extra_specs/{key}", _spec)
    paths.add("PUT", "/types/{id}/extra_specs/{key}", _set_spec, needs="admin", body=TEXTS)
    paths.add("DELETE", "/types/{id}/extra_specs/{key}", _remove_spec, needs="admin")
    paths.add("GET", "/types/{id}/os-volume-type-access", _access, needs="admin")
    paths.add("GET", "/types/{id}/encryption", _encryption)
    paths.add("POST", "/types/{id}/encryption", _encrypt, needs="admin")


def _sees(call: Call, kind: VolumeType) -> bool:
    return call.token.is_admin or usable(kind, call.project_id)


def _find(call: Call) -> VolumeType:
    wanted = call.params["id"]
    if wanted == "default":
        return call.cloud.volume_types.default
    kind = call.cloud.tables.volume_types.peek(wanted)
    if kind is None or not _sees(call, kind):
        raise NotFound(f"Volume type {wanted} could not be found.")
    return kind


def _document(call: Call, kind: VolumeType) -> Document:
    document: Document = {
        "id": kind.id,
        "name": kind.name,
        "description": kind.description or None,
        "is_public": kind.is_public,
        "os-volume-type-access:is_public": kind.is_public,
        "extra_specs": dict(kind.extra_specs),
    }
    return {**document, "qos_specs_id": None} if call.token.is_admin else document


async def _list(call: Call) -> Reply:
    asked = call.first("is_public", "true").lower()
    public = {"true": True, "1": True, "false": False, "0": False}.get(asked) if call.token.is_admin else None
    kinds = [kind for kind in call.cloud.tables.volume_types if public in (None, kind.is_public)]
    return listed(call, "volume_types", (_document(call, kind) for kind in kinds if _sees(call, kind)))


async def _show(call: Call) -> Reply:
    return json_reply({"volume_type": _document(call, _find(call))})


async def _create(call: Call) -> Reply:
    body = await call.member("volume_type")
    name = text_of(body, "name")
    if not name:
        raise InvalidInput("Invalid input for field/attribute name: a name is needed.")
    kind = VolumeType(
        name=name,
        description=text_of(body, "description") or "",
        is_public=flag_of(body, "os-volume-type-access:is_public", True),
        extra_specs=texts_of(body.get("extra_specs"), "extra_specs"),
    )
    return json_reply({"volume_type": _document(call, call.cloud.volume_types.create(kind))})


async def _update(call: Call) -> Reply:
    kind, body = _find(call), await call.member("volume_type")
    changes: Document = {}
    if body.get("name") is not None:
        changes["name"] = text_of(body, "name")
    if "description" in body:
        changes["description"] = text_of(body, "description") or ""
    if body.get("is_public") is not None:
        changes["is_public"] = flag_of(body, "is_public")
    if not changes or changes.get("name") == "":
        raise InvalidInput("Specify volume type name, description, is_public or a combination thereof.")
    return json_reply({"volume_type": _document(call, call.cloud.volume_types.rename(kind.id, **changes))})


async def _delete(call: Call) -> Reply:
    call.cloud.volume_types.delete(_find(call).id)
    return ACCEPTED


async def _action(call: Call) -> Reply:
    """Let a project use a type that is not public, or no more."""
    kind, body = _find(call), await call.json()
    if kind.is_public:
        raise Conflict("Type access modification is not applicable to public volume type.")
    if asked := body.get("addProjectAccess"):
        access = (*kind.access, _project(asked))
        if len(set(access)) < len(access):
            raise Conflict(f"Volume type access for {kind.id} / {access[-1]} combination already exists.")
    elif asked := body.get("removeProjectAccess"):
        project = _project(asked)
        if project not in kind.access:
            raise NotFound(f"Volume type access not found for {kind.id} / {project} combination.")
        access = tuple(one for one in kind.access if one != project)
    else:
        raise InvalidInput("There is no such action; there are addProjectAccess and removeProjectAccess.")
    call.cloud.tables.volume_types.change(kind.id, access=access)
    return ACCEPTED


def _project(asked: object) -> str:
    if not isinstance(asked, dict) or not (project := text_of(asked, "project")):
        raise InvalidInput("Invalid input for field/attribute project: an id is needed.")
    return project


async def _access(call: Call) -> Reply:
    kind = _find(call)
    if kind.is_public:
        raise NotFound("Access list not available for public volume types.")
    shown = [{"volume_type_id": kind.id, "project_id": project} for project in kind.access]
    return json_reply({"volume_type_access": shown})


async def _specs(call: Call) -> Reply:
    return json_reply({"extra_specs": dict(_find(call).extra_specs)})


async def _add_specs(call: Call) -> Reply:
    kind, specs = _find(call), texts_of(await call.member("extra_specs"), "extra_specs")
    call.cloud.tables.volume_types.change(kind.id, extra_specs={**kind.extra_specs, **specs})
    return json_reply({"extra_specs": specs})


async def _spec(call: Call) -> Reply:
    key = call.params["key"]
    return json_reply({key: _existing(_find(call), key)})


async def _set_spec(call: Call) -> Reply:
    kind, specs = _find(call), texts_of(await call.json(), "extra_specs")
    if set(specs) != {call.params["key"]}:
        raise InvalidInput("Invalid input received: Request body and URI mismatch.")
    call.cloud.tables.volume_types.change(kind.id, extra_specs={**kind.extra_specs, **specs})
    return json_reply(specs)


async def _remove_spec(call: Call) -> Reply:
    kind, key = _find(call), call.params["key"]
    _existing(kind, key)
    kept = {name: value for name, value in kind.extra_specs.items() if name != key}
    call.cloud.tables.volume_types.change(kind.id, extra_specs=kept)
    return ACCEPTED


def _existing(kind: VolumeType, key: str) -> str:
    if key not in kind.extra_specs:
        raise NotFound(f"Volume Type {kind.id} has no extra specs with key {key}.")
    return kind.extra_specs[key]


async def _encryption(call: Call) -> Reply:
    _find(call)
    return json_reply({})


async def _encrypt(call: Call) -> Reply:
    _find(call)
    raise Unsupported("volumes are not encrypted here", hint="there is no key manager in this site")
