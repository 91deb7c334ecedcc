"""The scenario file as it is written: keys, types, units. What it means is `sonata.model.scenario`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema

from sonata.formats.diagnostics import StrictModel, matching
from sonata.formats.topology_document import Duration, Name, Rate, Share, Size

_TIME = {"type": "string", "examples": ["5s", "1.5min"]}


def _listed(value: Any) -> Any:
    """One time is a span without length."""
    return value if isinstance(value, list) else [value, value]


Times = Annotated[
    list[Duration],
    BeforeValidator(_listed),
    Field(min_length=2, max_length=2),
    WithJsonSchema({"anyOf": [_TIME, {"const": 0}, {"type": "array", "minItems": 2, "maxItems": 2, "items": _TIME}]}),
]
Machine = Annotated[str, *matching(r"[A-Za-z0-9-]+(/\S{1,255})?", "an endpoint, or POP/SERVER")]


class OneOf(StrictModel):
    """One of several, by chance."""

    one_of: list[str] = Field(min_length=1)


class ChangesDocument(StrictModel):
    """New values of a link; what is not given stays."""

    delay: Duration | None = None
    jitter: Duration | None = None
    loss: Share | None = None
    rate: Rate | Literal["none"] | None = Field(None, description="`none` for unlimited")
    duplicate: Share | None = None
    reorder: Share | None = None


class EventDocument(StrictModel):
    """Something that happens: exactly one of `link`, `pop`, `crash`, `hog`, `move` and `run`, and when."""

    at: Times = Field(description="Time after the start, or two times between which chance chooses")
    every: Duration | None = Field(None, gt=0, description="Again after this time each, as often as `times` says")
    times: int = Field(1, ge=1, le=100_000, description="How often it happens")
    for_: Duration | None = Field(None, alias="for", gt=0, description="After which it is undone")
    link: str | Annotated[list[str], Field(min_length=2, max_length=2)] | OneOf | None = Field(
        None, description="A link by its name or its two ends"
    )
    set_: ChangesDocument | None = Field(None, alias="set", description="New values of the link")
    from_: Name | None = Field(None, alias="from", description="End of the link whose packets alone are meant")
    up: bool | None = Field(None, description="Whether packets may pass the link, or the PoP is there at all")
    pop: Name | OneOf | None = Field(None, description="A PoP that loses its power, or is there again")
    crash: Machine | OneOf | None = Field(None, description="A machine whose program is killed")
    hog: Machine | OneOf | None = Field(None, description="A machine whose resources are used up")
    cpus: float | None = Field(None, gt=0, le=1024, description="Cores that a hog keeps busy")
    memory: Size | None = Field(None, description="Memory that a hog fills")
    move: Name | OneOf | None = Field(None, description="An endpoint that moves")
    to: Name | OneOf | None = Field(None, description="The cell or PoP to which")
    run: Machine | OneOf | None = Field(None, description="A machine in which a command runs")
    command: list[str] = Field(default_factory=list, description="The command and its arguments")


class ScenarioDocument(StrictModel):
    """What happens in an emulation, and when."""

    api_version: Literal["sonata/v1"] = Field(alias="apiVersion")
    kind: Literal["Scenario"]
    name: Name
    seed: int = Field(0, description="Of the chance by which times and targets are chosen")
    events: list[EventDocument] = Field(min_length=1, max_length=100_000)
