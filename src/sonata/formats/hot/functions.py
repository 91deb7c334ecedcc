"""Intrinsic functions of HOT that look at nothing but their arguments.

Each takes its argument after the functions inside of it have been resolved, and raises ValueError or TypeError when it
cannot work with it. Source: HOT specification, "Intrinsic functions".
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final
from urllib.parse import quote, urlencode

import yaql
from yaql.language.exceptions import YaqlException

YAQL_MOST_ITEMS = 200
YAQL_MEMORY_BYTES = 10_000
LONGEST_LIST = 10_000
"""What `repeat` may grow to."""
DIGESTS = ("md5", "sha1", "sha224", "sha256", "sha384", "sha512")


class _Omitted:
    """The type of `OMITTED`."""


OMITTED: Final = _Omitted()
"""What an `if` without a third branch is when its condition is false: the key or item around it goes away."""


def arguments(name: str, value: Any, *required: str, optional: Sequence[str] = ()) -> list[Any]:
    """The arguments of a function that takes a map, in the order of their names; optional ones may be None."""
    if not isinstance(value, Mapping):
        raise TypeError(f'Arguments to "{name}" must be a map.')
    if unknown := [key for key in value if key not in (*required, *optional)]:
        raise ValueError(f'"{name}": unknown argument {unknown[0]}')
    if missing := [key for key in required if key not in value]:
        raise ValueError(f'"{name}": {missing[0]} is missing')
    return [value.get(key) for key in (*required, *optional)]


def select(value: Any, path: Iterable[Any], absent: Any) -> Any:
    """Walk into maps by key and lists by index; `absent` where the path leads nowhere."""
    for part in path:
        if isinstance(value, str):
            value = _decoded(value)
        try:
            value = value[int(part)] if isinstance(value, list) else value[str(part)]
        except (KeyError, IndexError, TypeError, ValueError):
            return absent
    return value


def _decoded(text: str) -> Any:
    """JSON text is walked into like what it means."""
    try:
        return json.loads(text)
    except ValueError:
        return text


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
        name: of the function, for what it tells.
        plain: whether only texts and numbers may be put in.
        strictness: 1 requires each key to be in the text, 2 also that no value is empty.
    """
    template, params = arguments(name, value, "template", "params")
    if not isinstance(template, str):
        raise TypeError(f'"{name}" template must be a string')
    if not isinstance(params, Mapping):
        raise TypeError(f'"{name}" params must be a map')
    if plain and any(isinstance(one, Mapping | list) for one in params.values()):
        raise TypeError(f'"{name}" params must be strings or numbers')
    texts = {str(key): as_text(one) for key, one in params.items()}
    if strictness > 1 and (empty := sorted(key for key, text in texts.items() if not text)):
        raise ValueError(f"The following params are empty or None: {', '.join(empty)}")
    missing = sorted(key for key in texts if key not in template)
    if strictness and missing:
        raise ValueError(f"The following params were not found in the template: {','.join(missing)}")
    return replaced(template, texts)


def replaced(text: str, by: Mapping[str, str]) -> str:
    """Replace keys in a text; what was put in is not looked at again."""
    parts: list[tuple[str, bool]] = [(text, True)]
    for key in sorted(by, key=lambda one: (len(one), one), reverse=True):
        if key == "":
            raise ValueError("keys to be replaced must not be empty")
        parts = [piece for part in parts for piece in _pieces(part, key, by[key])]
    return "".join(part for part, _open in parts)


def _pieces(part: tuple[str, bool], key: str, value: str) -> Iterator[tuple[str, bool]]:
    text, is_open = part
    if not is_open or key not in text:
        yield part
        return
    for number, piece in enumerate(text.split(key)):
        if number:
            yield value, False
        yield piece, True


def list_join(value: Any, *, several: bool = True) -> str:
    """`[delimiter, list, ...]`: one text of all items; before 2015-10-15 exactly one list of texts."""
    if not isinstance(value, list) or len(value) < 2 or (not several and len(value) != 2):
        raise ValueError('Incorrect arguments to "list_join": [delimiter, [items]] is needed')
    delimiter, *lists = value
    if not isinstance(delimiter, str):
        raise TypeError('"list_join": the delimiter must be a string')
    if any(not isinstance(one, list | None) for one in lists):
        raise TypeError('"list_join" must operate on a list')
    items = [item for one in lists for item in one or ()]
    if not several and any(isinstance(item, Mapping | list) for item in items):
        raise TypeError("Items to join must be strings")
    return delimiter.join(as_text(item) for item in items)


