"""A log event as one line: an object of JSON, or something for people to read.

Whatever clients get into an event, it stays inside its line: control characters,
separators and everything else that does not print is escaped, and values are cut at a
length that no honest one has. Only a traceback on the console takes more lines, and
those are indented, so that none can pass for an event.
"""

from __future__ import annotations

import logging
import re
import time
import traceback
from typing import Protocol

import msgspec

from gandalf.telemetry.redaction import redact

MAX_MESSAGE = 4096
MAX_VALUE = 1024
MAX_TRACEBACK = 16_384

_OWN = frozenset({*vars(logging.makeLogRecord({})), "message", "asctime", "taskName"})
_NUMBERS = (int, float, bool, type(None))
_COLOURS = {"debug": "2", "info": "32", "warning": "33", "error": "31"}
_NEEDS_QUOTES = re.compile(r"[\s\"=]")
_HIDDEN_CHARACTER = re.compile(r"[^ -~]")


Fields = dict[str, str | float | None]
"""What an event tells beside its message. ``bool`` and ``int`` are floats here."""


class Ready(Protocol):
    """An event whose fields are plain and ``safe`` already, so that nobody looks again.

    For the one line that every request costs. Always of level ``info``.
    """

    @property
    def created(self) -> float:
        """Unix time in seconds."""

    @property
    def logger(self) -> str: ...

    @property
    def event(self) -> str: ...

    @property
    def fields(self) -> Fields:
        """What the event tells."""

    def pairs(self) -> str:
        """Return the fields as ``pairs`` does."""


class Lines(Protocol):
    """Turns events into lines, newline included."""

    def line(self, record: logging.LogRecord) -> bytes: ...

    def ready(self, event: Ready) -> bytes: ...


class _Clock:
    """Writes RFC 3339 times in UTC; remembers what it wrote last."""

    def __init__(self) -> None:
        # Each in one, so that no other thread sees half of it.
        self._second = (-1, "")
        self._last = (-1, "")

    def text(self, created: float) -> str:
        milliseconds = int(created * 1000)
        last, text = self._last
        if milliseconds != last:
            second, rest = divmod(milliseconds, 1000)
            text = f"{self._begin(second)}.{rest:03d}Z"
            self._last = (milliseconds, text)
        return text

    def _begin(self, second: int) -> str:
        known, text = self._second
        if second != known:
            text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
            self._second = (second, text)
        return text


class JsonLines:
    """``{"time": ..., "level": ..., "logger": ..., "event": ..., ...}``."""

    def __init__(self) -> None:
        self._clock = _Clock()
        self._encode = msgspec.json.Encoder().encode

    def line(self, record: logging.LogRecord) -> bytes:
        """Return ``record`` as one object; extras are members beside the event."""
        members: Fields = {
            "time": self._clock.text(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": _event(record),
        }
        for name, value in _extras(record).items():
            members.setdefault(name, value)
        if record.exc_info:
            members["traceback"] = _traceback(record)
        try:
            text = self._encode(members).decode()
        except UnicodeEncodeError:  # Half a surrogate pair, which is no text.
            members = {name: _printable(str(text)) for name, text in members.items()}
            text = self._encode(members).decode()
        # Encoders leave U+2028, DEL and the like alone; line readers do not.
        return (_printable(text) + "\n").encode()

    def ready(self, event: Ready) -> bytes:
        """Return ``event`` as one object."""
        members: Fields = {
            "time": self._clock.text(event.created),
            "level": "info",
            "logger": event.logger,
            "event": event.event,
        }
        members.update(event.fields)
        return self._encode(members) + b"\n"


class ConsoleLines:
    """``time LEVEL logger: event  name=value ...``, in colour on a terminal."""

    def __init__(self, *, colour: bool = False) -> None:
        self._clock = _Clock()
        self._colour = colour
        self._info = self._shown("info")

    def line(self, record: logging.LogRecord) -> bytes:
        """Return ``record`` for people; a traceback follows on indented lines."""
        said = f"{record.name}: {_event(record)}{pairs(_extras(record))}"
        lines = [_printable(said)]
        if record.exc_info:
            # Only line feeds part lines here; other breaks are escaped within them.
            quoted = _traceback(record).rstrip("\n").split("\n")
            lines += [f"    {_printable(quote)}" for quote in quoted]
        text = "\n".join(lines)
        shown = self._shown(record.levelname.lower())
        return f"{self._clock.text(record.created)} {shown} {text}\n".encode()

    def ready(self, event: Ready) -> bytes:
        """Return ``event`` for people."""
        time = self._clock.text(event.created)
        said = f"{time} {self._info} {event.logger}: {event.event}{event.pairs()}\n"
        return said.encode()

    def _shown(self, level: str) -> str:
        shown = f"{level.upper():<7}"
        if self._colour:
            shown = f"\x1b[{_COLOURS.get(level, '31')}m{shown}\x1b[0m"
        return shown


def safe(text: str) -> str:
    """Return ``text`` fit for a line: short, printable, and free of secrets."""
    return redact(_printable(_cut(text, MAX_VALUE)))


def pairs(fields: Fields) -> str:
    """Return ``fields`` as they stand in a line of the console."""
    text = "".join([f" {name}={value}" for name, value in fields.items()])
    if text.count(" ") == text.count("=") == len(fields) and '"' not in text:
        return text  # As nearly always: no value that could be taken for two.
    return "".join([f" {name}={quoted(value)}" for name, value in fields.items()])


def unwritable(
    logger: str, error: Exception, path: str = "", line: int = 0
) -> logging.LogRecord:
    """Return what is logged instead of an event that no line could be made of."""
    place = f" at {path}:{line}" if path else ""
    said = f"an event could not be logged: {type(error).__name__}{place}"
    return logging.LogRecord(logger, logging.ERROR, path, line, said, (), None)


def _extras(record: logging.LogRecord) -> Fields:
    return {
        name: value if isinstance(value, _NUMBERS) else _shown(name, value)
        for name, value in record.__dict__.items()
        if name not in _OWN
    }


def _shown(name: str, value: object) -> str:
    text = _cut(value if isinstance(value, str) else repr(value), MAX_VALUE)
    # Judged with its name, for some values look like secrets only then.
    return redact(f"{name}={text}")[len(name) + 1 :]


def _event(record: logging.LogRecord) -> str:
    return redact(_cut(record.getMessage(), MAX_MESSAGE))


def quoted(value: str | float | None) -> str:
    """Return ``value`` so that it cannot be taken for two."""
    if isinstance(value, str) and _NEEDS_QUOTES.search(value):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return str(value)


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[:length]}[cut]"


def _traceback(record: logging.LogRecord) -> str:
    assert record.exc_info is not None  # noqa: S101 - both callers have looked
    text = redact("".join(traceback.format_exception(*record.exc_info)))
    # The end tells what was raised; the beginning is only how we got there.
    return text if len(text) <= MAX_TRACEBACK else "[cut]" + text[-MAX_TRACEBACK:]


def _printable(text: str) -> str:
    if text.isprintable():
        return text
    return _HIDDEN_CHARACTER.sub(_escaped, text)


def _escaped(match: re.Match[str]) -> str:
    character = match.group()
    if character.isprintable():
        return character
    code = ord(character)
    if code <= 0xFFFF:
        return f"\\u{code:04x}"
    # As JSON writes it, so that a JSON line stays one: in two halves.
    code -= 0x10000
    return f"\\u{0xD800 + (code >> 10):04x}\\u{0xDC00 + (code & 0x3FF):04x}"
