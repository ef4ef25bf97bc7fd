"""Settings of a method (or of any frozen dataclass): `--set key=value` and TOML in, checked against the annotations.

A settings class is a dataclass whose fields are int, float, bool, str, `tuple[X, ...]`, `Literal[...]` or `X | None`.
The comment on a field's source line is its documentation: `describe` reads it, so help can never go stale.
"""

import ast
import dataclasses
import difflib
import inspect
import io
import sys
import textwrap
import tokenize
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from vgeo.errors import FormatError, SettingError, first_line
from vgeo.formats.streams import read_text

T = TypeVar("T")

_MOST_TOML_BYTES = 2**22
_TRUE, _FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")


@dataclasses.dataclass(frozen=True, slots=True)
class SettingInfo:
    """What one setting is, for help texts."""

    name: str
    type: str  # as a user reads it: "float", "list of float", "a | b | none"
    default: str  # as a user would type it after `=`; empty when it must be given
    note: str  # the comment on the field's line


def resolve(config_class: type[T], toml: Path | None = None, pairs: Sequence[str] = ()) -> T:
    """Build settings from defaults, then a TOML file, then `key=value` pairs; later ones win.

    Raises SettingError for an unknown key (it lists the known ones), a wrong type (it names the expected one) or a
    value that the class itself refuses; InputError when the file is not there.
    """
    return _build(config_class, given(config_class, toml, pairs))


def given(config_class: type, toml: Path | None = None, pairs: Sequence[str] = ()) -> dict[str, Any]:
    """Only what a TOML file and pairs set, checked and typed as `resolve` does."""
    values: dict[str, Any] = {}
    hints = get_type_hints(config_class)
    if toml is not None:
        for key, value in _read_toml(toml).items():
            _check_known(config_class, key, str(toml))
            values[key] = _convert(value, hints[key], f"{toml}: {key}")
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or not key:
            raise SettingError(f"--set {pair}: expected key=value")
        _check_known(config_class, key, f"--set {pair}")
        values[key] = _parse(text.strip(), hints[key], f"--set {pair}: {key}")
    return values


def to_dict(config: Any) -> dict[str, Any]:
    """Settings as JSON types: tuples become lists."""
    return {
        field.name: list(value) if isinstance(value := getattr(config, field.name), tuple) else value
        for field in dataclasses.fields(config)
    }


