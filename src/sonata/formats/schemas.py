"""JSON Schemas of our file formats, for editors and other tools. `tools/schemas.py` writes them into `schemas/`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from sonata.formats.descriptor_documents import NsdDocument, VnfdDocument
from sonata.formats.package_documents import ProjectDocument, SonataManifest, TangoManifest
from sonata.formats.recipe import RecipeDocument
from sonata.formats.scenario_document import ScenarioDocument
from sonata.formats.topology_document import TopologyDocument

_MODELS: Mapping[str, tuple[type[BaseModel], str]] = {
    "topology": (TopologyDocument, "Sonata topology file"),
    "scenario": (ScenarioDocument, "Sonata scenario file"),
    "nsd": (NsdDocument, "Network service descriptor, SONATA and 5GTANGO"),
    "vnfd": (VnfdDocument, "VNF descriptor, SONATA and 5GTANGO"),
    "recipe": (RecipeDocument, "Image recipe"),
    "project": (ProjectDocument, "Project file, project.yml"),
    "son-manifest": (SonataManifest, "Package descriptor of a .son package"),
    "tgo-manifest": (TangoManifest, "Package descriptor of a .tgo package (NAPD)"),
}


def schema_files() -> dict[str, str]:
    """Text of each schema file by its name."""
    return {f"{name}.schema.json": _schema(model, title) for name, (model, title) in _MODELS.items()}


def _schema(model: type[BaseModel], title: str) -> str:
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": title}
    body = {key: value for key, value in model.model_json_schema(by_alias=True).items() if key != "title"}
    _close(body)
    return json.dumps({**head, **body}, indent=2, ensure_ascii=False) + "\n"


def _close(schema: Any) -> None:
    """Forbid keys that match none of the patterns, which Pydantic leaves open."""
    if isinstance(schema, dict):
        if "patternProperties" in schema:
            schema.setdefault("additionalProperties", False)
        for value in schema.values():
            _close(value)
    elif isinstance(schema, list):
        for value in schema:
            _close(value)
