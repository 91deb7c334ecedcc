"""A PoP's switch for encapsulated packets: Open vSwitch in user space, with processes and sockets of its own.

It has a namespace beside the PoP's, joined to that by a veth pair, the hatch. Nothing of it is shared with an Open
vSwitch that the machine may run besides: database, sockets and logs lie in a folder of ours.

Where tunnels begin and end it has the address of the PoP's router, too. What it sends leaves over the hatch and is
forwarded by the PoP, so links impair it like everything else.

Source: ovs-vswitchd.conf.db(5); Open vSwitch's documentation, "Native Tunneling in Open vSwitch Userspace".
"""

from __future__ import annotations

import logging
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterable, Sequence
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path

import sonata.adapters.fabric_linux.nsh_flows as nsh_flows
import sonata.adapters.fabric_linux.requests as requests
from sonata.adapters.fabric_linux.netspace import MACHINE_SETTINGS, Netspace, create
from sonata.adapters.fabric_linux.nsh_flows import HATCH, HATCH_MAC, POP_PORT, SWITCH_MAC, TUNNEL_PORT
from sonata.errors import AdapterError, PermanentError, Unsupported
from sonata.ports.chain_rendering import Flow

logger = logging.getLogger(__name__)

PROGRAMS = ("ovsdb-server", "ovs-vswitchd", "ovsdb-tool", "ovs-vsctl", "ovs-ofctl", "ovs-appctl")
_SEARCH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_SCHEMAS = ("/usr/local/share/openvswitch/vswitch.ovsschema", "/usr/share/openvswitch/vswitch.ovsschema")
_BRIDGE, _POP, _TUNNEL = "sff", "pop", "gpe"
_MTU = 9000
_NEAR, _FAR = IPv4Interface("192.0.0.1/30"), IPv4Interface("192.0.0.2/30")
"""Of the hatch's two sides, known to nobody else (RFC 7335)."""
_ANYWHERE = IPv4Network("0.0.0.0/0")
_PATIENCE_S = 10.0
_LOOK_S = 0.005


def missing_programs() -> list[str]:
    """Which of its programs are not installed; and its schema."""
    missing = [name for name in PROGRAMS if not shutil.which(name, path=_SEARCH)]
    return missing if _schema() else [*missing, "vswitch.ovsschema"]


def _schema() -> str:
    return next((path for path in _SCHEMAS if os.path.exists(path)), "")


