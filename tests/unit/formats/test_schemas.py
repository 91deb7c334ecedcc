"""Published JSON Schemas are those of the readers, and judge as the readers do."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
import yaml
from tests.unit.formats.samples import NSD, PROJECT, VNFD
from tests.unit.formats.test_topology import WHOLE

from sonata.formats.schemas import schema_files

ROOT = Path(__file__).parents[3]
EXAMPLES = {
    **dict.fromkeys([f"examples/{name}/topology.yaml" for name in ("cdn", "line", "ring")], "topology"),
    "examples/cdn/project.yml": "project",
    "examples/cdn/descriptors/cdn-nsd.yml": "nsd",
    **dict.fromkeys(
        [str(path.relative_to(ROOT)) for path in sorted((ROOT / "examples/cdn/images").glob("*.yaml"))], "recipe"
    ),
    **dict.fromkeys([f"examples/cdn/descriptors/{name}-vnfd.yml" for name in ("vcache", "vtc", "vtu")], "vnfd"),
}


def is_valid(kind, document):
    schema = json.loads(schema_files()[f"{kind}.schema.json"])
    jsonschema.Draft202012Validator.check_schema(schema)
    return not list(jsonschema.Draft202012Validator(schema).iter_errors(document))


@pytest.mark.parametrize("name", sorted(schema_files()))
def test_committed_file_is_current(name):
    committed = ROOT / "schemas" / name
    assert committed.read_text() == schema_files()[name], "run tools/schemas.py"


@pytest.mark.parametrize(("path", "kind"), EXAMPLES.items())
def test_examples_are_valid(path, kind):
    assert is_valid(kind, yaml.safe_load((ROOT / path).read_text()))


@pytest.mark.parametrize(
    ("kind", "text", "old", "new"),
    [
        ("topology", WHOLE, "delay: 20ms", "dely: 20ms"),
        ("topology", WHOLE, "delay: 20ms", "delay: 20"),
        ("topology", WHOLE, "core: ", "co_re: "),
        ("topology", WHOLE, "kind: Topology", "kind: Map"),
        ("nsd", NSD, "E-LAN", "E-Lan"),
        ("nsd", NSD, "name: chain", "name: Chain!"),
        ("vnfd", VNFD, "vcpus: 2", "vcpus: 0"),
        ("project", PROJECT, "path: nsd.yml, ", ""),
    ],
)
def test_schema_refuses_what_the_reader_refuses(kind, text, old, new):
    assert old in text
    assert is_valid(kind, yaml.safe_load(text))
    assert not is_valid(kind, yaml.safe_load(text.replace(old, new, 1)))


def test_bare_pop_is_valid():
    assert is_valid("topology", yaml.safe_load(WHOLE.replace("pops:\n", "pops:\n  third:\n")))
