"""Configuration classes: frozen dataclasses whose fields carry their help text, read from flags or JSON."""
import difflib
import json
from dataclasses import field, fields

from .errors import UserError


def option(default, help, choices=None):
    """A dataclass field with a one-line help and, for strings, the values it may take."""
    return field(default=default, metadata={"help": help, "choices": choices})


def from_json(config_class, values, where):
    """{name: value} -> config_class; UserError for an unknown name or a value of the wrong type or out of
    range. where: the file the values come from, for messages; None for flags."""
    if not isinstance(values, dict):
        raise UserError(f"{where}: expected a JSON object of options, got {json.dumps(values)[:40]}")
    types = {f.name: f.type for f in fields(config_class)}
    for name, value in values.items():
        if name not in types:
            near = difflib.get_close_matches(name, types, 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise UserError(f"{where}: unknown option {name!r}{hint}")
        accepted = (int, float) if types[name] is float else types[name]
        if not isinstance(value, accepted) or (isinstance(value, bool) and types[name] is not bool):
            raise UserError(f"{where}: {name} = {json.dumps(value)[:40]}: expected {types[name].__name__}")
    try:
        return config_class(**values)
    except UserError as e:
        raise UserError(f"{where}: {e}" if where else str(e)) from None


def check_range(config, **bounds):
    """UserError for a field outside its (low, high), both allowed; NaN is outside of everything."""
    for name, (low, high) in bounds.items():
        if not low <= getattr(config, name) <= high:
            raise UserError(f"{name} = {getattr(config, name)}: expected a value from {low:g} to {high:g}")


def check_choices(config):
    """UserError for a field whose value is not among its choices."""
    for f in fields(config):
        choices = f.metadata["choices"]
        if choices and getattr(config, f.name) not in choices:
            raise UserError(f"{f.name} = {getattr(config, f.name)!r}: expected one of {', '.join(choices)}")
