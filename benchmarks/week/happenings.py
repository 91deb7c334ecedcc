"""What happens in the life of an emulation, each with its weight."""

from __future__ import annotations

import base64
import itertools
import time
from collections.abc import Callable
from typing import Any

from benchmarks.week.life import Life, Stay
from benchmarks.week.site import Refused, Site
from sonata.errors import SonataError
from sonata.model.scenario import Scenario, Step

Happening = Callable[[Life], None]

COMPUTE, NETWORK, IMAGE, VOLUME = "/compute/v2.1", "/network/v2.0", "/image/v2", "/volume/v3"
BALANCING, IDENTITY = "/load-balancer/v2/lbaas", "/identity/v3"
USER_DATA = base64.b64encode(b"#!/bin/sh\necho it was a week ago\n").decode()
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f week"
QUERIES = (
    "sum by (pop) (rate(sonata_vnf_cpu_seconds_total[1m]))",
    "sonata_link_up == 1",
    "max_over_time(sonata_link_up[5m])",
    "avg by (pop) (sonata_vnf_memory_bytes)",
)
STACK = """
heat_template_version: 2018-08-31
parameters: {size: {type: number, default: 1}}
resources:
  net: {type: OS::Neutron::Net}
  subnet: {type: OS::Neutron::Subnet, properties: {network: {get_resource: net}, cidr: 10.44.0.0/24}}
  port: {type: OS::Neutron::Port, properties: {network: {get_resource: net},
         fixed_ips: [{subnet: {get_resource: subnet}}]}}
  server: {type: OS::Nova::Server, properties: {image: host, flavor: tiny, networks: [{port: {get_resource: port}}]}}
  many: {type: OS::Heat::ResourceGroup, properties: {count: {get_param: size}, resource_def: {type: OS::Heat::Value,
         properties: {value: 1}}}}
"""


# links and PoPs


def degrade_link(life: Life) -> None:
    """Another delay, loss and rate; mended after a while."""
    link = life.chance.choice(life.declared.links)
    delay, loss = life.chance.choice((0.0, 0.001, 0.01)), life.chance.choice((0.0, 0.01))
    rate = life.chance.choice((None, 50e6, 1e9))
    life.emulator.change_link(link.name, {"delay_s": delay, "loss": loss, "rate_bps": rate, "force": True})
    life.stay().callback(life.mend, link)


def degrade_access(life: Life) -> None:
    """The line of an endpoint changes."""
    name = f"access-{life.chance.choice(list(life.declared.endpoints))}"
    life.emulator.change_link(name, {"delay_s": life.chance.choice((0.0, 0.003)), "rate_bps": 10e6, "force": True})
    life.stay().callback(life.mend, name)


def cut_link(life: Life) -> None:
    """Down, and up again after a while."""
    link = life.chance.choice(life.declared.links)
    life.emulator.change_link(link.name, {"up": False})
    life.stay().callback(life.mend, link)


def lose_pop(life: Life) -> None:
    """A PoP without links and power for a moment; its servers are started again."""
    site = life.site()
    life.play(Step(0.0, "pop", site.pop, for_s=0.05, up=False))
    life.wake(site)


def hog(life: Life) -> None:
    """Something takes processor and memory of a machine."""
    target = life.chance.choice(("origin", f"{(pop := life.site().pop)}/busy-{pop}"))
    life.play(Step(0.0, "hog", target, for_s=0.05, cpus=0.2, memory_bytes=4 * 1024**2))


def crash(life: Life) -> None:
    """The program of a server is killed; somebody starts it again."""
    site = life.site()
    server = life.seed(site)
    life.play(Step(0.0, "crash", f"{site.pop}/{server['name']}"))
    path = f"{COMPUTE}/servers/{server['id']}"
    site.settled(path, "server", lambda one: one["status"] in ("SHUTOFF", "ERROR") and not one["OS-EXT-STS:task_state"])
    life.wake(site)


