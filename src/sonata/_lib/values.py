"""Dataclasses that are quick to define: their methods are written when the first is used.

The standard library writes and compiles up to six methods for each dataclass at once. A process of ours defines
hundreds of dataclasses, of which it uses some; half of the time until an emulation was ready went into their methods.
Here they are stand-ins at first. Whoever looks one up, to call or to inspect it, has the standard library write the
methods of that class, which take their places: the class is then what `dataclasses.dataclass` had made of it.

Example:
    >>> from sonata._lib.values import dataclass
    >>> @dataclass(frozen=True, slots=True)
    ... class Point:
    ...     x: int
    ...     y: int = 0
    >>> Point(1) == Point(1, 0)
    True
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass
else:

    def dataclass(*, frozen: bool = False, slots: bool = False, eq: bool = True, kw_only: bool = False) -> Any:
        """A decorator of classes as `dataclasses.dataclass`, without `order`, `unsafe_hash` and fields for `__init__`.

        Dataclasses made here are neither sub-classes nor base classes of frozen ones made there.
        """
        return lambda cls: _with_stand_ins(
            cls, _wanted(cls, eq=eq, frozen=frozen), frozen=frozen, slots=slots, kw_only=kw_only
        )


_unwritten: list[Callable[[], Any]] = []


def write_all() -> None:
    """Write the methods of all classes that stand now: for a process whose forks shall not do it, each for itself."""
    for write in _unwritten:
        write()
    _unwritten.clear()


def _wanted(cls: type, *, eq: bool, frozen: bool) -> list[str]:
    """The methods that the standard library would write; what a class defines itself stays, as there."""
    names = ["__init__", "__repr__", *(("__eq__",) if eq else ())]
    wanted = [name for name in names if name not in cls.__dict__]
    says_hash = cls.__dict__.get("__hash__") is not None  # who defines `__eq__` alone has None
    return [*wanted, "__hash__"] if eq and frozen and not says_hash else wanted


def _with_stand_ins(cls: type, wanted: list[str], *, frozen: bool, slots: bool, kw_only: bool) -> Any:
    unhashable = "__eq__" in wanted and not frozen and "__hash__" not in cls.__dict__
    made: Any = dataclasses.dataclass(init=False, repr=False, eq=False, slots=slots, kw_only=kw_only)(cls)
    write = partial(_write, made, wanted, frozen=frozen, slots=slots)
    for name in wanted:
        setattr(made, name, _StandIn(name, write))
    _unwritten.append(write)
    if unhashable:
        made.__hash__ = None
    if frozen:
        made.__setattr__, made.__delattr__ = _refuse_to_set, _refuse_to_delete
    if frozen and slots:
        made.__getstate__, made.__setstate__ = _state, _restore
    return made


class _StandIn:
    """A method that is not written yet: whoever looks it up, also to inspect it, gets the one that is written then."""

    __slots__ = ("_name", "_write")

    def __init__(self, name: str, write: Callable[[], Any]) -> None:
        self._name = name
        self._write = write

    def __get__(self, instance: object, owner: type) -> Any:
        return getattr(self._write(), self._name).__get__(instance, owner)


def _write(cls: type, wanted: list[str], *, frozen: bool, slots: bool) -> type:
    """Put the methods that the standard library writes for the fields of a class into the class, and return it."""
    if not any(isinstance(cls.__dict__[name], _StandIn) for name in wanted):
        return cls
    fields = dataclasses.fields(cls)
    body = {name: getattr(cls, name) for name in ("__module__", "__qualname__", "__post_init__") if hasattr(cls, name)}
    body |= {"__doc__": cls.__name__, "__annotations__": {field.name: field.type for field in fields}}
    body |= {field.name: field for field in fields}
    model: Any = dataclasses.dataclass(frozen=frozen, slots=slots)(type(cls.__name__, (), body))
    for name in wanted:
        setattr(cls, name, getattr(model, name))
    return cls


def _refuse_to_set(self: object, name: str, value: object) -> None:
    raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")


def _refuse_to_delete(self: object, name: str) -> None:
    raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")


def _state(self: Any) -> list[Any]:
    return [getattr(self, field.name) for field in dataclasses.fields(self)]


def _restore(self: Any, state: list[Any]) -> None:
    for field, value in zip(dataclasses.fields(self), state, strict=True):
        object.__setattr__(self, field.name, value)
