"""A small sound package, in parts, for tests to spoil."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from sonata.errors import Diagnostic, InvalidInput

NSD = """\
descriptor_schema: https://example.org/nsd-schema.yml
vendor: org.example
name: chain
version: "1.0"
network_functions:
  - {vnf_id: fw, vnf_vendor: org.example, vnf_name: firewall, vnf_version: "1.0"}
  - {vnf_id: lb, vnf_vendor: org.example, vnf_name: balancer, vnf_version: "1.0"}
service_specific_managers:
  - id: placer
    image: package:managers/placer.py
    options:
      - {key: type, value: placement}
      - {key: type, value: task}
      - {key: goal, value: latency}
connection_points:
  - {id: in, type: external}
  - {id: out, type: external}
virtual_links:
  - id: l0
    connectivity_type: E-Line
    connection_points_reference: [in, "fw:a"]
  - id: l1
    connectivity_type: E-Line
    connection_points_reference: ["fw:b", "lb:a"]
    cidr: 10.1.0.0/24
    qos_requirements: {minimum_bandwidth: {bandwidth: 2, bandwidth_unit: Mbps}}
  - id: l2
    connectivity_type: E-LAN
    connection_points_reference: ["lb:b", out]
forwarding_graphs:
  - fg_id: web
    network_forwarding_paths:
      - fp_id: forth
        policy: protocol=tcp,destination_port=80
        connection_points:
          - {connection_point_ref: out, position: 6}
          - {connection_point_ref: in, position: 1}
          - {connection_point_ref: "fw:a", position: 2}
          - {connection_point_ref: "fw:b", position: 3}
          - {connection_point_ref: "lb:a", position: 4}
          - {connection_point_ref: "lb:b", position: 5}
"""

VNFD = """\
descriptor_schema: https://example.org/vnfd-schema.yml
vendor: org.example
name: firewall
version: "1.0"
virtual_deployment_units:
  - id: u
    vm_image: firewall
    resource_requirements:
      cpu: {vcpus: 2}
      memory: {size: 1, size_unit: GiB}
      storage: {size: 1500, size_unit: MB}
    connection_points:
      - {id: eth0}
      - {id: eth1, type: internal}
connection_points:
  - {id: a, type: external}
  - {id: b, type: external}
virtual_links:
  - {id: l0, connectivity_type: E-Line, connection_points_reference: ["u:eth0", a]}
  - {id: l1, connectivity_type: E-Line, connection_points_reference: ["u:eth1", b]}
"""

OTHER_VNFD = VNFD.replace("name: firewall", "name: balancer")

PROJECT = """\
package: {vendor: org.example, name: chain-package, version: "1.0", description: A chain., maintainer: Somebody}
files:
  - {path: nsd.yml, type: application/vnd.5gtango.nsd}
  - {path: vnfds/fw.yml, type: application/vnd.5gtango.vnfd}
  - {path: vnfds/lb.yml, type: application/vnd.5gtango.vnfd}
  - {path: managers, type: application/x-python}
"""


def findings_of(call: Callable[[], object]) -> list[Diagnostic] | None:
    """Findings of a reader that refused, None when it accepted; any other exception is a defect of the reader."""
    try:
        call()
    except InvalidInput as error:
        return list(error.diagnostics)
    return None


def write_project(folder: Path, **changed: str) -> Path:
    """The sound project, with some of its files replaced (`nsd=...`, `fw=...`, `lb=...`, `project=...`)."""
    files = {
        "project.yml": changed.get("project", PROJECT),
        "nsd.yml": changed.get("nsd", NSD),
        "vnfds/fw.yml": changed.get("fw", VNFD),
        "vnfds/lb.yml": changed.get("lb", OTHER_VNFD),
        "managers/placer.py": "print('placing')\n",
        "managers/__pycache__/placer.pyc": "junk",
        "managers/.hidden": "junk",
    }
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder
