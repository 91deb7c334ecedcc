"""Descriptors: values that come out, and every rule with a document that breaks it."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.formats.samples import NSD, VNFD, findings_of

from sonata.errors import InvalidInput
from sonata.formats.descriptor_policy import Policy, parse_policy
from sonata.formats.sonata_descriptors import check_nsd, parse_nsd, parse_vnfd, read_nsd_document
from sonata.formats.yaml_nodes import parse_yaml
from sonata.model.descriptors import ConnectionPoint, CpRef, DescriptorId, VirtualLink


def codes(parse, text, *, tolerant=False):
    with pytest.raises(InvalidInput) as caught:
        parse(text, "d.yml", tolerant=tolerant)
    return [d.code for d in caught.value.diagnostics if d.severity == "error"]


def test_service_becomes_a_value():
    nsd = parse_nsd(NSD)
    assert nsd.id == DescriptorId("org.example", "chain", "1.0")
    assert [(vnf.vnf_id, str(vnf.descriptor)) for vnf in nsd.vnfs] == [
        ("fw", "org.example/firewall/1.0"),
        ("lb", "org.example/balancer/1.0"),
    ]
    assert nsd.virtual_links[1] == VirtualLink(
        "l1", "E-Line", (CpRef("fw", "b"), CpRef("lb", "a")), cidr="10.1.0.0/24", min_rate_bps=2e6
    )
    graph = nsd.forwarding_graphs[0]
    assert (graph.protocol, graph.destination_port) == ("tcp", 80)
    assert [str(point) for point in graph.paths[0].points] == ["in", "fw:a", "fw:b", "lb:a", "lb:b", "out"]
    manager = nsd.managers[0]
    assert (manager.image, manager.roles, manager.options) == (
        "package:managers/placer.py",
        ("placement", "task"),
        {"goal": "latency"},
    )


def test_function_becomes_a_value():
    vnfd = parse_vnfd(VNFD)
    unit = vnfd.vdus[0]
    assert (unit.image, unit.vcpus, unit.memory_mib, unit.disk_gib, unit.instances) == ("firewall", 2.0, 1024, 2, 1)
    assert unit.connection_points == (ConnectionPoint("eth0", "internal"), ConnectionPoint("eth1", "internal"))
    assert vnfd.connection_points == (ConnectionPoint("a", "external"), ConnectionPoint("b", "external"))
    assert vnfd.virtual_links[0].members == (CpRef("u", "eth0"), CpRef("", "a"))


@pytest.mark.parametrize(
    ("size", "unit", "mib"),
    [(512, "MB", 489), (512, "MiB", 512), (1, "GB", 954), (1, "B", 1), (0.5, "GiB", 512), (2048, "KiB", 2)],
)
def test_memory_is_rounded_up_to_whole_mib(size, unit, mib):
    vnfd = parse_vnfd(VNFD.replace("size: 1, size_unit: GiB", f"size: {size}, size_unit: {unit}"))
    assert vnfd.vdus[0].memory_mib == mib


def test_sonata_family_is_read_too():
    text = VNFD.replace("descriptor_schema: https://example.org/vnfd-schema.yml", "descriptor_version: vnfd-schema-02")
    assert codes(parse_vnfd, text).count("VNFD-0013") > 0, "SONATA demands interface and type"
    assert parse_vnfd(text, tolerant=True) == parse_vnfd(VNFD)


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ("network_functions:", "network_functionz:", "NSD-0001"),
        ("vendor: org.example\n", "", "NSD-0002"),
        ("name: chain", "name: Chain!", "NSD-0003"),
        ('version: "1.0"', "version: 1.0", "NSD-0003"),
        ("connectivity_type: E-LAN", "connectivity_type: E-Lan", "NSD-0004"),
        ("cidr: 10.1.0.0/24", "cidr: 10.1.0.1/24", "NSD-0003"),
        ("descriptor_schema: https://example.org/nsd-schema.yml\n", "", "NSD-0012"),
        ("network_functions:", "network_services: [{ns_id: x}]\nnetwork_functions:", "NSD-0010"),
        ("vnf_id: lb", "vnf_id: fw", "NSD-0020"),
        ("{id: out, type", "{id: in, type", "NSD-0020"),
        ("id: l2", "id: l1", "NSD-0020"),
        ('[in, "fw:a"]', '[inn, "fw:a"]', "NSD-0021"),
        ('[in, "fw:a"]', '[in, "fv:a"]', "NSD-0021"),
        ('[in, "fw:a"]', '[in, "fw:a:b"]', "NSD-0003"),
        ('[in, "fw:a"]', "[in]", "NSD-0023"),
        ("connectivity_type: E-LAN", "connectivity_type: E-Tree", "NSD-0024"),
        ('["lb:b", out]', '["lb:b", out, out]', "NSD-0025"),
        ('["fw:b", "lb:a"]', '["fw:b", "fw:c"]', "NSD-0031"),
        ("value: placement", "value: placment", "NSD-0041"),
        ("connection_point_ref: in,", "connection_point_ref: inx,", "NSD-0050"),
        ('ref: "lb:b", position: 5', 'ref: "lb:c", position: 5', "NSD-0053"),
        ('ref: "lb:a", position: 4', 'ref: "fw:c", position: 4', "NSD-0054"),
        ('ref: "fw:b", position: 3', 'ref: "lb:b", position: 3', "NSD-0053"),
        ("protocol=tcp,", "protocol=icmp,", "NSD-0055"),
        ("destination_port=80", "destination_port=99999", "NSD-0055"),
    ],
)
def test_service_rules(old, new, code):
    assert old in NSD
    assert code in codes(parse_nsd, NSD.replace(old, new, 1))


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ("vm_image:", "vm_imag:", "VNFD-0001"),
        ("cpu: {vcpus: 2}", "cpu: {}", "VNFD-0002"),
        ("vcpus: 2", "vcpus: 0", "VNFD-0003"),
        ("size_unit: GiB", "size_unit: gib", "VNFD-0004"),
        ("{id: eth0}", "{id: 'u:eth0'}", "VNFD-0003"),
        ("{id: eth0}", "{id: eth0, type: interface}", "VNFD-0004"),
        (
            "virtual_deployment_units:",
            "cloudnative_deployment_units: [{id: c}]\nvirtual_deployment_units:",
            "VNFD-0010",
        ),
        ("virtual_deployment_units:", "physical_deployment_units: [{id: c}]\nvirtual_deployment_units:", "VNFD-0010"),
        ("    vm_image: firewall\n", "", "VNFD-0011"),
        ("{id: eth1, type", "{id: eth0, type", "VNFD-0020"),
        ('"u:eth0"', '"w:eth0"', "VNFD-0021"),
        ('"u:eth0"', '"u:eth7"', "VNFD-0021"),
        ('["u:eth0", a]', '["u:eth0", "u:eth1"]', "VNFD-0031"),
    ],
)
def test_function_rules(old, new, code):
    assert old in VNFD
    assert code in codes(parse_vnfd, VNFD.replace(old, new, 1))


def test_what_is_missing_altogether():
    head = VNFD[: VNFD.index("virtual_deployment_units")]
    assert codes(parse_vnfd, head) == ["VNFD-0011"]
    assert "NSD-0011" in codes(parse_nsd, NSD[: NSD.index("network_functions")])


def test_all_findings_at_once_and_in_place():
    text = NSD.replace('[in, "fw:a"]', '[inn, "fw:a"]').replace("id: l2", "id: l1").replace("=tcp", "=ip")
    with pytest.raises(InvalidInput) as caught:
        parse_nsd(text, "d.yml")
    found = {d.code: d for d in caught.value.diagnostics}
    assert {"NSD-0020", "NSD-0021", "NSD-0053", "NSD-0055"} <= found.keys()
    assert found["NSD-0021"].line == text[: text.index("[inn")].count("\n") + 1
    assert found["NSD-0021"].hint == "did you mean `in`?"


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ("{id: out, type: external}", "{id: out, type: external}\n  - {id: spare}", "NSD-0022"),
        ("image: package:managers/placer.py", "image: registry/placer", "NSD-0042"),
        ("position: 2", "position: 1", "NSD-0051"),
        ("fg_id: web", "fg_id: web\n    constituent_vnfs: [fww]", "NSD-0058"),
    ],
)
def test_warnings_do_not_stop(old, new, code):
    assert old in NSD
    text = NSD.replace(old, new, 1)
    read = read_nsd_document(parse_yaml(text, "d.yml"), tolerant=False)
    findings = check_nsd(read)
    assert [(d.code, d.severity) for d in findings] == [(code, "warning")]


def test_services_without_graph_or_in_parts_are_warned_of():
    lonely = NSD[: NSD.index("forwarding_graphs")].replace('["fw:b", "lb:a"]', '["fw:b", out]')
    read = read_nsd_document(parse_yaml(lonely, "d.yml"), tolerant=False)
    assert [d.code for d in check_nsd(read)] == ["NSD-0057"]
    apart = lonely.replace("[in, ", "[out, ").replace('["lb:b", out]', '["lb:b", in]')
    read = read_nsd_document(parse_yaml(apart, "d.yml"), tolerant=False)
    assert [d.code for d in check_nsd(read)] == ["NSD-0032", "NSD-0057"]


def test_tolerant_repairs_what_does_not_matter():
    text = (
        VNFD.replace('version: "1.0"', "version: 1.10\nsurprise: 1\nauthor: 3")
        .replace("{id: eth0}", "{id: eth0, type: interface}")
        .replace("vm_image: firewall", "vm_image: http://host/images/firewall.qcow2\n    vm_image_format: strange")
        .replace("storage: {size: 1500, size_unit: MB}", "storage: {size: }")
    )
    assert len(codes(parse_vnfd, text)) == 6
    vnfd = parse_vnfd(text, tolerant=True)
    assert vnfd.id.version == "1.10", "as written, not as a number"
    assert (vnfd.vdus[0].image, vnfd.vdus[0].disk_gib) == ("firewall", 0)
    assert vnfd.vdus[0].connection_points[0].type == "internal"


@pytest.mark.parametrize(
    ("image", "name"),
    [
        ("vnf", "vnf"),
        ("sonatanfv/sonata-fw-vnf", "sonata-fw-vnf"),
        ("ubuntu:16.04", "ubuntu:16.04"),
        ("http://host/a/b.img", "b"),
        ("file:///x/y.tar.gz", "y"),
    ],
)
def test_tolerant_reader_takes_the_name_of_an_image(image, name):
    text = VNFD.replace("vm_image: firewall", f'vm_image: "{image}"')
    assert parse_vnfd(text, tolerant=True).vdus[0].image == name
    assert parse_vnfd(text).vdus[0].image == image


def test_names_of_the_first_year_are_understood():
    old = (
        VNFD.replace("{id: eth0}", "{id: 'u9:eth0'}")
        .replace("{id: a, type", "{id: 'vnf:a', type")
        .replace('["u:eth0", a]', '["u9:eth0", "vnf:a"]')
    )
    assert "VNFD-0003" in codes(parse_vnfd, old)
    assert parse_vnfd(old, tolerant=True) == parse_vnfd(VNFD)


def test_tolerant_reader_still_refuses_what_cannot_run():
    assert codes(parse_vnfd, VNFD.replace('"u:eth0"', '"w:eth0"'), tolerant=True) == ["VNFD-0021"]
    assert codes(parse_vnfd, VNFD.replace("vcpus: 2", "vcpus: many"), tolerant=True) == ["VNFD-0003"]


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        (None, Policy()),
        ("none", Policy()),
        ("", Policy()),
        ("protocol=udp", Policy("udp")),
        (" protocol = tcp , destination_port = 8080 ", Policy("tcp", 8080)),
    ],
)
def test_policies(text, policy):
    assert parse_policy(text) == policy


@pytest.mark.parametrize(
    "text",
    ["tcp/80", "destination_port=80", "protocol=tcp,port=80", "protocol=tcp,destination_port=0", "x", "protocol="],
)
def test_policies_that_mean_nothing(text):
    with pytest.raises(ValueError, match="policy"):
        parse_policy(text)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(["fw:a", "E-LAN"]),
    lambda children: (
        st.lists(children, max_size=3)
        | st.dictionaries(st.text(max_size=5) | st.sampled_from(["id", "type"]), children, max_size=3)
    ),
    max_leaves=6,
)


@settings(max_examples=80, deadline=None)
@given(st.data(), st.sampled_from([(parse_nsd, NSD), (parse_vnfd, VNFD)]), st.booleans())
def test_any_change_is_read_or_refused(data, sample, tolerant):
    parse, text = sample
    document = yaml.safe_load(text)
    place: object = document
    while isinstance(place, dict | list) and place:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        key = data.draw(st.sampled_from(keys))
        if data.draw(st.booleans()):
            place[key] = data.draw(values)
            break
        place = place[key]
    assert findings_of(lambda: parse(yaml.safe_dump(document, allow_unicode=True), tolerant=tolerant)) != []
