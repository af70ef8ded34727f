"""A request's JSON object, read member by member, with an eye on what is not read.

The API takes protocol buffers written as JSON, where each name may be in camel case or
as in the ``.proto`` file (https://protobuf.dev/programming-guides/json/). Both
spellings of one name at once are refused: nobody can know which of them counts.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from gandalf.dialects.base import UNREADABLE
from gandalf.domain.errors import BadRequest

_Value = TypeVar("_Value")

Members = dict[str, msgspec.Raw]

_SNAKE = re.compile(r"(?<=[a-z0-9])_([a-z0-9])")
_NOTHING = (b"null", b"[]", b'""')

_decode_members = msgspec.json.Decoder(Members).decode
_decode_list = msgspec.json.Decoder(list[Members]).decode
_decode_text = msgspec.json.Decoder(str).decode
_decode_texts = msgspec.json.Decoder(list[str]).decode
_decode_flag = msgspec.json.Decoder(bool, strict=False).decode
# Numbers may come as strings, and whole ones with a fraction of zero.
_decode_integer = msgspec.json.Decoder(int, strict=False).decode
_decode_number = msgspec.json.Decoder(float, strict=False).decode
_decode_table = msgspec.json.Decoder(dict[str, Any]).decode
_decode_labels = msgspec.json.Decoder(dict[str, str]).decode


def camel(name: str) -> str:
    """Return ``name`` in camel case."""
    if "_" not in name:
        return name
    return _SNAKE.sub(lambda found: found[1].upper(), name)


class Fields:
    """The members of one object; what is never asked for is unknown.

    Args:
        members: Its members.
        path: How the client calls the object, ending in a dot; empty for the body.
        unknown: Where ``close`` notes the names that were not asked for.
    """

    __slots__ = ("_members", "_unknown", "path")

    def __init__(self, members: Members, path: str, unknown: list[str]) -> None:
        self.path = path
        self._unknown = unknown
        self._members: Members = {}
        for name, value in members.items():
            spelled = camel(name)
            if spelled in self._members:
                raise BadRequest(
                    f"{path}{spelled} is there in two spellings",
                    code="duplicate_key",
                    param=f"{path}{spelled}",
                )
            self._members[spelled] = value

    def raw(self, name: str) -> bytes | None:
        """Return a member's JSON; None if it is absent or null."""
        value = self._members.pop(name, None)
        if value is None:
            return None
        text = bytes(value)
        return None if text == b"null" else text

    def text(self, name: str) -> str | None:
        return self._decoded(name, _decode_text, "a string")

    def texts(self, name: str) -> list[str]:
        return self._decoded(name, _decode_texts, "a list of strings") or []

    def flag(self, name: str) -> bool | None:
        return self._decoded(name, _decode_flag, "true or false")

    def integer(self, name: str) -> int | None:
        return self._decoded(name, _decode_integer, "an integer")

    def number(self, name: str) -> float | None:
        return self._decoded(name, _decode_number, "a number")

    def table(self, name: str) -> dict[str, Any] | None:
        return self._decoded(name, _decode_table, "an object")

    def labels(self, name: str) -> dict[str, str] | None:
        return self._decoded(name, _decode_labels, "an object of strings")

    def object(self, name: str) -> Fields | None:
        members = self._decoded(name, _decode_members, "an object")
        return None if members is None else self._inner(name, members)

    def objects(self, name: str) -> list[Fields]:
        members = self._decoded(name, _decode_list, "a list of objects") or []
        return [self._inner(name, each) for each in members]

    def names(self) -> tuple[str, ...]:
        """Return the names not asked for yet."""
        return tuple(self._members)

    def close(self) -> None:
        """Note as unknown what says something and was not asked for."""
        self._unknown += [
            self.path + name
            for name, value in self._members.items()
            if bytes(value) not in _NOTHING
        ]

    def _inner(self, name: str, members: Members) -> Fields:
        return Fields(members, f"{self.path}{name}.", self._unknown)

    def _decoded(
        self, name: str, decode: Callable[[bytes], _Value], wanted: str
    ) -> _Value | None:
        text = self.raw(name)
        if text is None:
            return None
        try:
            return decode(text)
        except UNREADABLE as error:
            path = self.path + name
            raise BadRequest(f"{path} must be {wanted}", param=path) from error


def fields_of(body: bytes, unknown: list[str]) -> Fields:
    """Return the members of ``body``, which must be an object.

    Raises:
        BadRequest: It is none.
    """
    try:
        return Fields(_decode_members(body), "", unknown)
    except msgspec.ValidationError as error:
        raise BadRequest("the body must be an object") from error
    except UNREADABLE as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else error
        raise BadRequest(
            f"the body is not valid JSON: {reason}", code="invalid_json"
        ) from error
