"""Clients that create, change and delete things of one cloud at once, without regard for one another."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from openstack import exceptions

from sonata.errors import SonataError
from sonata.sdk.emulation_records import EmulationRecord
from sonata.sdk.emulator_client import EmulatorClient
from tests.scenario.clouds import site

MOST = {"server": 10, "network": 8, "volume": 6, "port": 16, "ip": 8, "group": 8, "router": 4}


class Storm:
    """What several clients make of one cloud; each step is any client's, on anything that any of them has made.

    Args:
        seed: makes every client's choices the same again; how they interleave is up to the machine.
    """

    def __init__(self, record: EmulationRecord, pop: str, seed: int) -> None:
        self._record = record
        self._pop = pop
        self._seed = seed
        self._lock = threading.Lock()
        self._made: dict[str, list[str]] = {kind: [] for kind in MOST}
        self.broken: list[str] = []
        self.steps = 0

    def rage(self, clients: int, seconds: float) -> None:
        """Let clients loose for a while."""
        until = time.monotonic() + seconds
        with ThreadPoolExecutor(clients) as pool:
            for each in [pool.submit(self._client, number, until) for number in range(clients)]:
                each.result()

    def _client(self, number: int, until: float) -> None:
        choices = random.Random(self._seed * 1000 + number)
        cloud = site(self._record, self._pop)
        with EmulatorClient.of(self._record) as emulator:
            steps = dict(_steps(cloud, emulator, choices))
            while time.monotonic() < until and not self.broken:
                self._step(choices.choice(list(steps)), steps, choices)
        cloud.close()

    def _step(self, name: str, steps: dict[str, Callable[..., Any]], choices: random.Random) -> None:
        verb, _, kind = name.partition(" ")
        try:
            if verb == "create":
                if len(self._made[kind]) < MOST[kind]:
                    self._note(kind, steps[name](self._any))
            elif (found := self._any(kind, choices)) is not None:
                steps[name](found, self._any)
                if verb == "delete":
                    self._forget(kind, found)
        except exceptions.HttpException as error:
            if error.status_code is None or error.status_code >= 500:
                self.broken.append(f"{name}: {error}")
            elif error.status_code == 404 and verb == "delete":
                self._forget(kind, found)
        except (exceptions.SDKException, SonataError):
            return  # what it was about is gone, or does not go with its state
        finally:
            self.steps += 1

    def _any(self, kind: str, choices: random.Random) -> str | None:
        with self._lock:
            return choices.choice(self._made[kind]) if self._made[kind] else None

    def _note(self, kind: str, made: Any) -> None:
        with self._lock:
            if made is not None:
                self._made[kind].append(made.id)

    def _forget(self, kind: str, gone: str) -> None:
        with self._lock:
            if gone in self._made[kind]:
                self._made[kind].remove(gone)


Picking = Callable[[str, random.Random], str | None]


def _steps(cloud: Any, emulator: EmulatorClient, choices: random.Random) -> Iterator[tuple[str, Callable[..., Any]]]:
    """What a client does, by verb and kind; doubled names would be doubled chances."""
    net, compute, storage = cloud.network, cloud.compute, cloud.block_storage
    image, flavor = cloud.image.find_image("host"), compute.find_flavor("tiny")
    external = net.find_network("external")

    def network(_any: Picking) -> Any:
        made = net.create_network(name="storm")
        third = choices.randrange(250)
        net.create_subnet(network_id=made.id, ip_version=4, cidr=f"10.{third}.{choices.randrange(250)}.0/26")
        return made

    def port(any_: Picking) -> Any:
        groups = [group] if (group := any_("group", choices)) else None
        home = any_("network", choices)
        return net.create_port(network_id=home, **({"security_groups": groups} if groups else {})) if home else None

    def server(any_: Picking) -> Any:
        plugged, home = any_("port", choices), any_("network", choices)
        nics = [{"port": plugged}] if plugged and choices.random() < 0.5 else [{"uuid": home}] if home else "none"
        return compute.create_server(name="storm", image_id=image.id, flavor_id=flavor.id, networks=nics)

    def router(any_: Picking) -> Any:
        made = net.create_router(name="storm", external_gateway_info={"network_id": external.id})
        for subnet in net.subnets(network_id=any_("network", choices) or "none"):
            net.add_interface_to_router(made, subnet_id=subnet.id)
        return made

    def group(_any: Picking) -> Any:
        made = net.create_security_group(name="storm")
        for remote in ({"remote_group_id": made.id}, {"protocol": "tcp", "port_range_min": 1, "port_range_max": 9}):
            net.create_security_group_rule(security_group_id=made.id, direction="ingress", **remote)
        return made

    def lose_router(router_id: str, _any: Picking) -> None:
        for leg in net.ports(device_id=router_id, device_owner="network:router_interface"):
            net.remove_interface_from_router(router_id, port_id=leg.id)
        net.delete_router(router_id, ignore_missing=False)

    def attach(volume_id: str, any_: Picking) -> None:
        compute.create_volume_attachment(any_("server", choices) or "none", volume_id=volume_id)

    def detach(volume_id: str, _any: Picking) -> None:
        for attachment in storage.get_volume(volume_id).attachments:
            compute.delete_volume_attachment(attachment["server_id"], volume_id, ignore_missing=False)

    def aim(ip_id: str, any_: Picking) -> None:
        net.update_ip(ip_id, port_id=any_("port", choices) if choices.random() < 0.8 else None)

    def secure(group_id: str, any_: Picking) -> None:
        net.update_port(any_("port", choices) or "none", security_groups=[group_id])

    def alter(port_id: str, _any: Picking) -> None:
        mac = f"fa:16:3e:{choices.randrange(256):02x}:{choices.randrange(256):02x}:{choices.randrange(256):02x}"
        net.update_port(port_id, **choices.choice(({"mac_address": mac}, {"device_id": "", "device_owner": ""})))

    def power(server_id: str, _any: Picking) -> None:
        choices.choice((compute.stop_server, compute.start_server))(server_id)

    def wake(server_id: str, _any: Picking) -> None:
        emulator.exec(f"{cloud.config.config['auth']['auth_url'].split('/')[3]}/{server_id}", ["true"])

    yield "create network", network
    yield "create port", port
    yield "create server", server
    yield "create router", router
    yield "create group", group
    yield "create volume", lambda _any: storage.create_volume(size=1, name="storm")
    yield "create ip", lambda _any: net.create_ip(floating_network_id=external.id)
    yield "delete network", lambda each, _any: net.delete_network(each, ignore_missing=False)
    yield "delete port", lambda each, _any: net.delete_port(each, ignore_missing=False)
    yield "delete server", lambda each, _any: compute.delete_server(each, ignore_missing=False)
    yield "delete router", lose_router
    yield "delete group", lambda each, _any: net.delete_security_group(each, ignore_missing=False)
    yield "delete volume", lambda each, _any: storage.delete_volume(each, ignore_missing=False)
    yield "delete ip", lambda each, _any: net.delete_ip(each, ignore_missing=False)
    yield "attach volume", attach
    yield "detach volume", detach
    yield "aim ip", aim
    yield "secure group", secure
    yield "alter port", alter
    yield "power server", power
    yield "reboot server", lambda each, _any: compute.reboot_server(each, "HARD")
    yield "wake server", wake
