r"""Form data as it arrives: which fields there are, without holding the files.

Rules, from https://www.rfc-editor.org/rfc/rfc7578 and RFC 2046, section 5.1.1: parts
lie between delimiters, each a line end, two hyphens and the boundary; after the last
come two hyphens more; a part is a header section, a blank line and its value; its
``content-disposition`` says ``form-data`` and the field's ``name``.

The gateway decides by some of the fields and the upstream acts by them, so both must
read the same. Parsers of form data differ on everything that is rare, and no client
library sends any of it: what could be read in two ways is refused (a delimiter's text
inside a value, bare line ends and folded lines in a header section, two dispositions,
``name*``, an escaped quote, text before the first part or after the last, a governed
field that is given twice, is a file, or is encoded).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from gandalf.domain.errors import BadRequest

# No part of a client library comes near; Go's parser allows 10 MB, and few need 200.
MAX_HEADER_BYTES = 8 * 1024
# Of a governed field: the name of a model, a number, a word.
MAX_VALUE_BYTES = 1024

_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_BCHARS = rb"[0-9A-Za-z'()+_,\-./:=? ]{0,69}[0-9A-Za-z'()+_,\-./:=?]"
# A backslash before a quote is an escape to some and an end to others.
_QUOTED = rb'"((?:[^"\\\x00-\x1f\x7f]|\\[^"\x00-\x1f\x7f])*)"'
_PARAMETER = re.compile(
    rb"[ \t]*;[ \t]*(%b)=(?:%b|([^ \t;,\"\\\x00-\x1f\x7f]+))" % (_TOKEN, _QUOTED)
)
_FIELD_LINE = re.compile(rb"(%b):[ \t]*([^\x00-\x08\x0a-\x1f\x7f]*)" % _TOKEN)
_BOUNDARY = re.compile(_BCHARS)
_NAME = re.compile(
    rb"[^\"\\%\x00-\x20\x7f](?:[^\"\\%\x00-\x1f\x7f]*[^\"\\%\x00-\x20\x7f])?"
)
_PADDING = re.compile(rb"[ \t]*(?:\r\n?)?")
_PLAIN_TYPE = re.compile(
    rb"text/plain[ \t]*(?:;[ \t]*charset=\"?(?:utf-8|us-ascii)\"?[ \t]*)?",
    re.IGNORECASE,
)
_PLAIN_ENCODINGS = (b"", b"7bit", b"8bit", b"binary")


class Field(NamedTuple):
    """A governed field: its value, and where that stands in the whole body."""

    name: str
    value: bytes
    start: int
    end: int


def boundary_of(content_type: bytes) -> bytes:
    """Return the boundary that a ``content-type`` field of a request names.

    Raises:
        BadRequest: It is not about form data, or names no boundary, or several.
    """
    kind, separator, rest = content_type.partition(b";")
    if kind.strip(b" \t").lower() != b"multipart/form-data":
        raise BadRequest(
            "the body must be multipart/form-data", code="unsupported_content_type"
        )
    parameters = _parameters(separator + rest)
    boundary = parameters.get(b"boundary") if parameters is not None else None
    if boundary is None or not _BOUNDARY.fullmatch(boundary):
        raise _invalid("the content-type names no valid boundary")
    return boundary


class Scanner:
    """Reads form data in whatever pieces it comes, in linear time and little memory.

    Args:
        boundary: From the request's ``content-type``.
        governed: Names of the fields whose values are wanted, in lower case.
    """

    def __init__(self, boundary: bytes, governed: frozenset[str]) -> None:
        self.fields: dict[str, Field] = {}
        """The governed fields that have come to their end."""
        self.complete = False
        """Whether the last delimiter has come."""
        self._governed = governed
        self._seen: set[str] = set()
        self._mark = b"--" + boundary
        self._name = ""
        self._value: list[bytes] = []
        self._value_start = 0
        # As if a line end came before the first delimiter, as before all others.
        self._rest = b"\r\n"
        self._at = -2
        """Where ``_rest`` begins in the body."""
        self._step: Callable[[], bool] = self._before

    @property
    def under_way(self) -> str:
        """The governed field whose value has begun and not ended; empty if none."""
        return self._name if self._step == self._in_value else ""

    def feed(self, data: bytes) -> None:
        """Take the next piece of the body.

        Raises:
            BadRequest: It is not form data, or not beyond doubt.
        """
        self._rest += data
        while self._step():
            pass

    def close(self) -> None:
        """Take notice that the body has ended. Raises BadRequest if it is not whole."""
        if not self.complete:
            raise _invalid("the form data has no end")

    # Each step consumes from ``_rest`` and tells whether to go on, or needs more.

    def _drop(self, size: int) -> None:
        self._rest = self._rest[size:]
        self._at += size

    def _before(self) -> bool:
        opening = b"\r\n" + self._mark
        rest = self._rest
        if rest.startswith(b"\r\n\r\n"):
            self._drop(2)  # some clients begin with an empty line
            return True
        if len(rest) < len(opening):
            if not (opening.startswith(rest) or b"\r\n\r\n".startswith(rest)):
                raise _invalid("the form data does not begin with its boundary")
            return False
        if not rest.startswith(opening):
            raise _invalid("the form data does not begin with its boundary")
        self._drop(len(opening))
        self._step = self._after_mark
        return True

    def _after_mark(self) -> bool:
        rest = self._rest
        if rest.startswith(b"--"):
            self._drop(2)
            self.complete = True
            self._step = self._after_all
            return True
        padding = _PADDING.match(rest)
        end = padding.end() if padding is not None else 0
        if rest[:end].endswith(b"\r\n"):
            self._drop(end)
            self._step = self._header
            return True
        if end < len(rest) and rest != b"-":
            raise _invalid("the boundary occurs inside a part")
        if len(rest) > MAX_HEADER_BYTES:
            raise _invalid("a delimiter is too long")
        return False

    def _header(self) -> bool:
        end = self._rest.find(b"\r\n\r\n")
        if end > MAX_HEADER_BYTES or (end < 0 and len(self._rest) > MAX_HEADER_BYTES):
            raise _invalid("a part's header section is too large")
        if end < 0:
            return False
        self._name = self._name_of(self._rest[:end])
        self._drop(end + 4)
        self._value_start = self._at
        self._step = self._in_value
        return True

    def _name_of(self, section: bytes) -> str:
        """Return the field's name if it is governed, else nothing."""
        lines = _header_lines(section)
        disposition = _one(lines, b"content-disposition")
        kind, separator, rest = disposition.partition(b";")
        parameters = _parameters(separator + rest)
        if kind.strip(b" \t").lower() != b"form-data" or parameters is None:
            raise _invalid("a part's content-disposition is not one of form data")
        if any(name.startswith(b"name") and name != b"name" for name in parameters):
            raise _invalid("a part's name is encoded")
        name = parameters.get(b"name", b"")
        if not _NAME.fullmatch(name):
            raise _invalid("a part has no name, or a strange one")
        folded = name.decode("utf-8", "replace").lower()
        if folded not in self._governed:
            return ""
        if folded in self._seen:
            raise BadRequest(
                f"the form has more than one {folded!r}",
                code="duplicate_key",
                param=folded,
            )
        self._seen.add(folded)
        if folded.encode() != name or not _is_plain(lines, parameters):
            raise BadRequest(f"the field {folded!r} is not plain text", param=folded)
        return folded

    def _in_value(self) -> bool:
        mark = self._mark
        found = self._rest.find(mark)
        # What may yet turn out to be a delimiter stays, with the line end before it.
        size = found - 2 if found >= 0 else len(self._rest) - len(mark) - 1
        if found >= 0 and (found < 2 or self._rest[found - 2 : found] != b"\r\n"):
            raise _invalid("the boundary occurs inside a part")
        if size > 0:
            if self._name:
                self._keep(self._rest[:size])
            self._drop(size)
        if found < 0:
            return False
        if self._name:
            self._finish_field()
        self._drop(2 + len(mark))
        self._step = self._after_mark
        return True

    def _keep(self, piece: bytes) -> None:
        self._value.append(piece)
        if self._at + len(piece) - self._value_start > MAX_VALUE_BYTES:
            raise BadRequest(f"the field {self._name!r} is too long", param=self._name)

    def _finish_field(self) -> None:
        value = b"".join(self._value)
        start = self._value_start
        self.fields[self._name] = Field(self._name, value, start, start + len(value))
        self._value.clear()

    def _after_all(self) -> bool:
        if self._rest.strip(b" \t\r\n"):
            raise _invalid("there is something after the form data")
        self._drop(len(self._rest))
        return False