def mixed_scenario(life: Life) -> None:
    """Several things one after another, and a scenario that is cancelled."""
    link = life.chance.choice(life.declared.links).name
    steps = (
        Step(0.0, "link", link, for_s=0.02, changes={"delay_s": 0.003}),
        Step(0.01, "run", "users", command=("true",)),
        Step(0.02, "move", "users", for_s=0.01, to="south"),
    )
    if life.chance.random() < 0.5:
        life.play(*steps)
    else:
        life.scenarios.cancel(
            life.scenarios.start(Scenario(life.fresh(), (*steps, Step(999.0, "crash", "origin"))))["run"]
        )


def move_endpoint(life: Life) -> None:
    """An endpoint roams between cells."""
    life.emulator.move_endpoint("users", life.chance.choice(("north", "south", "east", "core")))


def edit_file(life: Life) -> None:
    """`emu up` with a changed file, and with the former one after a while."""
    life.emulator.apply(life.changed_file())
    life.stay().callback(life.emulator.apply, life.declared)


# servers


def network_id(site: Site) -> str:
    """Of the network of the topology's servers."""
    found: str = site.named(f"{NETWORK}/networks", "networks", "default")["id"]
    return found


def flavor_id(site: Site, name: str = "tiny") -> str:
    """Of a flavor."""
    found: str = site.named(f"{COMPUTE}/flavors", "flavors", name)["id"]
    return found


def image_id(site: Site) -> str:
    """Of the host's files."""
    found: str = site.named(f"{IMAGE}/images", "images", "host")["id"]
    return found


def new_server(life: Life, site: Site, stay: Stay, **more: Any) -> str:
    """Id of a server that runs, unless it has failed; it is deleted with the stay."""
    wanted = {"name": life.fresh(), "imageRef": image_id(site), "flavorRef": flavor_id(site), **more}
    wanted.setdefault("networks", [{"uuid": network_id(site)}])
    made: str = site.make(f"{COMPUTE}/servers", "server", **wanted)["id"]
    stay.callback(lose_server, site, made)
    site.server(made)
    return made


def lose_server(site: Site, server_id: str) -> None:
    """Delete a server and see it go."""
    site.drop(f"{COMPUTE}/servers/{server_id}")
    site.settled(f"{COMPUTE}/servers/{server_id}", "server", lambda one: False)


def boot_server(life: Life) -> None:
    """A server, with or without something to do at its first boot."""
    site = life.site()
    given: dict[str, Any] = life.chance.choice(
        ({}, {}, {"user_data": USER_DATA}, {"user_data": USER_DATA, "config_drive": True})
    )
    new_server(life, site, life.stay(), **given)


def boot_guarded(life: Life) -> None:
    """A server with a port of its own, in a security group of its own."""
    site, name, stay = life.site(), life.fresh(), life.stay()
    group = site.make(f"{NETWORK}/security-groups", "security_group", name=name)["id"]
    stay.callback(site.drop, f"{NETWORK}/security-groups/{group}")
    wanted = {"network_id": life.joined[site.pop], "security_groups": [group], "name": name}
    port = site.make(f"{NETWORK}/ports", "port", **wanted)["id"]
    stay.callback(site.drop, f"{NETWORK}/ports/{port}")
    new_server(life, site, stay, networks=[{"port": port}])
    rule = {"security_group_id": group, "direction": "ingress", "protocol": "tcp", "port_range_min": 80}
    site.make(f"{NETWORK}/security-group-rules", "security_group_rule", **rule, port_range_max=90)


def trouble_server(life: Life) -> None:
    """A server lives through everything that its owner can do to it."""
    site = life.site()
    server = new_server(life, site, life.stay())
    many: list[list[dict[str, Any]]] = [
        [{"os-stop": None}, {"os-start": None}],
        [{"pause": None}, {"unpause": None}],
        [{"suspend": None}, {"resume": None}],
        [{"resize": {"flavorRef": flavor_id(site, "small")}}, {"confirmResize": None}],
        [{"rebuild": {"imageRef": image_id(site)}}],
        [{"shelve": None}, {"unshelve": None}],
        [{"rescue": {}}, {"unrescue": None}],
    ]
    for action in life.chance.choice(many):
        life.act(site, server, action)


