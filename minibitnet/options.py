"""Configuration classes: frozen dataclasses whose fields carry their help text, read from flags or JSON."""
import difflib
import json
from dataclasses import field, fields
from functools import partial
from numbers import Integral, Real

import numpy as np

from .errors import UserError, brief

# what a field of this type takes: NumPy's too
KINDS = {int: Integral, float: Real, str: str, bool: (bool, np.bool_)}


def option(default, help, choices=None, hint=""):
    """A dataclass field with a one-line help and, for strings, the values it may take; hint: behind them,
    where it has none of them."""
    return field(default=default, metadata={"help": help, "choices": choices, "hint": hint})


def from_json(config_class, values, where):
    """{name: value} -> config_class; UserError for an unknown name or a value of the wrong type or out of
    range. where: the file the values come from, for messages; None for flags."""
    if not isinstance(values, dict):
        raise UserError(f"{where}: expected a JSON object of options, got {json.dumps(values)[:40]}")
    check_names(values, config_class, where=where)
    try:
        return config_class(**values)
    except UserError as e:
        raise UserError(f"{where}: {e}" if where else str(e)) from None


def check_names(values, *config_classes, where=None):
    """UserError for a name that is no field of these classes, with its nearest neighbour."""
    known = [f.name for config_class in config_classes for f in fields(config_class)]
    for name in values:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise UserError(f"{where}: " * bool(where) + f"unknown option {name!r}{hint}")


def check_types(config):
    """UserError for a field of another type: 64.0 or True is no count. A number of another kind, NumPy's or 1
    for a rate, becomes one of the field's type, so that config.json says the same of the same run."""
    for f in fields(config):
        value = getattr(config, f.name)
        if not isinstance(value, KINDS[f.type]) or isinstance(value, KINDS[bool]) and f.type is not bool:
            shown = brief(value, write=partial(json.dumps, default=repr))
            raise UserError(f"{f.name} = {shown}: expected {f.type.__name__}")
        try:
            object.__setattr__(config, f.name, f.type(value))
        except OverflowError:
            raise UserError(f"{f.name} = {brief(value)}: expected {f.type.__name__}") from None


def check_range(config, **bounds):
    """UserError for a field outside its (low, high), both allowed; NaN is outside of everything."""
    for name, (low, high) in bounds.items():
        if not low <= getattr(config, name) <= high:
            raise UserError(f"{name} = {brief(getattr(config, name))}: expected a value from {plain(low)} to "
                            f"{plain(high)}")


def plain(number):
    """A limit as one reads it: 1,048,576, not 1.04858e+06."""
    return f"{int(number):,}" if number == int(number) else f"{number:g}"


def check_choices(config):
    """UserError for a field whose value is not among its choices."""
    for f in fields(config):
        choices = f.metadata["choices"]
        if choices and getattr(config, f.name) not in choices:
            raise UserError(f"{f.name} = {brief(getattr(config, f.name))}: expected one of "
                            f"{', '.join(choices)}{f.metadata['hint']}")
