"""Settings of a stage: parsed once at the door into a frozen dataclass, then trusted.

The control plane has checked them against the kind's schema already; this is the engine's own
check, because a job file can come from anywhere. A number such as 5e5 arrives from YAML as a
float: where a whole number is asked for, a whole float is taken.
"""

from __future__ import annotations

import dataclasses
import typing
from typing import TYPE_CHECKING, Any, TypeVar

from fretsaw_engine.job import StageFailure

if TYPE_CHECKING:
    from collections.abc import Mapping

T = TypeVar("T")


def read_settings(kind: type[T], raw: Mapping[str, Any]) -> T:
    """Build `kind` from `raw`; every unknown, missing or ill-typed setting is named in one
    BAD_INPUT.
    """
    assert dataclasses.is_dataclass(kind)
    hints = typing.get_type_hints(kind)
    fields = {field.name: field for field in dataclasses.fields(kind)}
    faults = [f"unknown setting {name}" for name in sorted(set(raw) - set(fields))]
    values = {}
    for name, field in fields.items():
        if name in raw:
            try:
                values[name] = _value(hints[name], raw[name])
            except (TypeError, ValueError, OverflowError) as error:
                faults.append(f"{name}: {error}")
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            faults.append(f"{name} is missing")
    if faults:
        raise StageFailure("BAD_INPUT", "settings: " + "; ".join(faults))
    try:
        return kind(**values)
    except ValueError as error:
        raise StageFailure("BAD_INPUT", f"settings: {error}") from error


def require(condition: bool, message: str) -> None:
    """For `__post_init__`: a bound that a setting must keep."""
    if not condition:
        raise ValueError(message)


def _value(hint: Any, raw: Any) -> Any:
    if hint is int:
        if isinstance(raw, bool) or not isinstance(raw, int | float) or raw != int(raw):
            raise TypeError(f"expected a whole number, found {raw!r}")
        return int(raw)
    if hint is float:
        if isinstance(raw, bool) or not isinstance(raw, int | float):
            raise TypeError(f"expected a number, found {raw!r}")
        return float(raw)
    if hint in (str, bool):
        if not isinstance(raw, hint):
            raise TypeError(f"expected {hint.__name__}, found {raw!r}")
        return raw
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        if raw not in arguments:
            raise ValueError(f"expected one of {list(arguments)}, found {raw!r}")
        return raw
    if origin is dict:
        if not isinstance(raw, dict):
            raise TypeError(f"expected a map, found {raw!r}")
        return {
            _value(arguments[0], key): _value(arguments[1], value) for key, value in raw.items()
        }
    if origin is list:
        if not isinstance(raw, list):
            raise TypeError(f"expected a list, found {raw!r}")
        return [_value(arguments[0], item) for item in raw]
    if dataclasses.is_dataclass(hint):
        if not isinstance(raw, dict):
            raise TypeError(f"expected a map, found {raw!r}")
        return read_settings(hint, raw)  # type: ignore[arg-type]
    if type(None) in arguments:
        if raw is None:
            return None
        (inner,) = [argument for argument in arguments if argument is not type(None)]
        return _value(inner, raw)
    raise TypeError(f"bug: no parser for {hint}")
