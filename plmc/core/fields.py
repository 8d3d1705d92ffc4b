"""Types and ranges of config fields: one check for YAML, the command line and Python.

A field's annotation is its rule. `int` is a whole number, `float` a finite one (neither takes a boolean), `str` a text;
`Annotated[…, Range(…)]`, or one of the names below, narrows it. `Checked` applies the rules whenever an object is made.
"""

from __future__ import annotations

import functools
import math
import sys
import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Annotated, Any, ClassVar, Literal, Union, get_args, get_origin

from plmc.core.points import parse_point
from plmc.errors import ConfigError
from plmc.names import did_you_mean

_LARGEST = {int: 2**53, float: 1e30}
"""No field needs more; beyond it, arithmetic on integers or in single precision goes wrong."""


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`;

    Attributes:
        open_low: without the end itself.
        open_high: see `open_low`.
    """

    low: float | None = None
    high: float | None = None
    open_low: bool = False
    open_high: bool = False

    def holds(self, value: float) -> bool:
        """Whether `value` is inside."""
        above = self.low is None or value > self.low or (value == self.low and not self.open_low)
        below = self.high is None or value < self.high or (value == self.high and not self.open_high)
        return above and below

    def __str__(self) -> str:
        low = (
            None
            if self.low is None
            else f"greater than {self.low:.10g}"
            if self.open_low
            else f"{self.low:.10g} or more"
        )
        high = (
            None if self.high is None else f"below {self.high:.10g}" if self.open_high else f"at most {self.high:.10g}"
        )
        return " and ".join(part for part in (low, high) if part)


@dataclass(frozen=True)
class Moment:
    """Marks a field that names a moment in a stage: `30%`, `2ep` or a number of updates."""


@dataclass(frozen=True)
class Name:
    """Marks a text that becomes part of a folder's name."""


@dataclass(frozen=True)
class Added:
    """Marks a field that earlier versions did not have; `before` is the value that means what they did.

    A run with that value keeps the identity it had without the field.
    """

    before: Any


Count = Annotated[int, Range(0, 10**9, open_low=True)]
"""1, 2, 3, …"""
Amount = Annotated[int, Range(0, 10**9)]
"""0, 1, 2, …"""
Seed = Annotated[int, Range(0, 2**32 - 1)]
"""What every random generator takes."""
Length = Annotated[int, Range(2, 1_000_000)]
"""Tokens of a row, the special ones included."""
Positive = Annotated[float, Range(0, 1e9, open_low=True)]
NotNegative = Annotated[float, Range(0, 1e9)]
Share = Annotated[float, Range(0, 1)]
Decay = Annotated[float, Range(0, 1, open_high=True)]
"""What a running average keeps."""
Rate = Annotated[float, Range(0, 100)]
"""A learning rate."""
Epochs = Annotated[float, Range(0, 100_000, open_low=True)]
FileName = Annotated[str, Name()]

_NAME_LENGTH = 80


class Checked:
    """Base of dataclasses that check their fields, before their own `__post_init__`, when they are made."""

    config_label: ClassVar[str] = ""
    """What errors put before a field's name, such as `budget`; the class's own name if empty."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        own = cls.__dict__.get("__post_init__")
        if own is None:
            return

        @functools.wraps(own)
        def checked(self: Any, *args: Any) -> None:
            # Only the outermost one: a subclass has turned some fields into other types before it calls its base's.
            if type(self).__post_init__ is checked:
                _verify_object(self)
            own(self, *args)

        setattr(cls, "__post_init__", checked)  # noqa: B010  a type checker takes it for a method

    def __post_init__(self) -> None:
        if type(self).__post_init__ is Checked.__post_init__:
            _verify_object(self)


def _verify_object(made: Any) -> None:
    cls: Any = type(made)
    verify(cls, {key: getattr(made, key) for key in rules(cls)}, made.config_label or cls.__name__)


def verify(cls: type, values: Mapping[str, Any], where: str) -> None:
    """Raises ConfigError for a value that is not one of its field, and for a key that is no field of `cls`.

    Args:
        where: what comes before the field's name in the error. A nested node with `_target_` is checked where it is
            built.
    """
    known = rules(cls)
    for key, value in values.items():
        if not isinstance(key, str) or key not in known:
            if not str(key).startswith("_"):
                raise ConfigError(f"{where}.{key}: {cls.__name__} has no such field.{did_you_mean(str(key), known)}")
            continue
        fault = _fault(value, known[key])
        if fault:
            shown = str(value)
            shown = shown if len(shown) <= 80 else shown[:77] + "…"
            raise ConfigError(f"{f'{where}.' if where else ''}{key}={shown} {fault}.")


@functools.cache
def rules(cls: Any) -> dict[str, Any]:
    """The annotation of every field of a dataclass that `__init__` takes, as an object."""
    found = {}
    for entry in fields(cls):
        if entry.init:
            found[entry.name] = _annotation(cls, entry.name, entry.type)
    return found


def moments(obj: Any) -> dict[str, Any]:
    """The fields of `obj` that name a moment in a stage, and their values."""
    marked = (key for key, rule in rules(obj.__class__).items() if _has(rule, Moment))
    return {key: value for key in marked if (value := getattr(obj, key)) is not None}


def added(cls: type) -> dict[str, Any]:
    """The fields of a dataclass that are marked as `Added`, and the value of each that means what was done before
    it."""
    marks = {key: [mark for mark in get_args(rule) if isinstance(mark, Added)] for key, rule in rules(cls).items()}
    return {key: found[0].before for key, found in marks.items() if found}


def _annotation(cls: type, name: str, written: Any) -> Any:
    if not isinstance(written, str):
        return written
    owner = next(base for base in cls.__mro__ if name in base.__dict__.get("__annotations__", {}))
    try:
        return eval(
            written, dict(vars(sys.modules[owner.__module__]))
        )  # what `typing.get_type_hints` does, field by field
    except (NameError, KeyError):
        return Any  # a name that exists for type checkers alone


def _has(rule: Any, marker: type) -> bool:
    return any(isinstance(arg, marker) or _has(arg, marker) for arg in get_args(rule))


def _fault(value: Any, rule: Any) -> str | None:
    """What is wrong with a value, as the rest of a sentence; None if nothing is."""
    origin = get_origin(rule)
    if origin is Annotated:
        base, *marks = get_args(rule)
        if any(isinstance(mark, Moment) for mark in marks):
            return _moment_fault(value)
        wanted = _wanted(rule)
        if _fault(value, base):
            return f"must be {wanted}"
        for mark in marks:
            if isinstance(mark, Range) and isinstance(value, (int, float)) and not mark.holds(value):
                return f"must be {wanted}"
            if isinstance(mark, Name) and (fault := name_fault(value)):
                return fault
        return None
    if origin in (Union, types.UnionType):
        parts = get_args(rule)
        faults = [_fault(value, part) for part in parts]
        if None in faults:
            return None
        if any(_has(part, Moment) for part in parts) and not isinstance(value, (bool, list, dict)):
            return next(fault for part, fault in zip(parts, faults, strict=True) if _has(part, Moment))
        return f"must be {' or '.join(_wanted(part) for part in parts if part is not type(None))}" + (
            ", or null" if type(None) in parts else ""
        )
    return None if _fits(value, rule, origin) else f"must be {_wanted(rule)}"


def _fits(value: Any, rule: Any, origin: Any) -> bool:
    if rule is Any or rule is None:
        return rule is Any or value is None
    if origin is Literal:
        return any(value == choice and type(value) is type(choice) for choice in get_args(rule))
    if origin is tuple or origin in (list, Sequence):
        if isinstance(value, (str, bytes, Mapping)) or not isinstance(value, Sequence):
            return False
        parts = get_args(rule)
        if origin is tuple and Ellipsis not in parts:
            return len(value) == len(parts) and all(_fault(v, p) is None for v, p in zip(value, parts, strict=True))
        return all(_fault(entry, parts[0]) is None for entry in value)
    if origin in (dict, Mapping):
        key, inner = get_args(rule)
        return isinstance(value, Mapping) and all(
            _fault(k, key) is None and _fault(v, inner) is None for k, v in value.items()
        )
    if rule in (int, float):
        whole = isinstance(value, int) and not isinstance(value, bool)
        number = whole or (rule is float and isinstance(value, float) and math.isfinite(value))
        return number and abs(value) <= _LARGEST[rule]
    if rule is bool or rule is str:
        return isinstance(value, rule) and not (isinstance(value, str) and "\0" in value)
    if isinstance(rule, type):
        # A node that is yet to be built is checked then.
        return isinstance(value, rule) or (is_dataclass(rule) and isinstance(value, Mapping) and "_target_" in value)
    return True


_WORDS = {int: "a whole number", float: "a number", str: "a text", bool: "true or false", type(None): "null"}


def _wanted(rule: Any) -> str:
    origin, parts = get_origin(rule), get_args(rule)
    if origin is Annotated:
        ranges = [str(mark) for mark in parts[1:] if isinstance(mark, Range)]
        if any(isinstance(mark, Moment) for mark in parts[1:]):
            return "a moment such as 30%, 2ep or 500"
        return " ".join([_wanted(parts[0]), *(f"{text}" for text in ranges)])
    if origin is Literal:
        *first, last = map(str, parts)
        return f"{', '.join(first)} or {last}" if first else last
    if origin in (Union, types.UnionType):
        return " or ".join(_wanted(part) for part in parts)
    if origin in (list, Sequence) or (origin is tuple and Ellipsis in parts):
        return f"a list, each entry {_wanted(parts[0])}"
    if origin is tuple:
        return f"a list of {len(parts)}, each entry {_wanted(parts[0])}"
    if origin in (dict, Mapping):
        return "a mapping" if Any in parts else f"a mapping of {_wanted(parts[0])} to {_wanted(parts[1])}"
    return _WORDS.get(rule, f"a {getattr(rule, '__name__', rule)}")


def _moment_fault(value: Any) -> str | None:
    if isinstance(value, (bool, list, tuple, Mapping)) or value is None:
        return "must be a moment in training: 30% (of the stage), 2ep (epochs) or 500 (updates)"
    try:
        parse_point(value)
    except ConfigError as error:
        return f"is refused: {str(error).removesuffix('.')}"
    return None


def name_fault(value: Any) -> str | None:
    """What is wrong with a text as part of a folder's name: letters, digits and - _ . + only, no dot in front."""
    if not isinstance(value, str):
        return "must be a text"
    if not value or len(value) > _NAME_LENGTH:
        return f"must have 1 to {_NAME_LENGTH} characters"
    if not all(sign.isalnum() or sign in "-_.+" for sign in value) or not (value[0].isalnum() or value[0] == "_"):
        return "is part of a folder's name: use letters, digits, - _ . and +, a letter or digit first"
    return None


def check_number(value: float | None, option: str, low: float, high: float) -> None:
    """Raises ConfigError unless `value` is None or a number from `low` to `high`."""
    if value is not None and not (math.isfinite(value) and low <= value <= high):
        allowed = f"{low:g} or more" if high > 1e8 else f"a number from {low:g} to {high:g}"
        raise ConfigError(f"{option} {value:g}: give {allowed}.")
