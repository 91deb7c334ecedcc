"""Intrinsic functions of HOT that look at nothing but their arguments.

Each takes its argument after the functions inside of it have been resolved, and raises ValueError or TypeError when it
cannot work with it. None of them makes anything larger than `LARGEST`, however small its arguments are.
Source: HOT specification, "Intrinsic functions"; checked against OpenStack Heat.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote, urlencode, urlunsplit

LARGEST = 1024 * 1024
"""What a function may make: characters of a text, or values in a list with all that is in them."""
LONGEST_LIST = 10_000
"""What `repeat` may grow to."""
MOST_COMPARED = 500


class _Omitted:
    """The type of `OMITTED`."""


OMITTED: Final = _Omitted()
"""What an `if` without a third branch is when its condition is false: the key or item around it goes away."""


def fitting(name: str, size: float) -> None:
    """Refuse to make something of this size.

    Raises:
        ValueError: it is larger than `LARGEST`.
    """
    if size > LARGEST:
        raise ValueError(f'"{name}" would make {size:.0f} characters or values, at most {LARGEST} are allowed')


def effort(value: Any) -> int:
    """What a value costs whoever goes through it: one for each value in it, and more for long texts."""
    if isinstance(value, str):
        return 1 + len(value) // 64
    if isinstance(value, Mapping):
        return 1 + sum(effort(key) + effort(one) for key, one in value.items())
    return 1 + sum(map(effort, value)) if isinstance(value, list | tuple) else 1


def arguments(
    name: str, value: Any, *required: str, optional: Sequence[str] = (), open_ended: bool = False
) -> list[Any]:
    """The arguments of a function that takes a map, in the order of their names; optional ones may be None.

    Other keys are refused unless it is `open_ended`, as some functions of Heat are.
    """
    if not isinstance(value, Mapping):
        raise TypeError(f'Arguments to "{name}" must be a map')
    if not open_ended and (unknown := [key for key in value if key not in (*required, *optional)]):
        raise ValueError(f'"{name}": unknown argument {unknown[0]}')
    if missing := [key for key in required if key not in value]:
        raise ValueError(f'"{name}": {missing[0]} is missing')
    return [value.get(key) for key in (*required, *optional)]


def select(value: Any, path: Iterable[Any], absent: Any, *, indexes_as_text: bool = False) -> Any:
    """Walk into maps by key, and into lists and texts by index; `absent` where the path leads nowhere.

    An index written as a text counts only with `indexes_as_text`.
    """
    for part in path:
        is_sequence = isinstance(value, list | str)
        if not is_sequence and not isinstance(value, Mapping):
            return absent
        try:
            value = value[int(part) if is_sequence and indexes_as_text else part]
        except (KeyError, IndexError, TypeError, ValueError):
            return absent
    return value


def as_text(value: Any) -> str:
    """A value as it appears in a text: nothing, numbers, and JSON for maps and lists."""
    if value is None:
        return ""
    if isinstance(value, Mapping | list):
        return json.dumps(value, sort_keys=True)
    return str(value)


def str_replace(value: Any, *, name: str = "str_replace", plain: bool = False, strictness: int = 0) -> str:
    """Replace keys in a text, longer ones first, each place once.

    Args:
        value: `{template, params}`.
        name: of the function, for what it tells.
        plain: whether only texts and numbers may be put in.
        strictness: 1 requires each key to be in the text, 2 also that no value is empty.
    """
    template, params = arguments(name, value, "template", "params", open_ended=True)
    if not isinstance(template, str):
        raise TypeError(f'"{name}" template must be a string')
    if not isinstance(params, Mapping):
        raise TypeError(f'"{name}" params must be a map')
    if any(not isinstance(key, str) for key in params):
        raise TypeError(f'"{name}" param placeholders must be strings')
    texts: dict[str, str] = {}
    for key, one in params.items():
        if plain and isinstance(one, Mapping | list):
            raise TypeError(f'"{name}" params must be strings or numbers, param {key} is not valid')
        if strictness > 1 and (one in (None, "") or (isinstance(one, Mapping | list) and not one)):
            raise ValueError(
                f"{name} has an undefined or empty value for param {key}, must be a defined non-empty value"
            )
        texts[key] = as_text(one)
    text, missing = _replaced(name, template, texts)
    if strictness and missing:
        raise ValueError(f"The following params were not found in the template: {','.join(missing)}")
    return text


def _replaced(name: str, text: str, by: Mapping[str, str]) -> tuple[str, list[str]]:
    """A text with its keys replaced, and the keys that were not in it; what was put in is not looked at again."""
    parts: list[tuple[str, bool]] = [(text, True)]
    missing: list[str] = []
    for key in sorted(by, key=lambda one: (-len(one), one)):
        if key == "":
            raise ValueError("keys to be replaced must not be empty")
        places = sum(part.count(key) for part, is_open in parts if is_open)
        if not places:
            missing.append(key)
            continue
        fitting(name, sum(len(part) for part, _open in parts) + places * (len(by[key]) - len(key)))
        parts = [piece for part in parts for piece in _pieces(part, key, by[key])]
    return "".join(part for part, _open in parts), missing


def _pieces(part: tuple[str, bool], key: str, value: str) -> Iterator[tuple[str, bool]]:
    text, is_open = part
    if not is_open or key not in text:
        yield part
        return
    for number, piece in enumerate(text.split(key)):
        if number:
            yield value, False
        yield piece, True


def list_join(value: Any, *, name: str = "list_join", several: bool = True) -> str:
    """`[delimiter, list, ...]`: one text of all items; before 2015-10-15 exactly one list of texts."""
    if not isinstance(value, list) or len(value) < 2 or (not several and len(value) != 2):
        raise ValueError(f'Incorrect arguments to "{name}" should be: "{name}" : [ " ", [ "str1", "str2"]]')
    delimiter, *lists = value
    if any(not isinstance(one, list | None) and (one or not several) for one in lists):
        raise TypeError(f'"{name}" must operate on a list')
    if not isinstance(delimiter, str):
        raise TypeError(f'"{name}" delimiter must be a string')
    texts = [_joinable(item, several) for one in lists for item in one or ()]
    fitting(name, sum(map(len, texts)) + len(delimiter) * max(0, len(texts) - 1))
    return delimiter.join(texts)


def _joinable(item: Any, with_json: bool) -> str:
    if item is not None and not isinstance(item, str) and not (with_json and isinstance(item, Mapping | list)):
        kinds = "string, map or list" if with_json else "strings"
        raise TypeError(f"Items to join must be {kinds} not {str(item)[:200]}")
    return as_text(item)


def str_split(value: Any) -> Any:
    """`[delimiter, text]` or `[delimiter, text, index]`."""
    if not isinstance(value, list) or len(value) < 2:
        raise ValueError('Incorrect arguments to "str_split" should be: "str_split" : [ ",", "apples,pears", <index>]')
    delimiter, text = value[:2]
    if text is None:
        return None
    if not isinstance(delimiter, str) or not isinstance(text, str):
        raise TypeError('"str_split": delimiter and text must be strings')
    parts = text.split(delimiter)
    if len(value) == 2:
        return parts
    index = int(value[2])
    if not -len(parts) <= index < len(parts):
        raise ValueError(f'Incorrect index to "str_split" should be between 0 and {len(parts) - 1}')
    return parts[index]


def map_merge(value: Any) -> dict[str, Any]:
    """Merge maps; later ones win."""
    merged: dict[str, Any] = {}
    for one in _list("map_merge", value) if value != "" else ():
        if not isinstance(one, Mapping | None):
            raise TypeError(f"Incorrect arguments: Items to merge must be maps. {str(one)[:200]} is no map")
        merged.update(one or {})
    return merged


def map_replace(value: Any) -> dict[str, Any]:
    """`[map, {keys: ..., values: ...}]`: replace whole keys and whole values."""
    if not isinstance(value, list) or len(value) != 2 or not all(isinstance(one, Mapping | None) for one in value):
        raise TypeError('Incorrect arguments to "map_replace": arguments must be a list of two maps')
    source, how = value[0] or {}, value[1] or {}
    if unknown := [key for key in how if key not in ("keys", "values")]:
        raise ValueError(f'Incorrect arguments to "map_replace": {unknown[0]} is neither keys nor values')
    keys, values = how.get("keys") or {}, how.get("values") or {}
    result: dict[str, Any] = {}
    for key, one in source.items():
        new = key if keys.get(key) is None else keys[key]
        if new != key and new in source:
            raise ValueError(f"key replacement {new} collides with a key in the input map")
        if new != key and new in result:
            raise ValueError(f"key replacement {new} collides with a key in the output map")
        result[new] = values[one] if isinstance(one, str | int | float) and one in values else one
    return result


def repeat(value: Any, *, of_maps: bool = True, choosable: bool = True) -> list[Any]:
    """`{for_each, template, permutations}`: the template once for each item or each combination of items.

    Args:
        value: its arguments.
        of_maps: whether keys of maps may be gone through (since 2016-10-14).
        choosable: whether `permutations` may be false (since 2017-09-01).
    """
    each, template = arguments("repeat", value, "for_each", "template", open_ended=True)
    nested = value.get("permutations", True) if choosable else True
    if not isinstance(each, Mapping):
        raise TypeError('The "for_each" argument to "repeat" must contain a map')
    if not isinstance(nested, bool):
        raise TypeError('"permutations" should be boolean type for repeat function.')
    if not each:
        raise ValueError('"repeat" has nothing in its "for_each"')
    lists = [_items(one, of_maps=of_maps and nested) for one in each.values()]
    if not nested and len({len(one) for one, given in zip(lists, each.values(), strict=True) if given is not None}) > 1:
        raise ValueError("For repeat, the length of for_each values should be equal if no nested loop.")
    count = math.prod(map(len, lists)) if nested else min(map(len, lists))
    if count > LONGEST_LIST:
        raise ValueError(f'"repeat" would make {count} items, at most {LONGEST_LIST} are allowed')
    growth = _Growth()
    rows = itertools.product(*lists) if nested else zip(*lists, strict=False)
    return [_filled(template, list(zip(each, row, strict=True)), growth) for row in rows]


class _Growth:
    """How much `repeat` has made so far."""

    def __init__(self) -> None:
        self._total = 0

    def add(self, size: int) -> None:
        """Count what is made now, before it is.

        Raises:
            ValueError: that is too much.
        """
        self._total += size
        fitting("repeat", self._total)


def _items(value: Any, *, of_maps: bool) -> list[Any]:
    if value is None:
        return []
    if isinstance(value, Mapping) and of_maps:
        return list(value)
    if not isinstance(value, list):
        kinds = "lists or maps" if of_maps else "lists"
        raise TypeError(f'The values of the "for_each" argument to "repeat" must be {kinds}')
    return value


def _filled(template: Any, by: Sequence[tuple[str, Any]], growth: _Growth) -> Any:
    """A template with its variables filled in one after the other; the items are texts."""
    if isinstance(template, str):
        for key, item in by:
            if not isinstance(item, str):
                raise TypeError(f'"repeat" puts in texts only; {key} is {str(item)[:200]}')
            growth.add(template.count(key) * len(item))
            template = template.replace(key, item)
        growth.add(len(template))
        return template
    growth.add(1)
    if isinstance(template, list):
        return [_filled(one, by, growth) for one in template]
    if isinstance(template, Mapping):
        return {_filled(key, by, growth): _filled(one, by, growth) for key, one in template.items()}
    return template


def digest(value: Any) -> str:
    """`[algorithm, text]`: the hexadecimal digest of a text."""
    if not isinstance(value, list) or len(value) != 2 or not all(isinstance(one, str) for one in value):
        raise TypeError('Argument to function "digest" must be a list of strings: ["<algorithm>", "<value>"]')
    algorithm, text = value
    if algorithm.lower() not in hashlib.algorithms_available:
        raise ValueError(f"Algorithm must be one of {', '.join(sorted(hashlib.algorithms_available))}")
    return hashlib.new(algorithm, text.encode("latin-1"), usedforsecurity=False).hexdigest()


def filtered(value: Any) -> Any:
    """`[values, list]`: the list without the values."""
    if not isinstance(value, list) or len(value) != 2:
        raise TypeError('"filter" expected 2 arguments of the form [values, sequence]')
    unwanted, sequence = value
    if not sequence:
        return sequence
    if not isinstance(sequence, list):
        raise TypeError('"filter" only works with lists')
    if not unwanted:
        return sequence
    if not isinstance(unwanted, list):
        raise TypeError('"filter" filters a list of values')
    known = _Bag(unwanted)
    return [one for one in sequence if one not in known]


class _Bag:
    """Values that are looked up quickly where they can be."""

    def __init__(self, values: Iterable[Any] = ()) -> None:
        self._plain: set[Any] = set()
        self._others: list[Any] = []
        for value in values:
            self.add(value)

    def __contains__(self, value: Any) -> bool:
        return value in (self._others if isinstance(value, Mapping | list) else self._plain)

    def add(self, value: Any) -> None:
        """Put a value in.

        Raises:
            ValueError: there are too many lists and maps, which are compared one by one.
        """
        if not isinstance(value, Mapping | list):
            self._plain.add(value)
        elif len(self._others) < MOST_COMPARED:
            self._others.append(value)
        else:
            raise ValueError(f"more than {MOST_COMPARED} lists and maps are to be compared with one another")


def list_concat(value: Any, *, unique: bool = False) -> list[Any]:
    """One list of several; `unique` keeps the first of equal items."""
    result: list[Any] = []
    for one in _list("list_concat", value):
        if not isinstance(one, list | None):
            raise TypeError("Incorrect arguments: Items to concat must be lists.")
        result += list(one or ())
    if not unique:
        return result
    known, distinct = _Bag(), []
    for item in result:
        if item not in known:
            known.add(item)
            distinct.append(item)
    return distinct


def contains(value: Any) -> bool:
    """`[value, sequence]`: whether the value is in the sequence."""
    if not isinstance(value, list) or len(value) != 2:
        raise TypeError('Arguments to "contains" must be of the form: [value1, [value1, value2]]')
    wanted, sequence = value
    if not isinstance(sequence, list | str):
        raise TypeError('Second argument to "contains" should be a sequence.')
    return wanted in sequence


URL_PARTS = ("scheme", "username", "password", "host", "port", "path", "query", "fragment")


def make_url(value: Any) -> str:
    """Put the parts of a URL together, escaped."""
    arguments("make_url", value, optional=URL_PARTS)
    for key, one in value.items():
        wanted, kind = (Mapping, "map") if key == "query" else (str, "string")
        if key != "port" and not isinstance(one, wanted):
            raise TypeError(f'The "{key}" argument to "make_url" must be a {kind}')
    scheme, path, fragment = (str(value.get(key, "")) for key in ("scheme", "path", "fragment"))
    if ":" in scheme:
        raise ValueError("URL \"scheme\" should not contain ':'")
    asked = urlencode(dict(value.get("query", {}))).replace("%2F", "/")
    return str(urlunsplit((scheme, _netloc(value), quote(path), asked, quote(fragment))))


def _netloc(parts: Mapping[str, Any]) -> str:
    user, password = (quote(parts.get(key, ""), safe="") for key in ("username", "password"))
    access = f"{user}{':' if password else ''}{password}@" if user or password else ""
    host = parts.get("host", "")
    host = quote(host[1:-1] if host.startswith("[") and host.endswith("]") else host, safe=":")
    host = f"[{host}]" if ":" in host else host
    if "port" not in parts:
        return access + host
    try:
        port = int(parts["port"])
    except (ValueError, TypeError):
        raise ValueError(f'Invalid URL port "{parts["port"]}" for make_url') from None
    if not 0 < port <= 65535:
        raise ValueError(f"Invalid URL port {port}, must be in range 1-65535")
    return f"{access}{host}:{parts['port']}"


def yaql_arguments(value: Any) -> tuple[str, Any]:
    """`{expression, data}` of a YAQL query, checked."""
    expression, data = arguments("yaql", value, "expression", optional=("data",))
    if not isinstance(expression, str):
        raise TypeError('The "expression" argument to yaql must contain a string.')
    return expression, data if "data" in value else {}


def equals(value: Any) -> bool:
    """`[a, b]`: whether both are equal."""
    if not isinstance(value, list) or len(value) != 2:
        raise ValueError('Arguments to "equals" must be of the form: [value_1, value_2]')
    return bool(value[0] == value[1])


def text_itself(value: Any) -> str:
    """Fn::Base64, which changes nothing: user data is taken as plain text."""
    if not isinstance(value, str):
        raise TypeError('"Fn::Base64" argument must be a string')
    return value


def cfn_split(value: Any) -> list[str]:
    """Fn::Split: `[delimiter, text]`."""
    if not isinstance(value, list) or len(value) != 2 or not all(isinstance(one, str) for one in value):
        raise TypeError('Incorrect arguments to "Fn::Split" should be: "Fn::Split" : [ ",", "str1,str2"]')
    delimiter, text = value
    return list(text.split(delimiter))


def cfn_select(value: Any) -> Any:
    """Fn::Select: `[index, collection]`; JSON text is looked into like what it means."""
    if not isinstance(value, list) or len(value) != 2:
        raise ValueError('Arguments to "Fn::Select" must be of the form [index, collection]')
    index, found = value
    if found in ("", None):
        return ""
    if isinstance(found, str):
        found = json.loads(found)
    if isinstance(found, Mapping):
        if not isinstance(index, str):
            raise TypeError('Index to "Fn::Select" must be a string')
        return found.get(index, "")
    if not isinstance(found, list):
        raise TypeError("Arguments to Fn::Select not fully resolved")
    try:
        number = int(index)
    except ValueError:
        raise TypeError('Index to "Fn::Select" must be an integer') from None
    return select(found, [number], "")


def cfn_replace(value: Any) -> str:
    """Fn::Replace: `[mapping, text]`."""
    if not isinstance(value, list) or len(value) != 2:
        raise ValueError('Incorrect arguments to "Fn::Replace" should be: [mapping, text]')
    return str_replace({"template": value[1], "params": value[0]}, name="Fn::Replace", plain=True)


def member_list_to_map(value: Any) -> dict[str, str]:
    """Fn::MemberListToMap: `[key name, value name, [".member.0.Name=key", ".member.0.Value=value", ...]]`."""
    if not isinstance(value, list) or len(value) != 3 or not isinstance(value[2], list):
        raise TypeError('Wrong arguments to "Fn::MemberListToMap": [key name, value name, list] is needed')
    key_name, value_name, members = value
    parts = [str(one).partition("=") for one in members]
    given = {tuple(name.removeprefix(".member.").partition(".")[::2]): text for name, _, text in parts}
    return {text: given[number, value_name] for (number, name), text in given.items() if name == key_name}


def _list(name: str, value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError(f'Incorrect arguments to "{name}": a list is needed')
    return value