class FlowSwitch:
    """One switch, from its making to `close`. Its flows are what was added and not removed since.

    Args:
        pop: the namespace of the PoP.
        router: address of the PoP's router.
        indexes: of the two sides of the hatch.
        folder: for its files; made, and removed by `close`.
    """

    def __init__(self, pop: Netspace, router: IPv4Address, indexes: tuple[int, int], folder: Path) -> None:
        self._pop = pop
        self._router = router
        self._near, self._far = indexes
        self._folder = folder
        self._flows: dict[str, Flow] = {}
        self._processes: list[subprocess.Popen[bytes]] = []
        (self._netspace,) = create([f"switch of {pop.name}"], MACHINE_SETTINGS)
        try:
            self._join()
            self._start()
        except (AdapterError, Unsupported):
            self.close()
            raise

    @property
    def pids(self) -> list[int]:
        """Its processes: the database, then the switch."""
        return [process.pid for process in self._processes]

    @property
    def is_empty(self) -> bool:
        """Whether nobody has flows in it."""
        return not self._flows

    def add(self, flows: Sequence[Flow]) -> None:
        """Have flows, each in place of one that matches the same: all of them or none."""
        self._change([f"add {flow.match},actions={flow.actions}" for flow in flows])
        self._flows.update({flow.match: flow for flow in flows})

    def remove(self, flows: Iterable[Flow]) -> None:
        """Drop flows; those that others have taken the place of are gone already."""
        doomed = [flow for flow in flows if self._flows.get(flow.match) == flow]
        self._change([f"delete_strict {flow.match}" for flow in doomed])
        for flow in doomed:
            del self._flows[flow.match]

    def mend(self) -> str:
        """Start its processes again where one has ended; what happened, empty for nothing.

        Raises:
            PermanentError: they cannot be started; the next call tries again.
        """
        ended = [process for process in self._processes if process.poll() is not None]
        if self._processes and not ended:
            return ""
        why = ", ".join(f"{_name(process)} {_end_of(process)}" for process in ended) or "it could not be started"
        self._end()
        self._start()
        flows = list(self._flows.values())
        self.add(flows)
        return f"Open vSwitch of PoP `{self._pop.name}` is started again, with its {len(flows)} flows: {why}"

    def close(self) -> None:
        """End its processes, and leave nothing."""
        self._end()
        if self._pop.descriptor >= 0:
            self._pop.apply(requests.delete_links([self._near]))
        self._netspace.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _join(self) -> None:
        """Lay the hatch. Frames leave it as they are on a wire: whole, and with their checksums."""
        pair = requests.veth(
            self._near, HATCH, self._far, _POP, self._netspace.descriptor, mtu=_MTU, mac=HATCH_MAC, peer_mac=""
        )
        self._pop.apply([pair])
        self._pop.send_finished(HATCH)
        self._pop.accept_own(HATCH)
        self._pop.apply([requests.set_up(self._near, HATCH), requests.address(self._near, HATCH, _NEAR)])
        self._netspace.apply([requests.set_up(self._far, _POP)])
        self._pop.synchronise(HATCH)
        self._netspace.synchronise(_POP)

    def _start(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(parents=True, mode=0o700)
        try:
            self._start_processes()
            self._configure()
        except PermanentError:
            self._end()
            raise
        logger.info("Open vSwitch started", extra={"pop": self._pop.name, "pids": self.pids})

    def _start_processes(self) -> None:
        database, server = self._folder / "conf.db", self._folder / "db.sock"
        self._run("ovsdb-tool", "create", str(database), _schema())
        self._launch("ovsdb-server", str(database), f"--remote=punix:{server}", f"--unixctl={self._folder}/db.ctl")
        self._await(server.exists, "its database takes no connections")
        self._launch("ovs-vswitchd", f"unix:{server}", f"--unixctl={self._folder}/switch.ctl")

    def _configure(self) -> None:
        """One bridge with two ports and the address of the PoP's router, and the way to other PoPs."""
        tunnel = {
            "remote_ip": "flow",
            "local_ip": self._router,
            "key": 0,
            "dst_port": requests.VXLAN_GPE_PORT,
            "exts": "gpe",
            "packet_type": "ptap",
        }
        self._run(
            "ovs-vsctl", f"--db=unix:{self._folder}/db.sock", f"--timeout={_PATIENCE_S:.0f}",
            "add-br", _BRIDGE, "--", "set", "bridge", _BRIDGE, "datapath_type=netdev", "fail_mode=secure",
            "protocols=OpenFlow13,OpenFlow15", f"other_config:hwaddr={SWITCH_MAC}",
            "--", "add-port", _BRIDGE, _POP, "--", "set", "interface", _POP, f"ofport_request={POP_PORT}",
            "--", "add-port", _BRIDGE, _TUNNEL, "--", "set", "interface", _TUNNEL, "type=vxlan",
            f"ofport_request={TUNNEL_PORT}", *(f"options:{name}={value}" for name, value in tunnel.items()),
        )  # fmt: skip
        self._change([f"add {flow}" for flow in nsh_flows.base()])
        with self._netspace.entered():
            index = socket.if_nametoindex(_BRIDGE)
        route = requests.device_route(_ANYWHERE, index, gateway=_NEAR.ip)
        self._netspace.apply(
            [
                requests.address(index, _BRIDGE, IPv4Interface(self._router)),
                requests.address(index, _BRIDGE, _FAR),
                requests.set_up(index, _BRIDGE),
                requests.add_route(route, "way out of the switch"),
            ]
        )
        self._await(self._knows_the_way, "it does not see its routes")
        self._control("tnl/neigh/set", _BRIDGE, str(_NEAR.ip), HATCH_MAC)

    def _knows_the_way(self) -> bool:
        shown = self._control("ovs/route/show")
        return f"GW {_NEAR.ip}" in shown and f"{self._router}/32" in shown

    def _change(self, changes: Sequence[str]) -> None:
        """Change flows, as one transaction."""
        if changes:
            bridge = f"unix:{self._folder}/{_BRIDGE}.mgmt"
            self._run("ovs-ofctl", "-OOpenFlow13", "--bundle", "add-flows", bridge, "-", told="\n".join(changes))

    def _control(self, *words: str) -> str:
        return self._run("ovs-appctl", f"--target={self._folder}/switch.ctl", *words)

    def _launch(self, name: str, *words: str) -> None:
        """Start a process in the switch's namespace; it ends with the thread that started it."""
        log = f"--log-file={self._folder}/{name}.log"
        command = ["setpriv", "--pdeathsig=KILL", _program(name), *words, log, "-vconsole:off", "-vsyslog:off"]
        with self._netspace.entered():
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=self._environment,
                cwd="/",
            )
        self._processes.append(process)

    def _run(self, name: str, *words: str, told: str = "") -> str:
        try:
            result = subprocess.run(
                [_program(name), *words],
                input=told,
                capture_output=True,
                text=True,
                env=self._environment,
                timeout=_PATIENCE_S + 1,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise self._failure(f"{name}: {error}", name) from error
        if result.returncode:
            raise self._failure(result.stderr.strip() or f"status {result.returncode}", name)
        return result.stdout

    def _await(self, is_so: Callable[[], bool], otherwise: str) -> None:
        deadline = time.monotonic() + _PATIENCE_S
        while not is_so():
            if time.monotonic() > deadline or any(process.poll() is not None for process in self._processes):
                raise self._failure(otherwise, "ovs-vswitchd")
            time.sleep(_LOOK_S)

    def _failure(self, answer: str, call: str) -> PermanentError:
        return PermanentError(
            f"Open vSwitch of PoP `{self._pop.name}` failed: {answer.splitlines()[0]}",
            hint=f"its logs are in {self._folder}; chains of the renderer `nsh` pass nothing there meanwhile",
            call=call,
            answer=answer,
        )

    def _end(self) -> None:
        for process in reversed(self._processes):
            process.kill()
        for process in self._processes:
            process.wait()
        self._processes.clear()

    @property
    def _environment(self) -> dict[str, str]:
        """Nothing of what the machine's own Open vSwitch has is touched."""
        folder = str(self._folder)
        own = dict.fromkeys(("OVS_RUNDIR", "OVS_LOGDIR", "OVS_DBDIR", "OVS_SYSCONFDIR"), folder)
        return {"PATH": _SEARCH, **own}


def _program(name: str) -> str:
    found = shutil.which(name, path=_SEARCH)
    if not found:
        raise Unsupported(
            f"chains of the renderer `nsh` need Open vSwitch: no program `{name}`",
            hint="install the package `openvswitch-switch`",
        )
    return found


def _name(process: subprocess.Popen[bytes]) -> str:
    return os.path.basename(str(process.args[2]))  # type: ignore[index]


def _end_of(process: subprocess.Popen[bytes]) -> str:
    status = process.returncode
    return f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
