"""The forms in which the service is deployed: each brings it up, says where users reach it, and removes it again."""

from __future__ import annotations

import difflib
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import field
from pathlib import Path
from typing import Any, Protocol

from sonata._lib.values import dataclass
from sonata.errors import PermanentError
from sonata.sdk.demonstration import Say, follow
from sonata.sdk.multipop_demo.stock_client import StockClient
from sonata.sdk.packages import build_package
from sonata.sdk.platform_client import PlatformClient

EDGE, CORE = "edge", "core"
PINNED = {"squid": EDGE, "forwarder": CORE, "apache": CORE}
"""Where the operator wants the VNFs, by their id in the network service descriptors."""
OSM_VNFS = ("squid_vnf", "socat_vnf", "apache_vnf")
OSM_SERVICE = "cdn_ns"
COMMANDS_ADDRESS = "100.64.0.200"
"""The floating IP for which `openstack/edge-up.txt` asks."""


class Form(Protocol):
    """The service in one form."""

    @property
    def name(self) -> str:
        """What the form is called."""

    def deploy(self) -> str:
        """Bring the service up; returns the address at which users reach it."""

    def remove(self) -> None:
        """Remove it."""


@dataclass(frozen=True, slots=True)
class ByCommands:
    """No description at all: one OpenStack command after another."""

    client: StockClient
    name: str = "commands"

    def deploy(self) -> str:
        """Networks, groups, servers and floating IPs at both PoPs."""
        self._run("up")
        return COMMANDS_ADDRESS

    def remove(self) -> None:
        """Delete everything by commands."""
        self._run("down")

    def _run(self, direction: str) -> None:
        folder = self.client.folder / "openstack"
        self.client.run({pop: (folder / f"{pop}-{direction}.txt").read_text() for pop in (CORE, EDGE)})


@dataclass(frozen=True, slots=True)
class ByTemplates:
    """HOT: one stack per PoP, the address that the first one puts out is a parameter of the second one."""

    client: StockClient
    name: str = "HOT"

    def deploy(self) -> str:
        """Create the stacks, content first."""
        content = self._create(CORE, "content", "hot/content.yaml")
        return self._create(EDGE, "cache", "hot/cache.yaml", f"--parameter origin={content}")

    def remove(self) -> None:
        """Delete the stacks."""
        self.client.run({CORE: "stack delete content --yes --wait", EDGE: "stack delete cache --yes --wait"})

    def _create(self, pop: str, name: str, template: str, *options: str) -> str:
        create = " ".join(("stack create", name, "--template", template, *options, "--wait"))
        show = f"stack output show {name} address -f value -c output_value"
        lines = self.client.run({pop: f"{create}\n{show}"})[pop].split()
        return lines[-1]


@dataclass(slots=True)
class ByDescriptors:
    """Packages that are on-boarded at the platform, and a service of theirs.

    Args:
        projects: folders of the packages, in the order of on-boarding; the last one has the service.
        scratch: folder in which the packages are built.
    """

    name: str
    platform: PlatformClient
    projects: Sequence[Path]
    scratch: Path
    say: Say
    _instance: str = field(default="", init=False)

    def deploy(self) -> str:
        """Build and on-board the packages, instantiate the service."""
        service = [self._onboard(project) for project in self.projects][-1]
        label = "-".join(self.name.lower().split())
        request = self.platform.instantiate(service["service_uuid"], name=f"cdn-{label}", pinned=PINNED)
        self._instance = request["instance_uuid"]
        follow(self.platform, request["id"], self.say)
        return _public_address(self.platform.show("records/services", self._instance))

    def remove(self) -> None:
        """Terminate the service."""
        follow(self.platform, self.platform.terminate(self._instance)["id"], self.say)

    def _onboard(self, project: Path) -> Mapping[str, Any]:
        target = (
            self.scratch / f"{self.name}-{project.name}{'.tgo' if (project / 'project.yml').exists() else '.tar.gz'}"
        )
        package = build_package(project, target)
        record = self.platform.onboard(package.read_bytes(), package.name)
        self.say(f"  on-boarded {record['vendor']}/{record['name']}/{record['version']}")
        return record


def _public_address(record: Mapping[str, Any]) -> str:
    found = [port["public_address"] for vnf in record["network_functions"] for port in vnf["interfaces"]]
    addresses = [address for address in found if address]
    if len(addresses) != 1:
        raise PermanentError(
            f"service `{record['name']}` has {len(addresses)} floating IPs, it should have one",
            hint="exactly one link of the service should have an external connection point",
        )
    return str(addresses[0])


def changed_service(folder: Path, scratch: Path, changes: Mapping[str, str], say: Say) -> Path:
    """A copy of an OSM folder whose descriptor is changed; each changed line is told.

    Raises:
        PermanentError: something to be changed is not there.
    """
    copy = scratch / folder.name
    shutil.copytree(folder, copy)
    descriptor = next(copy.glob("*_nsd.yaml"))
    old = new = descriptor.read_text()
    for before, after in changes.items():
        if before not in new:
            raise PermanentError(f"`{before}` is not in `{folder / descriptor.name}`")
        new = new.replace(before, after)
    descriptor.write_text(new)
    for line in difflib.unified_diff(old.splitlines(), new.splitlines(), lineterm="", n=0):
        if line[:1] in "+-" and line[:3] not in ("+++", "---"):
            say(f"  {descriptor.name}: {line}")
    return copy