def migrate(life: Life) -> None:
    """A server moves to the other zone of its site while it runs."""
    site = life.sites["core"]
    server = new_server(life, site, life.stay(), availability_zone="far")
    life.act(site, server, {"os-migrateLive": {"host": "core", "block_migration": "auto"}})


def reboot(life: Life) -> None:
    """A server of the topology is switched off and on."""
    site = life.site()
    life.act(site, life.seed(site, life.chance.choice(("busy", "idle")))["id"], {"reboot": {"type": "HARD"}})


def look_at_console(life: Life) -> None:
    """What a server has printed, and a token for its console."""
    site = life.site()
    server = life.seed(site)["id"]
    site.ask("POST", f"{COMPUTE}/servers/{server}/action", {"os-getConsoleOutput": {"length": 10}})
    console = {"protocol": "serial", "type": "serial"}
    site.make(f"{COMPUTE}/servers/{server}/remote-consoles", "remote_console", **console)


def list_servers(life: Life) -> None:
    """What a dashboard asks for again and again."""
    site = life.site()
    for path in ("/servers/detail", "/os-hypervisors/detail", "/limits", "/os-migrations"):
        site.ask("GET", f"{COMPUTE}{path}")
    site.ask("GET", f"{COMPUTE}/servers/{life.seed(site)['id']}/os-instance-actions")


def run_command(life: Life) -> None:
    """A command in a machine, with much or little to say."""
    target = life.chance.choice(("users", "edge/busy-edge", "core/idle-core"))
    life.emulator.exec(target, life.chance.choice((["true"], ["sh", "-c", "yes | head -n 20000"])))


# storage and images


def keep_volume(life: Life) -> None:
    """A volume in a server, and a snapshot of it."""
    site, stay = life.site(), life.stay()
    storage = f"{VOLUME}/{site.project}"

    def settle(kind: str, made: str) -> None:
        site.settled(f"{storage}/{kind}s/{made}", kind, lambda one: not one["status"].endswith("ing"))

    def drop(kind: str, made: str) -> None:
        site.drop(f"{storage}/{kind}s/{made}")
        settle(kind, made)

    volume = site.make(f"{storage}/volumes", "volume", name=life.fresh(), size=1)["id"]
    stay.callback(drop, "volume", volume)
    settle("volume", volume)
    snapshot = site.make(f"{storage}/snapshots", "snapshot", volume_id=volume, force=True)["id"]
    stay.callback(drop, "snapshot", snapshot)
    settle("snapshot", snapshot)
    server = life.seed(site)["id"]
    attached = f"{COMPUTE}/servers/{server}/os-volume_attachments"
    stay.callback(settle, "volume", volume)
    stay.callback(site.drop, f"{attached}/{volume}")
    stay.callback(life.rouse, site, server)  # nothing is taken out of a server that has failed, or that just ends
    site.make(attached, "volumeAttachment", volumeId=volume)
    settle("volume", volume)


def upload_image(life: Life) -> None:
    """An image that boots nowhere is uploaded."""
    site = life.site()
    wanted = {"name": life.fresh(), "disk_format": "raw", "container_format": "bare"}
    image = site.ask("POST", f"{IMAGE}/images", wanted)["id"]
    life.stay().callback(site.drop, f"{IMAGE}/images/{image}")
    data = {"Content-Type": "application/octet-stream"}
    site.ask("PUT", f"{IMAGE}/images/{image}/file", b"x" * life.chance.randint(1, 100_000), **data)


def image_of_server(life: Life) -> None:
    """A server's disk becomes an image, which outlives it."""
    site, stay = life.site(), life.stay()
    server = new_server(life, site, stay)
    wanted = {"createImage": {"name": life.fresh()}}
    image = site.ask("POST", f"{COMPUTE}/servers/{server}/action", wanted)["image_id"]
    stay.callback(site.drop, f"{IMAGE}/images/{image}")
    site.server(server)
    lose_server(site, server)


