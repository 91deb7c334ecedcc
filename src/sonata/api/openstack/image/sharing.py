"""Members of images: the projects that an image is shared with, and what they make of the offer."""

from __future__ import annotations

from typing import get_args

from sonata.api.openstack.call import Call
from sonata.api.openstack.faults import Forbidden
from sonata.api.openstack.image.documents import find_image, member_document, own_image
from sonata.api.openstack.reply import NO_CONTENT, Reply, json_reply
from sonata.emulator.cloud.entities.image import GlanceImage, ImageMember
from sonata.emulator.cloud.image.members import MemberStatus
from sonata.errors import InvalidInput, NotFound

STATUSES: tuple[MemberStatus, ...] = get_args(MemberStatus)


async def list_members(call: Call) -> Reply:
    """GET /v2/images/{id}/members: all of them for the owner, others see themselves alone."""
    image = find_image(call)
    members = [member for member in call.cloud.image_members.of(image.id) if _sees(call, image, member)]
    return json_reply({"members": [member_document(one) for one in members], "schema": "/v2/schemas/members"})


async def add_member(call: Call) -> Reply:
    """POST /v2/images/{id}/members."""
    image = own_image(call, "share")
    project_id = (await call.json()).get("member")
    if not isinstance(project_id, str) or not 0 < len(project_id) <= 255:
        raise InvalidInput("Member can't be empty")
    if image.visibility != "shared":
        raise Forbidden("Only shared images have members.")
    return json_reply(member_document(call.cloud.image_members.add(image.id, project_id)))


async def show_member(call: Call) -> Reply:
    """GET /v2/images/{id}/members/{member}."""
    return json_reply(member_document(_member(call, find_image(call))))


async def answer_member(call: Call) -> Reply:
    """PUT /v2/images/{id}/members/{member}: the member's own answer."""
    image = find_image(call)
    member = _member(call, image)
    if member.project_id != call.project_id and not call.token.is_admin:
        raise Forbidden("You do not have permission to modify this member's status.")
    wanted = (await call.json()).get("status")
    for status in STATUSES:
        if status == wanted:
            return json_reply(member_document(call.cloud.image_members.answer(member, status)))
    raise InvalidInput(f'Status must be "pending", "accepted" or "rejected", not {wanted}.')


async def remove_member(call: Call) -> Reply:
    """DELETE /v2/images/{id}/members/{member}."""
    image = own_image(call, "share")
    call.cloud.image_members.remove(_member(call, image))
    return NO_CONTENT


def _member(call: Call, image: GlanceImage) -> ImageMember:
    member = call.cloud.image_members.find(image.id, call.params["member"])
    if not _sees(call, image, member):
        raise NotFound(f"Member {member.project_id} could not be found.")
    return member


def _sees(call: Call, image: GlanceImage, member: ImageMember) -> bool:
    return call.token.is_admin or call.project_id in (image.project_id, member.project_id)
