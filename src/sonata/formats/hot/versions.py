"""Template versions and the functions that each of them knows.

Source: HOT specification, "Heat template version" and "Intrinsic functions".
"""

from __future__ import annotations

from collections.abc import Mapping

NAMES: Mapping[str, str] = {
    "newton": "2016-10-14",
    "ocata": "2017-02-24",
    "pike": "2017-09-01",
    "queens": "2018-03-02",
    "rocky": "2018-08-31",
    "wallaby": "2021-04-16",
}
"""Release names that stand for a date."""

_FIRST = frozenset(("get_param", "get_resource", "get_attr", "get_file", "list_join", "str_replace", "resource_facade"))
_2013 = _FIRST | {
    "Fn::Select", "Fn::Join", "Fn::Split", "Fn::Replace", "Fn::Base64", "Fn::MemberListToMap", "Fn::ResourceFacade",
    "Fn::GetAZs", "Ref",
}  # fmt: skip
_2014 = _FIRST | {"Fn::Select"}
_2015_04 = _2014 | {"repeat", "digest"}
_2015_10 = (_2015_04 - {"Fn::Select"}) | {"str_split"}
_2016_04 = _2015_10 | {"map_merge"}
_2016_10 = _2016_04 | {"yaql", "map_replace", "if"}
_2017_02 = _2016_10 | {"filter", "str_replace_strict"}
_2017_09 = _2017_02 | {"make_url", "list_concat", "list_concat_unique", "str_replace_vstrict", "contains"}

FUNCTIONS: Mapping[str, frozenset[str]] = {
    "2013-05-23": _2013,
    "2014-10-16": _2014,
    "2015-04-30": _2015_04,
    "2015-10-15": _2015_10,
    "2016-04-08": _2016_04,
    "2016-10-14": _2016_10,
    "2017-02-24": _2017_02,
    "2017-09-01": _2017_09,
    "2018-03-02": _2017_09,
    "2018-08-31": _2017_09,
    "2021-04-16": _2017_09,
}

ALL_FUNCTIONS = frozenset().union(*FUNCTIONS.values())
_LOGIC = frozenset(("get_param", "equals", "not", "and", "or"))
WITH_CONDITIONS = "2016-10-14"
"""First version with conditions, `external_id` of resources, and lower-case deletion policies."""


def canonical(version: object) -> str:
    """The date of a version given as date or release name; empty when there is no such version."""
    text = NAMES.get(str(version), str(version))
    return text if text in FUNCTIONS else ""


def condition_functions(version: str) -> frozenset[str]:
    """The functions that a version takes in conditions."""
    if version < WITH_CONDITIONS:
        return frozenset()
    return _LOGIC | {"yaql", "contains"} if version >= "2017-09-01" else _LOGIC