def str_split(value: Any) -> Any:
    """`[delimiter, text]` or `[delimiter, text, index]`."""
    if not isinstance(value, list) or len(value) not in (2, 3):
        raise ValueError('Incorrect arguments to "str_split": [delimiter, string, index] is needed')
    delimiter, text = value[:2]
    if not isinstance(delimiter, str) or not isinstance(text, str | None):
        raise TypeError('"str_split": delimiter and text must be strings')
    parts = (text or "").split(delimiter)
    if len(value) == 2:
        return parts
    index = int(value[2])
    if not -len(parts) <= index < len(parts):
        raise ValueError(f'Incorrect index to "str_split": {index} is not in 0..{len(parts) - 1}')
    return parts[index]


def map_merge(value: Any) -> dict[str, Any]:
    """Merge maps; later ones win."""
    merged: dict[str, Any] = {}
    for one in _list("map_merge", value):
        if not isinstance(one, Mapping | None):
            raise TypeError('Incorrect arguments: Items to merge with "map_merge" must be maps.')
        merged.update(one or {})
    return merged


def map_replace(value: Any) -> dict[str, Any]:
    """`[map, {keys: ..., values: ...}]`: replace whole keys and whole values."""
    if not isinstance(value, list) or len(value) != 2 or not all(isinstance(one, Mapping | None) for one in value):
        raise TypeError('Incorrect arguments to "map_replace": a list of two maps is needed')
    source, how = value[0] or {}, value[1] or {}
    if unknown := [key for key in how if key not in ("keys", "values")]:
        raise ValueError(f'Incorrect arguments to "map_replace": {unknown[0]} is neither keys nor values')
    keys, values = how.get("keys") or {}, how.get("values") or {}
    result: dict[str, Any] = {}
    for key, one in source.items():
        new = keys.get(key, key)
        if new in result or (new != key and new in source):
            raise ValueError(f'"map_replace" key collision after replacement: {new}')
        result[new] = values[one] if isinstance(one, str | int | float) and one in values else one
    return result


def repeat(value: Any, *, in_keys: bool = True, nested: bool = True) -> list[Any]:
    """`{for_each, template, permutations}`: the template once for each item or each combination of items.

    Args:
        in_keys: whether keys of maps are replaced, too (since 2016-10-14).
        nested: whether `permutations` may be given and items of maps may be used (since 2017-09-01).
    """
    each, template, permutations = arguments(
        "repeat", value, "for_each", "template", optional=("permutations",) if nested else ()
    ) + [None] * (not nested)
    if not isinstance(each, Mapping) or not each:
        raise TypeError('The "for_each" argument to "repeat" must contain a map')
    lists = [_items(one) for one in each.values()]
    if permutations is False:
        if len({len(one) for one in lists}) > 1:
            raise ValueError('For "repeat", the lists of for_each must have the same length without permutations')
        rows: Iterable[tuple[Any, ...]] = zip(*lists, strict=True)
    else:
        rows = itertools.product(*lists)
    found = list(itertools.islice(rows, LONGEST_LIST + 1))
    if len(found) > LONGEST_LIST:
        raise ValueError(f'"repeat" would make more than {LONGEST_LIST} items')
    return [_filled(template, dict(zip(map(str, each), row, strict=True)), in_keys) for row in found]


def _items(value: Any) -> list[Any]:
    if value is None:
        return []
    if isinstance(value, Mapping):
        return list(value)
    return _list("repeat", value)


def _filled(template: Any, by: Mapping[str, Any], in_keys: bool) -> Any:
    if isinstance(template, str):
        # A template that is just the key becomes the item itself, whatever its type.
        return by[template] if template in by else replaced(template, {key: as_text(one) for key, one in by.items()})
    if isinstance(template, list):
        return [_filled(one, by, in_keys) for one in template]
    if isinstance(template, Mapping):
        return {
            (as_text(_filled(key, by, in_keys)) if in_keys else key): _filled(one, by, in_keys)
            for key, one in template.items()
        }
    return template


