"""Images: those of the store, and uploads."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from tests.unit.cloud.conftest import World

from sonata.emulator.cloud.causes import NoSuch
from sonata.emulator.cloud.entities.image import GlanceImage
from sonata.errors import Conflict, InvalidInput

pytestmark = pytest.mark.anyio


async def chunks(*parts: bytes) -> AsyncIterator[bytes]:
    """A body in parts."""
    for part in parts:
        yield part


async def test_an_uploaded_archive_boots_and_goes_away(world: World) -> None:
    image = await world.cloud.images.create(GlanceImage(name="mine", status="queued"))
    with pytest.raises(InvalidInput, match="not active"):
        world.cloud.images.bootable(image.id)
    image = await world.cloud.images.upload(image.id, chunks(b"OC", b"I..."))
    assert (image.status, image.size_bytes) == ("active", 6)
    assert [shown.name for shown in world.cloud.images.list()].count("mine") == 1
    server = await world.up(image_name="mine")
    assert server.status == "ACTIVE"
    await world.cloud.images.delete(image.id)
    with pytest.raises(NoSuch):
        world.cloud.images.get(image.id)
    world.cloud.servers.reboot(server.id)
    assert (await world.settled(server)).status == "ACTIVE"
    assert [name for name in world.images.images if name.startswith("upload-")]
    await world.delete(server)
    assert not [name for name in world.images.images if name.startswith("upload-")]
    assert [path for path in world.cloud.site.folder.rglob("*") if path.name != "consoles"] == []


async def test_an_archive_that_is_none_is_refused_and_may_be_sent_again(world: World) -> None:
    image = await world.cloud.images.create(GlanceImage(name="mine", status="queued"))
    with pytest.raises(InvalidInput, match=f"image {image.id} cannot be imported: `the uploaded data` is no") as told:
        await world.cloud.images.upload(image.id, chunks(b"ELF"))
    assert str(world.cloud.site.folder) not in told.value.message
    assert world.cloud.images.get(image.id).status == "queued"
    await world.cloud.images.upload(image.id, chunks(b"OCI"))
    with pytest.raises(Conflict, match="has data already"):
        await world.cloud.images.upload(image.id, chunks(b"OCI"))


async def test_images_of_the_store_are_read_only(world: World) -> None:
    host = world.cloud.images.find("host")
    with pytest.raises(Conflict, match="image store"):
        await world.cloud.images.delete(host.id)
    with pytest.raises(Conflict, match="image store"):
        await world.cloud.images.update(host.id, name="other")


async def test_images_are_found_by_id_only_where_ids_are_meant(world: World) -> None:
    with pytest.raises(NoSuch):
        world.cloud.images.get("host")
    assert world.cloud.images.get(world.cloud.images.find("host").id).name == "host"
    with pytest.raises(NoSuch):
        world.cloud.images.find("nothing")
