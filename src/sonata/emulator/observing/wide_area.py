"""Reads links: what was declared, what passed, what was lost; connections over them: what was promised."""

from __future__ import annotations

from collections.abc import Mapping

import sonata.emulator.observing.families as families
from sonata.emulator.links import Links
from sonata.emulator.observing.sheet import Sheet
from sonata.emulator.wan import Wan
from sonata.errors import NotFound
from sonata.model.topology import Impairment
from sonata.ports.fabric import LinkStatus
from sonata.ports.metering import Traffic


async def read_links(links: Links, traffic: Mapping[str, tuple[Traffic, Traffic]], sheet: Sheet) -> None:
    """All links, and the access links of endpoints."""
    for status in await links.status():
        try:
            link = links.find(status.name).link
        except NotFound:  # it has gone meanwhile
            continue
        near, far = traffic.get(status.name, (None, None))
        there, back = status.directions
        _put_direction(sheet, (status.name, link.a, link.b), status.up, there, near, far)
        _put_direction(sheet, (status.name, link.b, link.a), status.up, back, far, near)
        _put_losses(sheet, status)


def read_connections(wan: Wan, sheet: Sheet) -> None:
    """All connections, and what the links have promised to them."""
    for link in wan.view.links():
        for one in link.directions:
            labels = families.LINK_RESERVED.labelled(link.name, one.origin, one.target)
            sheet.put(labels, {families.LINK_RESERVED: one.reserved_bps or None})
    for connection in wan.connections():
        sheet.put(
            families.CONNECTION_UP.labelled(connection.tag, connection.id),
            {
                families.CONNECTION_UP: float(connection.state != "down"),
                families.CONNECTION_KEPT: float(connection.state == "active"),
                families.CONNECTION_RATE: connection.rate_bps,
                families.CONNECTION_DELAY: connection.delay_s,
                families.CONNECTION_PRICE: connection.price_per_hour,
            },
        )


def _put_direction(
    sheet: Sheet,
    own: tuple[str, str, str],
    up: bool,
    declared: Impairment,
    enters: Traffic | None,
    leaves: Traffic | None,
) -> None:
    labels = families.LINK_UP.labelled(*own)
    sheet.put(
        labels,
        {
            families.LINK_UP: float(up),
            families.LINK_DELAY: declared.delay_s,
            families.LINK_JITTER: declared.jitter_s,
            families.LINK_LOSS: declared.loss,
            families.LINK_RATE: declared.rate_bps,
        },
    )
    if enters and leaves:
        sheet.put(
            labels,
            {
                families.LINK_SENT_BYTES: enters.tx_bytes,
                families.LINK_SENT_PACKETS: enters.tx_packets,
                families.LINK_DELIVERED_BYTES: leaves.rx_bytes,
                families.LINK_DELIVERED_PACKETS: leaves.rx_packets,
                families.LINK_QUEUE_DROPS: enters.tx_dropped,
            },
        )


def _put_losses(sheet: Sheet, status: LinkStatus) -> None:
    sheet.put(
        families.LINK_LOST.labelled(status.name),
        {
            families.LINK_LOST: status.dropped,
            families.WIRE_OVERRUNS: status.overruns,
            families.WIRE_PACKETS: status.forwarded,
        },
    )
