"""Records: what runs, and the operations that made it so.

States follow ETSI GS NFV-SOL 003 and SOL 005 (LCM operation occurrence); the SONATA wording of the northbound
API (`NEW`, `INSTANTIATING`, `READY`, `ERROR`) is derived from them at the border.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from enum import StrEnum
from typing import Any

from sonata._lib.values import dataclass
from sonata.model.descriptors import DescriptorId


class NsState(StrEnum):
    """Life cycle of a network service instance."""

    INSTANTIATING = "INSTANTIATING"
    READY = "READY"
    TERMINATING = "TERMINATING"
    TERMINATED = "TERMINATED"
    ERROR = "ERROR"


class OperationState(StrEnum):
    """State of an LCM operation occurrence (SOL 005, clause 6.5.2.3)."""

    STARTING = "STARTING"
    PROCESSING = "PROCESSING"
    COMPLETED = "COMPLETED"
    FAILED_TEMP = "FAILED_TEMP"
    FAILED = "FAILED"
    ROLLING_BACK = "ROLLING_BACK"
    ROLLED_BACK = "ROLLED_BACK"

    @property
    def is_final(self) -> bool:
        """Whether nothing more happens without a new request."""
        return self in _FINAL


_FINAL = frozenset(
    {OperationState.COMPLETED, OperationState.FAILED, OperationState.FAILED_TEMP, OperationState.ROLLED_BACK}
)


class StepState(StrEnum):
    """State of one attempt of one step."""

    RUNNING = "RUNNING"
    DONE = "DONE"
    FAILED = "FAILED"
    SKIPPED = "SKIPPED"
    COMPENSATED = "COMPENSATED"


@dataclass(frozen=True, slots=True)
class StepRecord:
    """One attempt of one step of an operation; together the rows are the operation's timeline.

    Args:
        step: name, e.g. `place`, or `deploy/vcache` for a branch.
        attempt: 1-based.
        started_at: Unix time in seconds.
        ended_at: Unix time in seconds, None while running.
        detail: what was decided or made, for people; never a secret.
        error: message of the failure, empty when there was none.
        call: failing call in the foreign system's terms.
        answer: the foreign system's own answer.
        hint: what to do about the failure.
    """

    operation_id: str
    step: str
    attempt: int
    state: StepState
    started_at: float
    ended_at: float | None = None
    detail: str = ""
    error: str = ""
    call: str = ""
    answer: str = ""
    hint: str = ""


@dataclass(frozen=True, slots=True)
class LcmOperationOccurrence:
    """One life cycle operation on one network service instance."""

    id: str
    ns_instance_id: str
    operation: str
    state: OperationState
    created_at: float
    updated_at: float
    attempt: int = 1
    error: str = ""
    hint: str = ""
    params: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class InterfaceRecord:
    """A network interface of a running VNF; `public_address` is where it is reached from outside, if it is."""

    cp: str
    network: str
    address: str
    mac: str
    port_id: str
    public_address: str = ""


@dataclass(frozen=True, slots=True)
class VnfRecord:
    """A running VNF: where it is, and what the VIM calls it."""

    id: str
    ns_instance_id: str
    vnf_id: str
    descriptor: DescriptorId
    pop: str
    server_id: str = ""
    state: NsState = NsState.INSTANTIATING
    interfaces: tuple[InterfaceRecord, ...] = ()


@dataclass(frozen=True, slots=True)
class PlacementRecord:
    """Where VNFs went, who decided, and by which rule."""

    mapping: Mapping[str, str]
    decided_by: str
    rule: str = ""


@dataclass(frozen=True, slots=True)
class NsRecord:
    """A network service instance."""

    id: str
    name: str
    descriptor: DescriptorId
    state: NsState
    created_at: float
    updated_at: float
    placement: PlacementRecord | None = None
    vnfs: tuple[VnfRecord, ...] = ()
    ingress: str = ""
    egress: str = ""
    error: str = ""
