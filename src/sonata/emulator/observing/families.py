"""The metrics of an emulation. The reference is written from these declarations."""

from __future__ import annotations

from typing import Literal

from sonata.model.metrics import Family

FAMILIES: list[Family] = []
"""All of them, in the order of the reference."""

_SERVER = ("pop", "server", "id", "project")
_ENDPOINT = ("pop", "endpoint")
_INTERFACE = ("pop", "machine", "interface", "id", "project")
_DIRECTION = ("link", "source", "target")
_WINDOW = (*_DIRECTION, "window")

Kind = Literal["counter", "gauge", "histogram"]


def _family(group: str, kind: Kind, name: str, labels: tuple[str, ...], help_: str) -> Family:
    family = Family(f"sonata_{name}", kind, help_, labels, group)
    FAMILIES.append(family)
    return family


_VNF = "Servers"
VNF_UP = _family(_VNF, "gauge", "vnf_up", _SERVER, "Whether the server is ACTIVE.")
VNF_CPU = _family(
    _VNF, "counter", "vnf_cpu_seconds_total", _SERVER, "Processor time that the server has had since it was started."
)
VNF_MEMORY = _family(_VNF, "gauge", "vnf_memory_bytes", _SERVER, "Memory that the server uses, page cache included.")
VNF_PROCESSES = _family(_VNF, "gauge", "vnf_processes", _SERVER, "Processes and threads of the server.")
VNF_VCPUS = _family(_VNF, "gauge", "vnf_vcpus", _SERVER, "Virtual processors of the server's flavor.")
VNF_MEMORY_LIMIT = _family(_VNF, "gauge", "vnf_memory_limit_bytes", _SERVER, "Memory of the server's flavor.")

_OUTSIDE = "Endpoints"
ENDPOINT_UP = _family(_OUTSIDE, "gauge", "endpoint_up", _ENDPOINT, "Whether the endpoint's program has not ended.")
ENDPOINT_CPU = _family(
    _OUTSIDE, "counter", "endpoint_cpu_seconds_total", _ENDPOINT, "Processor time that the endpoint has had."
)
ENDPOINT_MEMORY = _family(_OUTSIDE, "gauge", "endpoint_memory_bytes", _ENDPOINT, "Memory that the endpoint uses.")
ENDPOINT_PROCESSES = _family(_OUTSIDE, "gauge", "endpoint_processes", _ENDPOINT, "Processes of the endpoint.")

_PORTS = "Interfaces of servers and endpoints"
RECEIVED_BYTES = _family(
    _PORTS, "counter", "interface_receive_bytes_total", _INTERFACE, "Layer 2 bytes that the machine has received."
)
RECEIVED_PACKETS = _family(
    _PORTS, "counter", "interface_receive_packets_total", _INTERFACE, "Packets that the machine has received."
)
RECEIVE_DROPS = _family(
    _PORTS,
    "counter",
    "interface_receive_drops_total",
    _INTERFACE,
    "Packets for the machine that were lost at a full queue or a rate in front of it.",
)
SENT_BYTES = _family(
    _PORTS, "counter", "interface_transmit_bytes_total", _INTERFACE, "Layer 2 bytes that the machine has sent."
)
SENT_PACKETS = _family(
    _PORTS, "counter", "interface_transmit_packets_total", _INTERFACE, "Packets that the machine has sent."
)
TRANSMIT_DROPS = _family(
    _PORTS,
    "counter",
    "interface_transmit_drops_total",
    _INTERFACE,
    "Packets of the machine that were lost at a full queue or a rate behind it.",
)

_LINKS = "Links between PoPs, and access links of endpoints"
LINK_UP = _family(_LINKS, "gauge", "link_up", _DIRECTION, "Whether packets may pass.")
LINK_DELAY = _family(_LINKS, "gauge", "link_delay_seconds", _DIRECTION, "Declared one-way delay.")
LINK_JITTER = _family(
    _LINKS, "gauge", "link_jitter_seconds", _DIRECTION, "Declared standard deviation of the one-way delay."
)
LINK_LOSS = _family(_LINKS, "gauge", "link_loss_ratio", _DIRECTION, "Declared share of packets that are lost.")
LINK_RATE = _family(
    _LINKS, "gauge", "link_rate_bits_per_second", _DIRECTION, "Declared layer 2 rate; absent where there is no limit."
)
LINK_RESERVED = _family(
    _LINKS,
    "gauge",
    "link_reserved_bits_per_second",
    _DIRECTION,
    "What connections have been promised of the rate; absent where there is nothing.",
)
LINK_SENT_BYTES = _family(
    _LINKS, "counter", "link_sent_bytes_total", _DIRECTION, "Layer 2 bytes that have entered the link."
)
LINK_SENT_PACKETS = _family(
    _LINKS, "counter", "link_sent_packets_total", _DIRECTION, "Packets that have entered the link."
)
LINK_DELIVERED_BYTES = _family(
    _LINKS, "counter", "link_delivered_bytes_total", _DIRECTION, "Layer 2 bytes that have left the link at its target."
)
LINK_DELIVERED_PACKETS = _family(
    _LINKS, "counter", "link_delivered_packets_total", _DIRECTION, "Packets that have left the link at its target."
)
LINK_QUEUE_DROPS = _family(
    _LINKS, "counter", "link_queue_drops_total", _DIRECTION, "Packets lost where they enter the link: over its rate."
)
LINK_LOST = _family(
    _LINKS, "counter", "link_lost_packets_total", ("link",), "Packets lost on purpose, in both directions."
)
WIRE_OVERRUNS = _family(
    _LINKS,
    "counter",
    "wire_overruns_total",
    ("link",),
    "Packets that the wire did not take in time, in both directions: the machine is too slow for this load.",
)
WIRE_PACKETS = _family(
    _LINKS, "counter", "wire_forwarded_packets_total", ("link",), "Packets that the wire has passed, both directions."
)

