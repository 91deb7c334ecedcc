"""The topology file as it is written: keys, types, units. What it means is `sonata.model.topology`."""

from __future__ import annotations

from ipaddress import IPv4Interface, IPv6Interface, ip_interface
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator

from sonata._lib import quantities
from sonata.formats.diagnostics import StrictModel, matching

# Names become parts of URLs and host names (RFC 1123, clause 2.1).
_LABEL = r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
Name = Annotated[str, *matching(_LABEL, "at most 63 letters, digits and inner hyphens")]
Image = Annotated[str, *matching(r"\S{1,255}", "1 to 255 characters without a space")]


def _quantity(parse: Any, pattern: str, *examples: str) -> Any:
    text = {"type": "string", "pattern": pattern, "examples": list(examples)}
    return BeforeValidator(parse), WithJsonSchema({"anyOf": [text, {"const": 0}]})


_NUMBER = r"^[0-9]+(\.[0-9]*)? *"
Duration = Annotated[float, *_quantity(quantities.parse_duration, _NUMBER + "(ns|us|ms|s|min|h)$", "20ms", "1.5s")]
Rate = Annotated[float, *_quantity(quantities.parse_rate, _NUMBER + "[kMGT]?bit$", "100Mbit", "1Gbit")]
Size = Annotated[int, *_quantity(quantities.parse_size, _NUMBER + "([kMGT]|[KMGT]i)?B$", "32GiB", "512MiB")]
Share = Annotated[float, *_quantity(quantities.parse_share, _NUMBER + "%$", "0.1%")]

Command = list[str]


def _read_interface(value: Any) -> Any:
    """An address with its prefix length, which is mandatory: a host alone has no neighbours."""
    if isinstance(value, str) and "/" in value:
        return ip_interface(value)
    raise ValueError("is no address with a prefix length, as 192.168.7.5/24")


InterfaceAddress = Annotated[
    IPv4Interface | IPv6Interface,
    BeforeValidator(_read_interface),
    WithJsonSchema({"type": "string", "pattern": "^[0-9A-Fa-f.:]+/[0-9]+$", "examples": ["192.168.7.5/24"]}),
]
FurtherInterface = Annotated[str, *matching(r"eth[1-9][0-9]{0,2}", "`eth1`, `eth2`, ...; `eth0` leads outside")]


class _MayBeEmpty(StrictModel):
    """A mapping of which nothing is mandatory, so that `core:` alone is enough."""

    model_config = ConfigDict(json_schema_extra={"type": ["object", "null"]})

    @model_validator(mode="before")
    @classmethod
    def _nothing_means_defaults(cls, value: Any) -> Any:
        return {} if value is None else value


class OversubscriptionDocument(StrictModel):
    """By how much virtual resources may exceed physical ones."""

    cpu: float = Field(1.0, ge=1, le=1000)
    memory: float = Field(1.0, ge=1, le=1000)


class HostDocument(StrictModel):
    """A hypervisor of a PoP; what is left out is an equal share."""

    name: Name
    cpus: float | None = Field(None, gt=0, description="Physical cores offered")
    memory: Size | None = None
    disk: Size | None = None


class CostDocument(StrictModel):
    """Prices of what servers claim, in a currency of one's own."""

    cpu_hour: float = Field(0.0, ge=0, description="Of a virtual core for an hour")
    memory_gib_hour: float = Field(0.0, ge=0, description="Of a GiB of memory for an hour")


class EnergyDocument(StrictModel):
    """What a PoP draws."""

    idle_watts: float = Field(0.0, ge=0, description="With nothing to do")
    watts_per_cpu: float = Field(0.0, ge=0, description="More for each busy core")


class NoiseDocument(StrictModel):
    """Neighbours that take a part of a PoP all the time: real processes that no OpenStack knows."""

    cpus: float = Field(0.0, ge=0, le=1024, description="Cores that they keep busy")
    memory: Size = Field(0, description="Memory that they hold")


class PopDocument(_MayBeEmpty):
    """A point of presence: one emulated OpenStack site, or a zone of another one."""

    location: list[float] | None = Field(None, min_length=2, max_length=2, description="Latitude, longitude in degrees")
    cpus: float = Field(16.0, description="Physical cores offered")
    memory: Size = 32 * 1024**3
    disk: Size = 1024 * 1024**3
    oversubscription: OversubscriptionDocument = OversubscriptionDocument()
    labels: dict[str, str] = Field(default_factory=dict, description="Free key-value pairs for placement")
    cells: list[Name] = Field(default_factory=list, description="Access areas that endpoints can attach to")
    hosts: Annotated[int, Field(ge=1, le=1024)] | list[HostDocument] = Field(
        1, description="Hypervisors: how many with equal shares of the PoP, or each by its name"
    )
    managed_by: str | None = Field(None, description="PoP whose OpenStack has this one as an availability zone")
    cost: CostDocument = CostDocument()
    energy: EnergyDocument = EnergyDocument()
    noise: NoiseDocument = NoiseDocument()


class DirectionDocument(StrictModel):
    """What a link does to packets in one direction."""

    delay: Duration = Field(0.0, description="One-way delay, at most 10s")
    jitter: Duration = Field(0.0, description="Standard deviation of the delay, at most the delay; order is kept")
    loss: Share = Field(0.0, description="Probability that a packet is lost")
    rate: Rate | None = Field(None, description="Layer 2 rate; without it, or null, unlimited")
    duplicate: Share = Field(0.0, description="Probability that a packet arrives twice")
    reorder: Share = Field(0.0, description="Probability that a packet goes without the delay, ahead of others")


class ImpairedDocument(DirectionDocument):
    """What a link does to packets, per direction."""

    reverse: DirectionDocument | None = Field(
        None, description="What differs on the way back: from the second PoP, or from an endpoint to its PoP"
    )
    up: bool = Field(True, description="Whether packets may pass; `false` for a link that begins down")


class LinkDocument(ImpairedDocument):
    """A link between two PoPs."""

    name: Name | None = Field(None, description="Without it `A-B`")
    between: list[str] = Field(min_length=2, max_length=2, description="Names of two PoPs")
    price: float = Field(
        0.0, ge=0, allow_inf_nan=False, description="Of a reservation of 1 Gbit/s, both ways, for an hour"
    )


class EndpointDocument(ImpairedDocument):
    """A host outside of the PoPs: users, a content server."""

    attach: str = Field(description="Name of a PoP")
    image: Image = "host"
    command: Command = Field(default_factory=list)
    interfaces: dict[FurtherInterface, InterfaceAddress | None] = Field(
        default_factory=dict,
        description="Further interfaces `eth1`, ... with their addresses, for layer 2 gateways of the PoP",
    )


class ServerDocument(StrictModel):
    """A server that is started together with the topology."""

    pop: str = Field(description="Name of a PoP")
    image: Image = "host"
    flavor: Image = "tiny"
    command: Command = Field(default_factory=list)


class TopologyDocument(StrictModel):
    """A whole emulated infrastructure: sites, links between them, hosts outside of them."""

    api_version: Literal["sonata/v1"] = Field(alias="apiVersion")
    kind: Literal["Topology"]
    name: Name
    pops: dict[Name, PopDocument] = Field(min_length=1)
    links: list[LinkDocument] = Field(default_factory=list)
    endpoints: dict[Name, EndpointDocument] = Field(default_factory=dict)
    servers: dict[Name, ServerDocument] = Field(default_factory=dict)
    chain_renderer: Name = Field(
        "steering", description="What steers service function chains: `steering`, `routed`, `srv6`, `nsh`, or a plug-in"
    )