# networks


def make_network(life: Life) -> None:
    """A network with a router and a subnet."""
    site, name, stay = life.site(), life.fresh(), life.stay()
    network = site.make(f"{NETWORK}/networks", "network", name=name)["id"]
    stay.callback(site.drop, f"{NETWORK}/networks/{network}")
    wanted = {"network_id": network, "ip_version": 4, "cidr": f"10.60.{life.chance.randrange(250)}.0/24"}
    subnet = site.make(f"{NETWORK}/subnets", "subnet", **wanted)["id"]
    router = site.make(f"{NETWORK}/routers", "router", name=name, external_gateway_info=gateway(site))["id"]
    stay.callback(site.drop, f"{NETWORK}/routers/{router}")
    leg = {"subnet_id": subnet}
    site.ask("PUT", f"{NETWORK}/routers/{router}/add_router_interface", leg)
    stay.callback(site.ask, "PUT", f"{NETWORK}/routers/{router}/remove_router_interface", leg)


def gateway(site: Site) -> dict[str, str]:
    """What leads out of a site."""
    return {"network_id": site.named(f"{NETWORK}/networks", "networks", "external")["id"]}


def aim_address(life: Life) -> None:
    """A floating address leads to a server of the topology."""
    site = life.site()
    port = life.port_of(site, life.seed(site, life.chance.choice(("busy", "idle")))["id"])
    wanted = {"floating_network_id": gateway(site)["network_id"]}
    made = site.make(f"{NETWORK}/floatingips", "floatingip", **wanted)["id"]
    life.stay().callback(site.drop, f"{NETWORK}/floatingips/{made}")
    site.ask("PUT", f"{NETWORK}/floatingips/{made}", {"floatingip": {"port_id": port}})


def add_rule(life: Life) -> None:
    """The default security group lets something in."""
    site = life.site()
    group = site.named(f"{NETWORK}/security-groups", "security_groups", "default")["id"]
    port = life.chance.randint(1, 60_000)
    wanted = {"security_group_id": group, "direction": "ingress", "protocol": "udp", "port_range_min": port}
    rules = f"{NETWORK}/security-group-rules"
    made = site.make(rules, "security_group_rule", **wanted, port_range_max=port)["id"]
    life.stay().callback(site.drop, f"{rules}/{made}")


def limit_port(life: Life) -> None:
    """A port's packets are limited."""
    site, stay = life.site(), life.stay()
    policies = f"{NETWORK}/qos/policies"
    policy = site.make(policies, "policy", name=life.fresh())["id"]
    stay.callback(site.drop, f"{policies}/{policy}")
    site.make(f"{policies}/{policy}/bandwidth_limit_rules", "bandwidth_limit_rule", max_kbps=5000)
    wanted = {"network_id": life.joined[site.pop], "qos_policy_id": policy}
    port = site.make(f"{NETWORK}/ports", "port", **wanted)["id"]
    stay.callback(site.drop, f"{NETWORK}/ports/{port}")
    new_server(life, site, stay, networks=[{"port": port}])


def make_chain(life: Life) -> None:
    """Packets of a kind are led through a server."""
    site, stay, sfc = life.site(), life.stay(), f"{NETWORK}/sfc"
    server = new_server(life, site, stay)
    port = life.port_of(site, server)

    def made(kind: str, **values: Any) -> str:
        found: str = site.make(f"{sfc}/{kind}s", kind, **values)["id"]
        stay.callback(site.drop, f"{sfc}/{kind}s/{found}")
        return found

    pair = made("port_pair", ingress=port, egress=port)
    group = made("port_pair_group", port_pairs=[pair])
    source = f"100.64.{life.chance.randrange(4)}.{life.chance.randrange(1, 250)}/32"
    flow = made("flow_classifier", source_ip_prefix=source, protocol="icmp", ethertype="IPv4")
    made("port_chain", port_pair_groups=[group], flow_classifiers=[flow])


