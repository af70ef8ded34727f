"""Sets up the log: one handler for the whole process, on stderr.

Everything but the access log goes through the standard ``logging``; this module decides
what is let through, as what line, and that writing it never holds up the event loop.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable
from typing import Protocol

from gandalf.config import Logging
from gandalf.telemetry.log_lines import (
    ConsoleLines,
    JsonLines,
    Lines,
    Ready,
    unwritable,
)
from gandalf.telemetry.log_writer import LogWriter

# The same warning or error may come so often within so many seconds; what is beyond
# is counted, and the next one that passes says how many there were.
BURST = 5
WINDOW = 10.0
# Different events remembered at a time. Past it all are forgotten: at worst a few
# more lines than there should be.
MAX_REMEMBERED = 1000


class Stream(Protocol):
    """A file that is open on a descriptor."""

    def fileno(self) -> int: ...

    def isatty(self) -> bool: ...


class Repeats(logging.Filter):
    """Lets through the first few of the same warning or error, and counts the rest.

    The same: same logger, level, unformatted message and type of exception.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._windows: dict[object, _Window] = {}
        self.suppressed = 0

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether ``record`` is to be logged."""
        if record.levelno < logging.WARNING:
            return True
        raised = record.exc_info[0] if record.exc_info else None
        event = (record.name, record.levelno, str(record.msg), raised)
        now = self._clock()
        window = self._windows.get(event)
        if window is None or now - window.opened_at >= WINDOW:
            if window is not None and window.suppressed:
                record.suppressed = window.suppressed
            if len(self._windows) >= MAX_REMEMBERED:
                self._windows.clear()
            window = self._windows[event] = _Window(now)
        if window.passed < BURST:
            window.passed += 1
            return True
        window.suppressed += 1
        self.suppressed += 1
        return False


class _Window:
    """How often one event has come since ``opened_at``."""

    __slots__ = ("opened_at", "passed", "suppressed")

    def __init__(self, opened_at: float) -> None:
        self.opened_at = opened_at
        self.passed = 0
        self.suppressed = 0


class Log(logging.Handler):
    """The process's one log handler. ``logging`` itself closes it at the exit."""

    def __init__(self, lines: Lines, writer: LogWriter, repeats: Repeats) -> None:
        super().__init__()
        self._lines = lines
        self.writer = writer
        self.repeats = repeats
        self.addFilter(repeats)

    def emit(self, record: logging.LogRecord) -> None:
        """Write ``record``'s line. Never waits, never raises."""
        try:
            line = self._lines.line(record)
        except Exception as error:  # noqa: BLE001 - a bad event must not fail a request
            instead = unwritable(record.name, error, record.pathname, record.lineno)
            line = self._lines.line(instead)
        self.writer.post(line)

    def write(self, event: Ready) -> None:
        """Write ``event``'s line, past ``logging``. Never waits, never raises."""
        try:
            line = self._lines.ready(event)
        except Exception as error:  # noqa: BLE001 - as above
            line = self._lines.line(unwritable(event.logger, error))
        self.writer.post(line)

    def close(self) -> None:
        """Write what waits, within a bound, and log no more. Idempotent."""
        self.writer.close()
        super().close()


def configure(settings: Logging, stream: Stream | None = None) -> Log:
    """Send the log to ``stream`` (stderr) as ``settings`` say; replaces what was set.

    ``settings.level`` holds for the gateway's own events. Of libraries, only warnings
    and errors are logged: some of them tell every URL they ask for at ``info``.
    """
    target: Stream = stream or sys.__stderr__ or sys.stderr
    lines: Lines = (
        JsonLines()
        if settings.format == "json"
        else ConsoleLines(colour=target.isatty())
    )
    log = Log(lines, LogWriter(target.fileno()), Repeats())
    # No line tells these, and asking for them is a fifth of what an event costs.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    root = logging.getLogger()
    for handler in root.handlers[:]:
        if isinstance(handler, Log):
            root.removeHandler(handler)
            handler.close()
    root.addHandler(log)
    root.setLevel(logging.WARNING)
    logging.getLogger("gandalf").setLevel(settings.level.upper())
    return log