_WATCHED = "Links as they are measured, while they are watched"
MEASURED_DELAY = _family(
    _WATCHED, "gauge", "link_measured_delay_seconds", _WINDOW, "Mean one-way delay of the packets of the window."
)
MEASURED_JITTER = _family(
    _WATCHED, "gauge", "link_measured_jitter_seconds", _WINDOW, "Standard deviation of the one-way delay."
)
MEASURED_LOSS = _family(
    _WATCHED, "gauge", "link_measured_loss_ratio", _WINDOW, "Share of the window's packets that did not arrive."
)
PROBES = _family(_WATCHED, "counter", "link_probes_total", _DIRECTION, "Packets sent to measure the link.")

_CONNECTIONS = "Connections of the wide area"
_CONNECTION = ("connection", "id")
CONNECTION_UP = _family(_CONNECTIONS, "gauge", "connection_up", _CONNECTION, "Whether all its sites reach each other.")
CONNECTION_KEPT = _family(
    _CONNECTIONS, "gauge", "connection_kept", _CONNECTION, "Whether all that was promised holds: rate and delay."
)
CONNECTION_RATE = _family(
    _CONNECTIONS,
    "gauge",
    "connection_rate_bits_per_second",
    _CONNECTION,
    "Reserved between each two of its sites; absent for best effort.",
)
CONNECTION_DELAY = _family(
    _CONNECTIONS, "gauge", "connection_delay_seconds", _CONNECTION, "Longest declared one-way delay between two sites."
)
CONNECTION_PRICE = _family(
    _CONNECTIONS, "gauge", "connection_price_per_hour", _CONNECTION, "What its reservations cost."
)

_POPS = "PoPs"
POP_CPUS = _family(_POPS, "gauge", "pop_cpus", ("pop",), "Physical cores that the PoP offers.")
POP_VCPUS = _family(_POPS, "gauge", "pop_vcpus", ("pop",), "Virtual cores that it offers: cores and oversubscription.")
POP_VCPUS_USED = _family(_POPS, "gauge", "pop_vcpus_used", ("pop",), "Virtual cores claimed by servers.")
POP_MEMORY = _family(_POPS, "gauge", "pop_memory_bytes", ("pop",), "Memory that it offers, oversubscription included.")
POP_MEMORY_USED = _family(_POPS, "gauge", "pop_memory_used_bytes", ("pop",), "Memory claimed by servers.")
POP_DISK = _family(_POPS, "gauge", "pop_disk_bytes", ("pop",), "Disk that it offers.")
POP_DISK_USED = _family(_POPS, "gauge", "pop_disk_used_bytes", ("pop",), "Disk claimed by servers.")
POP_SERVERS = _family(_POPS, "gauge", "pop_servers", ("pop",), "Servers on its hosts.")
POP_CPU_SECONDS = _family(
    _POPS,
    "counter",
    "pop_cpu_seconds_total",
    ("pop",),
    "Processor time that its machines have had, those that are gone and its noise included.",
)
POP_RESIDENT = _family(
    _POPS, "gauge", "pop_memory_resident_bytes", ("pop",), "Memory that its machines really use, noise included."
)
POP_POWER = _family(
    _POPS,
    "gauge",
    "pop_power_watts",
    ("pop",),
    "Power by its declared figures and the cores that are in use.",
)
POP_ENERGY = _family(_POPS, "counter", "pop_energy_joules_total", ("pop",), "Energy by its declared figures.")
POP_COST = _family(
    _POPS, "counter", "pop_cost_total", ("pop",), "Cost of what servers have claimed, by the PoP's declared prices."
)

_OWN = "The emulation itself"
EVENTS = _family(_OWN, "counter", "events_total", ("kind",), "Events by kind, as `sonata emu events` shows them.")
REQUESTS = _family(
    _OWN,
    "histogram",
    "api_request_duration_seconds",
    ("service",),
    "How long the emulated OpenStacks took to answer, by service.",
)
COLLECTION = _family(_OWN, "gauge", "collection_duration_seconds", (), "How long it took to read all of this.")
SERIES = _family(_OWN, "gauge", "history_series", (), "Series that are kept for queries.")
KEPT = _family(_OWN, "gauge", "history_seconds", (), "How far back queries can look.")