def _header_lines(section: bytes) -> list[tuple[bytes, bytes]]:
    lines = []
    for line in section.split(b"\r\n"):
        found = _FIELD_LINE.fullmatch(line)
        if found is None:
            raise _invalid("a part's header section is malformed")
        lines.append((found[1].lower(), found[2].rstrip(b" \t")))
    return lines


def _one(lines: list[tuple[bytes, bytes]], name: bytes) -> bytes:
    values = [value for field, value in lines if field == name]
    if len(values) != 1:
        raise _invalid(f"a part has {len(values)} fields {name.decode()}")
    return values[0]


def _is_plain(lines: list[tuple[bytes, bytes]], parameters: dict[bytes, bytes]) -> bool:
    """Whether the value of the part means what its bytes are."""
    if any(name.startswith(b"filename") for name in parameters):
        return False
    for name, value in lines:
        if name == b"content-type" and value and not _PLAIN_TYPE.fullmatch(value):
            return False
        if name == b"content-transfer-encoding" and (
            value.lower() not in _PLAIN_ENCODINGS
        ):
            return False
    return True


def _parameters(text: bytes) -> dict[bytes, bytes] | None:
    """Return the parameters in ``text`` by name; None if it is not just parameters."""
    found: dict[bytes, bytes] = {}
    at = 0
    text = text.rstrip(b" \t")
    while at < len(text):
        parameter = _PARAMETER.match(text, at)
        if parameter is None:
            # A semicolon after the last one is a slip of some clients.
            return found if text[at:].strip(b" \t") == b";" else None
        name = parameter[1].lower()
        if name in found:
            return None
        found[name] = parameter[2] if parameter[2] is not None else parameter[3]
        at = parameter.end()
    return found


def _invalid(why: str) -> BadRequest:
    return BadRequest(why, code="invalid_multipart")
