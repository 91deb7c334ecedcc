"""Who sees which image: owners, the projects that they share it with, and everybody."""

from __future__ import annotations

from typing import Literal

from sonata.emulator.cloud.causes import NoSuch
from sonata.emulator.cloud.entities.image import GlanceImage, ImageMember
from sonata.emulator.cloud.tables import Tables
from sonata.errors import Conflict

MemberStatus = Literal["pending", "accepted", "rejected"]


class ImageMembers:
    """The sharing of one cloud's images."""

    def __init__(self, tables: Tables) -> None:
        self._members = tables.image_members

    def of(self, image_id: str) -> list[ImageMember]:
        """The projects that an image is shared with."""
        return [member for member in self._members if member.image_id == image_id]

    def find(self, image_id: str, project_id: str) -> ImageMember:
        """The sharing of an image with a project.

        Raises:
            NoSuch: there is none.
        """
        for member in self.of(image_id):
            if member.project_id == project_id:
                return member
        raise NoSuch("Member", project_id)

    def status(self, image_id: str, project_id: str) -> MemberStatus | None:
        """What a project has made of an offer; None when there is none."""
        return next((member.status for member in self.of(image_id) if member.project_id == project_id), None)

    def add(self, image_id: str, project_id: str) -> ImageMember:
        """Offer an image to a project.

        Raises:
            Conflict: it was offered already.
        """
        if self.status(image_id, project_id):
            raise Conflict(f"The target member {project_id} is already associated with image {image_id}.")
        return self._members.add(ImageMember(image_id=image_id, project_id=project_id))

    def answer(self, member: ImageMember, status: MemberStatus) -> ImageMember:
        """Accept or reject an offer, or leave it open."""
        return self._members.change(member.id, status=status)

    def remove(self, member: ImageMember) -> None:
        """Take an offer back."""
        self._members.remove(member.id)

    def may_see(self, image: GlanceImage, project_id: str) -> bool:
        """Whether a project may use an image whose id it knows."""
        if image.visibility in ("public", "community") or image.project_id == project_id:
            return True
        return image.visibility == "shared" and self.status(image.id, project_id) is not None