def from_dict(config_class: type[T], values: Mapping[str, Any], where: str = "settings") -> T:
    """Rebuild settings from `to_dict`'s output; the same checks as `resolve`. `where` names the file in errors."""
    hints = get_type_hints(config_class)
    for key in values:
        _check_known(config_class, key, where)
    return _build(config_class, {k: _convert(v, hints[k], f"{where}: {k}") for k, v in values.items()})


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Say what differs between two `to_dict` outputs, one "name old, now new" each; nested ones by their own names."""
    found = []
    for name in [*old, *(name for name in new if name not in old)]:
        before, now = old.get(name), new.get(name)
        if isinstance(before, dict) and isinstance(now, dict):
            found += differences(before, now)
        elif before != now:
            found.append(f"{name} {format_value(before)}, now {format_value(now)}")
    return found


def describe(config_class: type) -> list[SettingInfo]:
    """Name, type, default and note of every setting, in the order of the class."""
    hints, notes = get_type_hints(config_class), _notes(config_class)
    return [
        SettingInfo(field.name, _type_text(hints[field.name]), _default_text(field), notes.get(field.name, ""))
        for field in dataclasses.fields(config_class)
        if field.init
    ]


def check_least(config: Any, least: float, *names: str) -> None:
    """Raise ValueError for the first of these settings that is less, or has an entry that is less."""
    for name in names:
        value = getattr(config, name)
        if any(not number >= least for number in (value if isinstance(value, tuple) else (value,))):
            raise ValueError(f"{name} must be at least {least:g}, not {format_value(value)}")


def _build(config_class: type[T], values: dict[str, Any]) -> T:
    try:
        return config_class(**values)
    except (ValueError, TypeError) as error:
        raise SettingError(f"settings of {config_class.__qualname__}: {error}") from error


def _check_known(config_class: type, key: str, where: str) -> None:
    known = [field.name for field in dataclasses.fields(config_class) if field.init]
    if key in known:
        return
    close = difflib.get_close_matches(key, known, n=1)
    hint = f"; did you mean {close[0]}?" if close else ";"
    listed = f"there are {', '.join(known)}" if known else "this method has no settings"
    raise SettingError(f"{where}: no setting {key!r}{hint} {listed}")


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(read_text(path, _MOST_TOML_BYTES))
    except (FormatError, ValueError, RecursionError) as error:  # not text, too large, not TOML, or beyond reason
        raise SettingError(f"{path}: not TOML ({first_line(error)})") from error


def _optional(hint: Any) -> tuple[Any, bool]:
    """Split `X | None` into X and True."""
    if get_origin(hint) in (Union, UnionType):
        inner = [arg for arg in get_args(hint) if arg is not NoneType]
        if len(inner) == 1 and len(get_args(hint)) == 2:
            return inner[0], True
    return hint, False


def _parse(text: str, hint: Any, where: str) -> Any:
    """Turn the text after `=` into the annotated type."""
    kind, optional = _optional(hint)
    if optional and text.lower() == "none":
        return None
    if get_origin(kind) is tuple:
        item = get_args(kind)[0]
        return tuple(_parse(part.strip(), item, where) for part in text.split(",")) if text else ()
    value: Any = text
    if get_origin(kind) is Literal:
        value = next((choice for choice in get_args(kind) if str(choice) == text), text)
    elif kind is bool:
        value = {**dict.fromkeys(_TRUE, True), **dict.fromkeys(_FALSE, False)}.get(text.lower(), text)
    elif kind in (int, float):
        try:
            value = kind(text)
        except ValueError:
            value = text
    return _convert(value, hint, where)


def _convert(value: Any, hint: Any, where: str) -> Any:
    """Check a typed value (from TOML or JSON) against the annotation; an int serves where a float is expected."""
    kind, optional = _optional(hint)
    if optional and (value is None or (value == "none" and kind is not str)):
        return None
    if get_origin(kind) is tuple and isinstance(value, list | tuple):
        return tuple(_convert(item, get_args(kind)[0], where) for item in value)
    if kind is float and type(value) in (int, float) and -sys.float_info.max <= value <= sys.float_info.max:
        return float(value)
    if get_origin(kind) is Literal:
        if any(value == choice and type(value) is type(choice) for choice in get_args(kind)):
            return value
    elif kind in (int, bool, str) and type(value) is kind:
        return value
    raise SettingError(f"{where} expects {_type_text(hint)}, got {value!r}")


_NAMES = {int: "integer", float: "number", bool: "true or false", str: "text"}


def _type_text(hint: Any) -> str:
    kind, optional = _optional(hint)
    if get_origin(kind) is tuple:
        text = f"comma-separated list of {_type_text(get_args(kind)[0])}"
    elif get_origin(kind) is Literal:
        text = " | ".join(str(choice) for choice in get_args(kind))
    else:
        text = _NAMES.get(kind, str(kind))
    return f"{text} | none" if optional else text


def _default_text(field: "dataclasses.Field[Any]") -> str:
    if field.default is not dataclasses.MISSING:
        default = field.default
    elif field.default_factory is not dataclasses.MISSING:
        default = field.default_factory()
    else:
        return ""
    return format_value(default)


def format_value(value: Any) -> str:
    """A value as one types it after `=`."""
    if isinstance(value, tuple | list):
        return ",".join(format_value(item) for item in value)
    if value is None or isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) and float(f"{value:g}") == value else str(value)


def _notes(config_class: type) -> dict[str, str]:
    """The comment that stands on each field's source line, bases first so that a subclass's own words win."""
    notes: dict[str, str] = {}
    for cls in reversed(config_class.__mro__):
        if not dataclasses.is_dataclass(cls):
            continue
        try:
            source = textwrap.dedent(inspect.getsource(cls))
        except (OSError, TypeError):  # made in an interactive session
            continue
        comments = {
            token.start[0]: token.string.lstrip("# ")
            for token in tokenize.generate_tokens(io.StringIO(source).readline)
            if token.type == tokenize.COMMENT
        }
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                lines = range(node.lineno, (node.end_lineno or node.lineno) + 1)
                notes[node.target.id] = " ".join(comments[line] for line in lines if line in comments)
    return notes