def balance(life: Life) -> None:
    """A load balancer of either provider before servers of the topology."""
    site = life.site()
    network = network_id(site)
    subnet = site.ask("GET", f"{NETWORK}/subnets?network_id={network}")["subnets"][0]["id"]
    addresses = [
        port["fixed_ips"][0]["ip_address"]
        for port in site.ask("GET", f"{NETWORK}/ports?network_id={network}")["ports"]
        if port["device_owner"].startswith("compute:")
    ]
    pool = {
        "name": "p",
        "protocol": "TCP",
        "lb_algorithm": "ROUND_ROBIN",
        "members": [{"address": address, "protocol_port": 80} for address in addresses[:3]],
        "healthmonitor": {"type": "TCP", "delay": 5, "timeout": 2, "max_retries": 1},
    }
    listener = {"name": "l", "protocol": "TCP", "protocol_port": 80, "default_pool": pool}
    provider = life.chance.choice(("haproxy", "nftables", "nftables"))
    wanted = {"vip_subnet_id": subnet, "provider": provider, "name": life.fresh(), "listeners": [listener]}
    made = site.make(f"{BALANCING}/loadbalancers", "loadbalancer", **wanted)["id"]
    path = f"{BALANCING}/loadbalancers/{made}"

    def settle() -> None:
        site.settled(path, "loadbalancer", lambda one: not one["provisioning_status"].startswith("PENDING"))

    stay = life.stay()
    stay.callback(settle)
    stay.callback(site.drop, f"{path}?cascade=true")
    stay.callback(settle)
    settle()


# identity, stacks, wide area


def use_tokens(life: Life) -> None:
    """A token is got, asked about and revoked."""
    site = life.site()
    token = site.log_in(scoped=False)
    site.ask("GET", f"{IDENTITY}/auth/tokens", **{"X-Subject-Token": token})
    if life.chance.random() < 0.5:
        site.ask("DELETE", f"{IDENTITY}/auth/tokens", **{"X-Subject-Token": token})


def employ(life: Life) -> None:
    """A project with a user in it, and a key pair."""
    site, name, stay = life.site(), life.fresh(), life.stay()
    project = site.make(f"{IDENTITY}/projects", "project", name=name)["id"]
    stay.callback(site.drop, f"{IDENTITY}/projects/{project}")
    user = site.make(f"{IDENTITY}/users", "user", name=name, password="a password")["id"]
    stay.callback(site.drop, f"{IDENTITY}/users/{user}")
    role = site.named(f"{IDENTITY}/roles", "roles", "member")["id"]
    site.ask("PUT", f"{IDENTITY}/projects/{project}/users/{user}/roles/{role}")
    stay.callback(site.drop, f"{COMPUTE}/os-keypairs/{name}")
    site.make(f"{COMPUTE}/os-keypairs", "keypair", name=name, public_key=KEY)


def make_stack(life: Life) -> None:
    """A stack is made, perhaps changed, and deleted after a while."""
    site, name = life.site(), life.fresh()
    stacks = f"/orchestration/v1/{site.project}/stacks"
    path = f"{stacks}/{name}/{site.ask('POST', stacks, {'stack_name': name, 'template': STACK})['stack']['id']}"

    def settle() -> None:
        site.settled(path, "stack", lambda one: not one["stack_status"].endswith("PROGRESS"))

    stay = life.stay()
    stay.callback(site.settled, path, "stack", lambda one: one["stack_status"] == "DELETE_COMPLETE")
    stay.callback(site.drop, path)
    settle()
    if life.chance.random() < 0.3:
        site.ask("PUT", path, {"template": STACK, "parameters": {"size": 3}})
        settle()


def connect(life: Life) -> None:
    """Networks of two sites are joined, with a rate of their own, and parted after a while."""
    one, other = life.chance.sample(sorted(life.joined), 2)
    members = {one: life.joined[one], other: life.joined[other]}
    made = life.wan.connect(life.fresh(), members, {"rate_bps": 1e6})["id"]
    life.stay().callback(life.wan.disconnect, made)


