"""Answers that are nearly what an API's documentation says, read for what they mean.

Compatible servers write counts as text or fractions, null where a number belongs, NaN
in log probabilities, and halves of a surrogate pair where a tokenizer has split an
emoji. The strict decoder of a view refuses all of them. Only then is the JSON read once
more here, member by member:

- Half a surrogate pair becomes U+FFFD; ``NaN`` and ``Infinity`` become null.
- A whole number may be text or a fraction; null and the empty stand for the default.
- A member of ``aside`` (usage, ids, log probabilities) holds nothing that a model said.
  A number is its text there, and a value of another shape is left out, and named.
- Any other value of another type is an error, for it may be a part of the answer.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from contextlib import suppress
from functools import lru_cache
from types import NoneType, UnionType
from typing import Annotated, Any, Generic, TypeVar, Union, get_args, get_origin

import msgspec

from gandalf.dialects.unread import is_utf8

_T = TypeVar("_T")

# Every escape of a JSON text is one match, so that an escaped backslash is no beginning
# of the next one.
_ESCAPE = re.compile(
    r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    r"|(\\u[dD][89a-fA-F][0-9a-fA-F]{2})"
    r"|\\."
)
_EMPTY: tuple[object, ...] = (None, "", [], {})


def is_scalar(data: bytes) -> bool:
    """Return whether ``data`` is a JSON number, ``true``, ``false`` or ``null``.

    An event of one holds no part of an answer.
    """
    try:
        return not isinstance(loads(data), str | list | dict)
    except (msgspec.DecodeError, RecursionError):
        return False


def checked(body: bytes) -> bytes:
    """Return ``body``. Raises msgspec.DecodeError if it is not UTF-8."""
    if not is_utf8(body):
        raise msgspec.DecodeError("the answer is not UTF-8")
    return body


class _Unfit(Exception):
    """A value is of another type than the one that was wanted."""


def loads(data: bytes) -> object:
    """Return the value of nearly valid JSON.

    Raises:
        msgspec.DecodeError: It is no JSON at all, or not UTF-8.
        RecursionError: It is nested too deeply.
    """
    try:
        text = _ESCAPE.sub(_whole_escape, data.decode("utf-8-sig"))
        return json.loads(text, parse_constant=_no_number)
    except ValueError as error:
        raise msgspec.DecodeError("this is not JSON") from error


def _whole_escape(found: re.Match[str]) -> str:
    return r"\ufffd" if found[1] else found[0]


def _no_number(_: str) -> None:
    return None


class Reader(Generic[_T]):
    """Reads one type of view from JSON that its strict decoder has refused.

    Args:
        view: A struct, with a default for each member that may be missing.
        aside: Names, as in JSON, of members that hold nothing of the answer itself.
    """

    def __init__(self, view: type[_T], aside: Iterable[str]) -> None:
        self._view = view
        self._aside = frozenset(aside)

    def __call__(self, data: bytes) -> tuple[_T, list[str]]:
        """Return the view, and the members of ``aside`` that could not be read.

        Raises:
            UNREADABLE: It is no JSON, or a part of the answer may be in what it is.
        """
        lost: list[str] = []
        try:
            return _struct(loads(data), self._view, self._aside, lost), lost
        except _Unfit as error:
            raise msgspec.ValidationError("a value is of an unknown type") from error

    def view(self, data: bytes) -> _T:
        """Return the view alone. Raises as a call does."""
        return self(data)[0]


# One function for each sort of type. ``aside`` is None within a member that is one of
# them: there nothing is a part of the answer.


def _struct(
    value: object, view: type[_T], aside: frozenset[str] | None, lost: list[str]
) -> _T:
    if not isinstance(value, dict):
        raise _Unfit
    made: dict[str, Any] = {}
    for field in _fields(view):  # type: ignore[arg-type] # a class is hashable
        name = field.encode_name
        if name not in value:
            continue
        beside = aside is None or name in aside
        try:
            made[field.name] = _read(
                value[name], field.type, None if beside else aside, lost
            )
        except _Unfit:
            if value[name] in _EMPTY:
                continue
            if not beside:
                raise
            lost.append(name)
    try:
        return view(**made)
    except TypeError as error:  # A member without a default is missing.
        raise _Unfit from error


@lru_cache(maxsize=256)
def _fields(view: type) -> tuple[msgspec.structs.FieldInfo, ...]:
    return msgspec.structs.fields(view)


def _read(
    value: object,
    kind: Any,  # noqa: ANN401 - a type, which may be a union
    aside: frozenset[str] | None,
    lost: list[str],
) -> object:
    if kind is Any:
        return value
    if kind is msgspec.Raw:
        return msgspec.Raw(json.dumps(value, ensure_ascii=False).encode())
    origin, args = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _read(value, args[0], aside, lost)
    if origin in (Union, UnionType):
        return _one_of(value, args, aside, lost)
    if origin is list and isinstance(value, list):
        return [_read(each, args[0], aside, lost) for each in value]
    if origin is dict and isinstance(value, dict):
        return {name: _read(each, args[1], aside, lost) for name, each in value.items()}
    if origin is None and issubclass(kind, msgspec.Struct):
        return _struct(value, kind, aside, lost)
    return _scalar(value, kind, aside)


def _one_of(
    value: object,
    kinds: tuple[Any, ...],
    aside: frozenset[str] | None,
    lost: list[str],
) -> object:
    if value is None and NoneType in kinds:
        return None
    for kind in kinds:
        if kind is not NoneType:
            with suppress(_Unfit):
                return _read(value, kind, aside, lost)
    raise _Unfit


def _scalar(value: object, kind: object, aside: frozenset[str] | None) -> object:
    if type(value) is kind:
        return value
    if kind is int or kind is float:
        number = _number(value)
        # A fraction of a token is charged as one.
        return math.ceil(number) if kind is int else number
    if kind is str and aside is None and type(value) in (int, float):
        return str(value)
    if kind is bool and value in ("true", "false"):
        return value == "true"
    raise _Unfit


def _number(value: object) -> int | float:
    if isinstance(value, bool):
        raise _Unfit
    if isinstance(value, int):
        return value
    try:
        number = float(value) if isinstance(value, str | float) else math.nan
    except ValueError:
        raise _Unfit from None
    if not math.isfinite(number):
        raise _Unfit
    return number
