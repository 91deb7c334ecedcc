"""Quick dataclasses are the standard library's in all that they do; the library itself is the judge."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
from collections.abc import Mapping
from dataclasses import FrozenInstanceError, field
from typing import Any, ClassVar, get_type_hints

import msgspec
import pytest

from sonata._lib import values

OPTIONS = (
    {"frozen": True, "slots": True},
    {"frozen": True, "slots": True, "kw_only": True},
    {"frozen": True, "slots": True, "eq": False},
    {"frozen": True},
    {"slots": True},
    {"eq": False},
    {"slots": True, "eq": False},
)
METHODS = ("__init__", "__repr__", "__eq__", "__hash__")


def defined(dataclass: Any, options: Mapping[str, bool]) -> Any:
    @dataclass(**options)
    class Value:
        """A value."""

        kind: ClassVar[str] = "value"
        name: str
        size: int = 3
        secret: str = field(default="", repr=False)
        parts: Mapping[str, int] = field(default_factory=dict, hash=False)
        fixed: str = field(default="constant", init=False)

        @property
        def twice(self) -> int:
            """Twice the size."""
            return self.size * 2

        def __post_init__(self) -> None:
            if self.size < 0:
                raise ValueError("a size is not negative")

    return Value


def outcome(call: Any) -> Any:
    try:
        return call()
    except Exception as error:  # noqa: BLE001  # whatever it is, it must be the same
        return type(error), str(error)


def told(kind: Any) -> list[Any]:
    """What a class does, in values that can be compared."""
    one, same, other = kind(name="a"), kind(name="a"), kind(name="b", size=4, secret="s", parts={"x": 1})
    changed = outcome(lambda: setattr(one, "size", 8))
    return [
        repr(one).rpartition(".")[2] if kind.__repr__ is not object.__repr__ else None,
        [one == same, one == other, one != same, one == "a", hash(kind) is not None],
        outcome(lambda: hash(one) == hash(same)),
        changed,
        outcome(lambda: delattr(other, "name")),
        outcome(lambda: setattr(same, "unknown", 1)) is None,
        outcome(lambda: kind("a").name),
        outcome(lambda: kind()),
        outcome(lambda: kind(name="a", size=-1)),
        [each.name for each in dataclasses.fields(kind)],
        (one.fixed, one.twice, kind.kind, kind.__match_args__, kind.__doc__),
        dataclasses.asdict(dataclasses.replace(same, size=5)),
        outcome(lambda: copy.copy(same).size),
        outcome(lambda: copy.deepcopy(same).parts),
        msgspec.to_builtins(same),
        outcome(lambda: msgspec.convert({"name": "c"}, kind).name),
    ]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_does_what_the_standard_library_does(options: Mapping[str, bool]) -> None:
    assert told(defined(values.dataclass, options)) == told(defined(dataclasses.dataclass, options))


@pytest.mark.parametrize("first", METHODS)
def test_any_method_may_be_the_first(first: str) -> None:
    kind = defined(values.dataclass, OPTIONS[0])
    one = object.__new__(kind)
    for name in ("name", "size", "secret", "parts", "fixed"):
        object.__setattr__(one, name, 1)
    arguments = {"__init__": ("a",), "__eq__": (one,)}.get(first, ())
    assert getattr(one, first)(*arguments) is not NotImplemented
    assert one == one
    assert isinstance(hash(one), int)
    assert "size=" in repr(kind("a"))


def test_methods_are_written_once_and_when_the_first_is_used() -> None:
    kind = defined(values.dataclass, OPTIONS[0])
    before = [kind.__dict__[name] for name in METHODS]
    kind("a")
    written = [kind.__dict__[name] for name in METHODS]
    kind("b")
    assert not any(map(inspect.isfunction, before))
    assert all(map(inspect.isfunction, written))
    assert [kind.__dict__[name] for name in METHODS] == written


def test_signatures_and_hints_are_there_for_those_who_inspect() -> None:
    judge = defined(dataclasses.dataclass, OPTIONS[0])
    assert inspect.signature(defined(values.dataclass, OPTIONS[0])) == inspect.signature(judge)
    hints = get_type_hints(defined(values.dataclass, OPTIONS[0]).__init__)
    assert hints == get_type_hints(judge.__init__)


def test_what_a_class_defines_itself_stays() -> None:
    @values.dataclass(frozen=True, slots=True)
    class Own:
        name: str

        def __repr__(self) -> str:
            return "own"

        def __eq__(self, other: object) -> bool:
            return True

        def __hash__(self) -> int:
            return 7

    assert (repr(Own("a")), Own("a") == Own("b"), hash(Own("a"))) == ("own", True, 7)


def test_sub_classes_have_the_fields_of_their_base() -> None:
    @values.dataclass(frozen=True, slots=True)
    class Base:
        name: str

    @values.dataclass(frozen=True, slots=True)
    class Derived(Base):
        size: int = 1

    assert Derived("a", 2) == Derived(size=2, name="a") != Derived("a")
    assert (Base("a").name, Derived("b").name, Base("a") == Derived("a")) == ("a", "b", False)
    with pytest.raises(FrozenInstanceError, match="cannot assign to field 'name'"):
        Derived("a").name = "b"  # type: ignore[misc]


@values.dataclass(frozen=True, slots=True)
class Pickled:
    name: str
    size: int = 2


def test_travels_between_processes() -> None:
    assert pickle.loads(pickle.dumps(Pickled("a"))) == Pickled("a")


def test_is_read_from_json() -> None:
    assert msgspec.convert({"name": "a"}, Pickled) == Pickled("a", 2)
    with pytest.raises(msgspec.ValidationError, match="Expected `int`"):
        msgspec.convert({"name": "a", "size": "b"}, Pickled)


def test_methods_of_all_classes_can_be_written_at_once() -> None:
    @values.dataclass(frozen=True, slots=True)
    class Waiting:
        name: str

    before = Waiting.__dict__["__init__"]
    values.write_all()
    assert Waiting.__dict__["__init__"] is not before
    assert Waiting("a") == Waiting("a")