# watching


def capture(life: Life) -> None:
    """A link's packets, for a moment or until the watcher loses interest."""
    link = life.chance.choice(life.declared.links).name
    if life.chance.random() < 0.5:
        b"".join(life.emulator.capture(link, 0.02))
    else:
        pieces = life.emulator.capture_interface("users", "eth0")
        next(pieces)
        pieces.close()  # type: ignore[attr-defined]


def scrape(life: Life) -> None:
    """Prometheus comes by."""
    life.metrics.exposition()


def query(life: Life) -> None:
    """Somebody asks what there was."""
    life.metrics.query(life.chance.choice(QUERIES))


def record_rules(life: Life) -> None:
    """Other recording rules; links measured in the background or no more."""
    rule = f"{{record: week_{life.chance.randrange(5)}, expr: sum(sonata_link_up)}}"
    life.metrics.replace_rules(f"groups: [{{name: g, rules: [{rule}]}}]")
    life.stay().callback(life.metrics.replace_rules, "")


def watch_links(life: Life) -> None:
    """Links are measured in the background for a while."""
    life.metrics.watch_links(1.0)
    life.stay().callback(life.metrics.watch_links, None)


def read_events(life: Life) -> None:
    """Somebody follows the events and loses interest; somebody else asks for some."""
    events = life.emulator.follow_events()
    list(itertools.islice(events, 3))
    events.close()  # type: ignore[attr-defined]
    life.emulator.events(["link."])


def ask_wrongly(life: Life) -> None:
    """Requests that are refused, each with a status of 4xx."""
    site = life.site()
    wrong: list[tuple[str, str, Any, dict[str, str]]] = [
        ("GET", f"{COMPUTE}/servers/{life.fresh()}", None, {}),
        ("GET", f"{NETWORK}/ports", None, {"X-Auth-Token": life.fresh() * 20}),
        ("POST", f"{COMPUTE}/servers", {"server": {life.fresh(): 1}}, {}),
        ("GET", f"/{life.fresh()}", None, {}),
        ("POST", f"{NETWORK}/networks", {"network": {"name": life.fresh() * 100}}, {}),
        ("GET", f"{NETWORK}/ports?{life.fresh()}={life.fresh()}", None, {}),
    ]
    method, path, body, headers = life.chance.choice(wrong)
    try:
        site.ask(method, path, body, **headers)
    except Refused as refusal:
        if refusal.status >= 500:
            raise


WEIGHTS: dict[Happening, int] = {
    degrade_link: 12,
    degrade_access: 4,
    cut_link: 8,
    lose_pop: 1,
    hog: 2,
    crash: 4,
    mixed_scenario: 4,
    move_endpoint: 6,
    edit_file: 2,
    boot_server: 10,
    boot_guarded: 5,
    trouble_server: 4,
    migrate: 2,
    reboot: 4,
    look_at_console: 4,
    list_servers: 8,
    run_command: 8,
    keep_volume: 3,
    upload_image: 2,
    image_of_server: 1,
    make_network: 4,
    aim_address: 4,
    add_rule: 6,
    limit_port: 3,
    make_chain: 4,
    balance: 2,
    use_tokens: 8,
    employ: 3,
    make_stack: 3,
    connect: 4,
    capture: 4,
    scrape: 6,
    query: 6,
    record_rules: 2,
    watch_links: 1,
    read_events: 4,
    ask_wrongly: 8,
}
"""How often each happens, of 172."""


def happen(life: Life) -> tuple[str, str, float]:
    """Let something happen; returns what, why it was refused if so, and the seconds that it took."""
    (happening,) = life.chance.choices(list(WEIGHTS), list(WEIGHTS.values()))
    begun, why = time.perf_counter(), ""
    try:
        happening(life)
    except SonataError as error:
        if isinstance(error, Refused) and error.status >= 500:
            raise
        why = str(error)
    return happening.__name__, why, time.perf_counter() - begun