def digest(value: Any) -> str:
    """`[algorithm, text]`: the hexadecimal digest of a text."""
    if not isinstance(value, list) or len(value) != 2 or not all(isinstance(one, str) for one in value):
        raise TypeError('Arguments to "digest" must be a list: [algorithm, value]')
    algorithm, text = value
    if algorithm not in DIGESTS:
        raise ValueError(f"Algorithm must be one of {', '.join(DIGESTS)}")
    return hashlib.new(algorithm, text.encode(), usedforsecurity=False).hexdigest()


def filtered(value: Any) -> list[Any]:
    """`[values, list]`: the list without the values."""
    if not isinstance(value, list) or len(value) != 2:
        raise TypeError('Arguments to "filter" must be a list: [values, sequence]')
    unwanted, sequence = value
    if sequence is None:
        return []
    if not isinstance(unwanted, list) or not isinstance(sequence, list):
        raise TypeError('"filter" works with lists')
    return [one for one in sequence if one not in unwanted]


def list_concat(value: Any, *, unique: bool = False) -> list[Any]:
    """One list of several; `unique` keeps the first of equal items."""
    result: list[Any] = []
    for one in _list("list_concat", value):
        if not isinstance(one, list | None):
            raise TypeError("Incorrect arguments: Items to concat must be lists")
        result += [item for item in one or ()]
    if not unique:
        return result
    return [item for index, item in enumerate(result) if item not in result[:index]]


def contains(value: Any) -> bool:
    """`[value, sequence]`: whether the value is in the sequence."""
    if not isinstance(value, list) or len(value) != 2:
        raise TypeError('Arguments to "contains" must be of the form [value, sequence]')
    wanted, sequence = value
    if not isinstance(sequence, list | str | Mapping):
        raise TypeError('Second argument to "contains" should be a sequence')
    return as_text(wanted) in sequence if isinstance(sequence, str) else wanted in sequence


def make_url(value: Any) -> str:
    """Put the parts of a URL together."""
    names = ("scheme", "username", "password", "host", "port", "path", "query", "fragment")
    scheme, user, password, host, port, path, query, fragment = arguments("make_url", value, optional=names)
    if not scheme and not host and not path:
        raise ValueError('"make_url" needs scheme, host or path')
    netloc = _netloc(user, password, host, port)
    url = f"{scheme}:" if scheme else ""
    url += f"//{netloc}" if netloc else ""
    if path:
        url += quote(path if path.startswith("/") or not netloc else f"/{path}", safe="/")
    if query:
        url += "?" + urlencode({key: as_text(one) for key, one in query.items()})
    return url + (f"#{quote(fragment)}" if fragment else "")


def _netloc(user: str | None, password: str | None, host: str | None, port: Any) -> str:
    text = ""
    if user:
        text = quote(user, safe="") + (f":{quote(password, safe='')}" if password else "") + "@"
    if host:
        text += f"[{host}]" if ":" in host and not host.startswith("[") else host
    if port not in (None, ""):
        if not 0 < int(port) < 65536:
            raise ValueError(f'Invalid URL port "{port}"')
        text += f":{int(port)}"
    return text


@lru_cache(maxsize=1)
def _yaql_engine() -> Any:
    options = {"yaql.limitIterators": YAQL_MOST_ITEMS, "yaql.memoryQuota": YAQL_MEMORY_BYTES}
    return yaql.YaqlFactory().create(options=options)


def yaql_query(value: Any) -> Any:
    """`{expression, data}`: what a YAQL expression finds in `$.data`; memory and iterations are bounded as in Heat."""
    expression, data = arguments("yaql", value, "expression", "data")
    if not isinstance(expression, str):
        raise TypeError('"yaql": the expression must be a string')
    try:
        found = _yaql_engine()(expression).evaluate(data={"data": data}, context=yaql.create_context())
    except (YaqlException, KeyError, AttributeError) as error:
        raise ValueError(f"yaql `{expression}`: {error}") from error
    return found


def equals(value: Any) -> bool:
    """`[a, b]`: whether both are equal."""
    if not isinstance(value, list) or len(value) != 2:
        raise ValueError('Arguments to "equals" must be of the form: [value_1, value_2]')
    return bool(value[0] == value[1])


def base64_text(value: Any) -> str:
    """Fn::Base64."""
    if not isinstance(value, str):
        raise TypeError('"Fn::Base64" must be a string')
    return base64.b64encode(value.encode()).decode()


def _list(name: str, value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError(f'Incorrect arguments to "{name}": a list is needed')
    return value
