"""How things look on the wire: SONATA's words where it has them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sonata._lib.plain import to_plain
from sonata.mano.catalogue import FunctionRecord, PackageRecord, ServiceRecord
from sonata.mano.instances import Instance
from sonata.model.descriptors import DescriptorId
from sonata.model.records import LcmOperationOccurrence, OperationState, StepRecord, VnfRecord

View = dict[str, Any]

_VERBS = {"INSTANTIATE": "CREATE_SERVICE", "TERMINATE": "TERMINATE_SERVICE"}
_WORKING = {"INSTANTIATE": "INSTANTIATING", "TERMINATE": "TERMINATING"}


def instant(seconds: float) -> str:
    """RFC 3339 form of a Unix time."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def identity(descriptor: DescriptorId) -> View:
    """Vendor, name, version."""
    return {"vendor": descriptor.vendor, "name": descriptor.name, "version": descriptor.version}


def package(record: PackageRecord) -> View:
    """A package."""
    return {
        "uuid": record.uuid,
        **identity(record.id),
        "description": record.description,
        "sha256": record.sha256,
        "size": record.size,
        "service_uuid": record.nsd or None,
        "function_uuids": list(record.vnfds),
        "created_at": instant(record.created_at),
    }


def service(record: ServiceRecord) -> View:
    """A network service in the catalogue."""
    return _descriptor("nsd", record)


def function(record: FunctionRecord) -> View:
    """A VNF in the catalogue."""
    return _descriptor("vnfd", record)


def _descriptor(kind: str, record: ServiceRecord | FunctionRecord) -> View:
    plain = to_plain(record.descriptor)
    plain.pop("id")
    return {
        "uuid": record.uuid,
        "package_uuid": record.package,
        "status": "active",
        "created_at": instant(record.created_at),
        kind: {**identity(record.descriptor.id), **plain},
    }


def service_record(instance: Instance) -> View:
    """A network service instance (SONATA: NSR)."""
    record = instance.record
    return {
        "uuid": record.id,
        "name": record.name,
        "status": record.state.value,
        "error": record.error,
        "descriptor_reference": instance.nsd_uuid,
        "service": identity(record.descriptor),
        "ingress": record.ingress,
        "egress": record.egress,
        "placement": to_plain(record.placement),
        "network_functions": [function_record(vnf) for vnf in record.vnfs],
        "managers": list(instance.managers),
        "created_at": instant(record.created_at),
        "updated_at": instant(record.updated_at),
    }


def function_record(vnf: VnfRecord) -> View:
    """A running VNF (SONATA: VNFR)."""
    return {
        "uuid": vnf.id,
        "service_instance_uuid": vnf.ns_instance_id,
        "vnf_id": vnf.vnf_id,
        "function": identity(vnf.descriptor),
        "status": vnf.state.value,
        "vim": vnf.pop,
        "server_id": vnf.server_id,
        "interfaces": to_plain(vnf.interfaces),
    }


def request(operation: LcmOperationOccurrence) -> View:
    """An operation in SONATA's wording of requests."""
    return {
        "id": operation.id,
        "request_type": _VERBS.get(operation.operation, operation.operation),
        "status": request_status(operation),
        "instance_uuid": operation.ns_instance_id,
        "name": operation.params.get("name", ""),
        "error": operation.error,
        "created_at": instant(operation.created_at),
        "updated_at": instant(operation.updated_at),
    }


def request_status(operation: LcmOperationOccurrence) -> str:
    """`NEW`, `INSTANTIATING` or `TERMINATING`, `READY`, `ERROR`."""
    if operation.state is OperationState.STARTING:
        return "NEW"
    if operation.state is OperationState.COMPLETED:
        return "READY"
    working = operation.state is OperationState.PROCESSING
    return _WORKING.get(operation.operation, "PROCESSING") if working else "ERROR"


def operation(occurrence: LcmOperationOccurrence) -> View:
    """An LCM operation occurrence (SOL 005 states)."""
    view: View = to_plain(occurrence)
    return {
        **view,
        "created_at": instant(occurrence.created_at),
        "updated_at": instant(occurrence.updated_at),
        "is_final": occurrence.state.is_final,
    }


def step(record: StepRecord) -> View:
    """One attempt of one step."""
    view: View = to_plain(record)
    duration = None if record.ended_at is None else round(record.ended_at - record.started_at, 6)
    return {
        **view,
        "started_at": instant(record.started_at),
        "ended_at": None if record.ended_at is None else instant(record.ended_at),
        "duration_s": duration,
    }
