"""Cases in which Heat and this project must agree, from `cases.yaml` and from the corpus of templates."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

Case = dict[str, Any]

VERSIONS = (
    "2013-05-23", "2014-10-16", "2015-04-30", "2015-10-15", "2016-04-08", "2016-10-14", "2017-02-24", "2017-09-01",
    "2018-03-02", "2018-08-31", "2021-04-16",
)  # fmt: skip
SOME_VERSIONS = (VERSIONS[0], VERSIONS[5], VERSIONS[6], VERSIONS[-1])
"""Those between which declarations and sections differ."""

PARAMETERS: dict[str, Any] = {
    "text": "hello",
    "number": 7,
    "yes": True,
    "no": False,
    "map": {"a": [1, {"b": 2}], "k": "v"},
    "list": ["x", "y", "z"],
    "empty": "",
}
ATTRIBUTES: dict[str, Any] = {
    "r": {"x": {"y": [10, 11]}, "text": "t", "none": None, "json": '{"a": 1}'},
    "s": {"list": ["a", "b"], "number": 3},
}
CONDITIONS: dict[str, Any] = {
    "t": True,
    "f": False,
    "same": {"equals": [{"get_param": "text"}, "hello"]},
    "other": {"equals": [{"get_param": "text"}, "bye"]},
    "both": {"and": ["same", {"not": "other"}]},
    "either": {"or": ["other", "f"]},
    "param": {"get_param": "yes"},
}
FILES = {"f": "content of f"}
FACADE = {"metadata": {"m": 1}, "deletion_policy": "Retain", "update_policy": {"u": 2}}

CORPUS = Path(os.environ.get("SONATA_HOT_CORPUS") or Path(__file__).parents[3] / "shared" / "corpus")


def snippet(value: Any, version: str) -> Case:
    """A case of a snippet with the parameters, attributes and files of this module."""
    return {
        "kind": "snippet",
        "version": version,
        "snippet": value,
        "parameters": PARAMETERS,
        "attributes": ATTRIBUTES,
        "conditions": CONDITIONS if version >= "2016-10-14" else {},
        "files": FILES,
        "facade": FACADE,
    }


def written_cases() -> Iterator[Case]:
    """The cases of `cases.yaml`, for each version for which they matter."""
    table = yaml.safe_load(Path(__file__).with_name("cases.yaml").read_text())
    for value in table["snippets"]:
        yield from (snippet(value, version) for version in VERSIONS)
    for version in SOME_VERSIONS:
        for one in table["parameters"]:
            for given in one["given"]:
                yield {"kind": "parameter", "version": version, "declaration": one["declaration"], "given": given}
        for text in table["templates"]:
            yield {"kind": "template", "version": version, "text": f"heat_template_version: {version}\n{text}"}


def corpus_cases() -> Iterator[Case]:
    """Published templates, where a copy of them is at hand."""
    for path in sorted(CORPUS.rglob("*.yaml")):
        text = path.read_text(errors="replace")
        if text.lstrip().startswith("heat_template_version:"):
            document = yaml.safe_load(text)
            given = {name: _needed(one) for name, one in (document.get("parameters") or {}).items()}
            yield {
                "kind": "template",
                "version": path.name,
                "text": json.dumps(document, default=str),
                "parameters": {name: value for name, value in given.items() if value is not None},
            }


def _needed(parameter: dict[str, Any]) -> Any:
    """A value for a parameter without default; constraints that only a cloud can check are left out."""
    kept = [one for one in parameter.pop("constraints", []) if "custom_constraint" not in one]
    if kept:
        parameter["constraints"] = kept
    values: dict[str, Any] = {"number": 1, "json": {}, "comma_delimited_list": ["x"], "boolean": True}
    return None if "default" in parameter else values.get(parameter.get("type", ""), "x")
