"""The SQLite file: one connection writes, a few read, and none on the event loop.

Durability: WAL with ``synchronous=FULL``. What ``write`` has returned from survives
the loss of power, not only that of the process.

One writer: SQLite 3.7.0 to 3.51.2 can lose committed pages when two connections write
or checkpoint at the same instant (https://sqlite.org/wal.html#walresetbug). Here one
connection writes and checkpoints, whatever the number of tasks; the others are
``query_only`` and never checkpoint. A second process on the same file is possible (a
command-line tool beside the gateway) and with such a SQLite it is warned about.

A file that was deleted or replaced is noticed, for SQLite itself would go on writing
to what nobody will ever read again: ``DatabaseGone`` until there is a file, which is
then opened, checked and migrated like at the start.
"""

from __future__ import annotations

import fcntl
import logging
import os
import sqlite3
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import trio

from gandalf.storage.errors import DatabaseGone, StorageError
from gandalf.storage.migrations import migrate

log = logging.getLogger("gandalf.storage")

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]

# Pages of the file that a connection keeps, in KiB. The system keeps them too, and half
# of SQLite's own 2000 costs nothing where rows are appended; a quarter costs a tenth.
CACHE_KIB = 1000

# A connection that failed in one of these ways may stay broken after the cause is gone
# (opened read-only, a WAL index that was lost), so the next use opens a new one.
_OPEN_AGAIN = (
    "SQLITE_CANTOPEN",
    "SQLITE_CORRUPT",
    "SQLITE_IOERR",
    "SQLITE_NOTADB",
    "SQLITE_READONLY",
)


class _Session:
    """One connection. Used by one thread at a time."""

    def __init__(
        self,
        path: Path,
        busy_timeout: float,
        prepare: Callable[[sqlite3.Connection], None],
    ) -> None:
        self._path = path
        self._busy_timeout = busy_timeout
        self._prepare = prepare
        self._connection: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None

    def connection(self) -> sqlite3.Connection:
        """Return the connection to the file that is at the path now."""
        file = _identity(self._path)
        if self._connection is None or file != self._file:
            self.close()
            self._connection = self._connect()
            self._file = file
        return self._connection

    def check(self) -> None:
        """Raise DatabaseGone if what was just written is not in the file any more."""
        if _identity(self._path) != self._file:
            raise DatabaseGone(f"{self._path} was replaced while it was written to")

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            f"{self._path.absolute().as_uri()}?mode=rw",
            uri=True,
            timeout=self._busy_timeout,
            isolation_level=None,  # transactions are ours, by name
            check_same_thread=False,  # a limiter sees to it that only one uses it
        )
        try:
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
            self._prepare(connection)
        except BaseException:
            connection.close()
            raise
        return connection


class Database:
    """Runs functions on connections to one SQLite file, in threads of its own.

    Args:
        path: The file. It is made, with its folder, if it is not there.
        readers: How many ``read`` may run at the same time.
        busy_timeout: Seconds to wait for the lock of another process.
    """

    def __init__(
        self, path: str | Path, *, readers: int = 4, busy_timeout: float = 5.0
    ) -> None:
        if str(path) in {"", ":memory:"} or str(path).startswith("file:"):
            raise StorageError(
                f"database.dsn must be the path of a file, not {str(path)!r}"
            )
        self.path = Path(path)
        self._writer = _Session(self.path, busy_timeout, self._prepare_writer)
        self._writer_slot = trio.CapacityLimiter(1)
        self._readers = deque(
            _Session(self.path, busy_timeout, _prepare_reader) for _ in range(readers)
        )
        self._reader_slots = trio.CapacityLimiter(readers)
        self._lock_file = -1
        self._usable = False

    async def open(self) -> None:
        """Open the file and bring its schema up to date.

        Raises:
            StorageError: It cannot be used; see ``gandalf.storage.errors``.
        """
        await trio.to_thread.run_sync(self._open, limiter=self._writer_slot)
        self._usable = True

    async def write(self, work: Work[T]) -> T:
        """Run ``work`` in a transaction that is committed when it returns.

        Not interrupted by cancellation: it is then either done or not begun.

        Raises:
            StorageError: Nothing was written.
        """
        self._check_usable()
        return await trio.to_thread.run_sync(
            self._run_write, work, limiter=self._writer_slot
        )

    async def read(self, work: Work[T]) -> T:
        """Run ``work``, which sees the database as of one moment and only reads.

        Raises:
            StorageError: It could not be read.
        """
        self._check_usable()
        return await trio.to_thread.run_sync(
            self._run_read, work, limiter=self._reader_slots
        )

    def close(self) -> None:
        """Close every connection. Synchronous, idempotent; nobody may be using any."""
        self._usable = False
        for reader in self._readers:
            reader.close()
        # The last one to close moves what is in the WAL into the database.
        self._writer.close()
        if self._lock_file != -1:
            os.close(self._lock_file)
            self._lock_file = -1

    def _check_usable(self) -> None:
        if not self._usable:
            raise StorageError("the database is not open")

    # What follows runs in threads.

    def _open(self) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # It holds the hashes of keys. The files beside it inherit the mode.
            self.path.touch(mode=0o600)
            self._note_other_writers()
            self._writer.connection()
        except (OSError, sqlite3.Error) as error:
            self.close()
            raise StorageError(f"cannot open {self.path}: {error}") from error
        except StorageError:
            self.close()
            raise

    def _note_other_writers(self) -> None:
        if self._lock_file != -1:
            return
        self._lock_file = os.open(f"{self.path}-lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if has_wal_reset_bug(sqlite3.sqlite_version_info):
                log.warning(
                    "%s is open in another process, and SQLite %s can lose data when"
                    " two processes write at the same instant; use 3.51.3 or newer",
                    self.path,
                    sqlite3.sqlite_version,
                )

    def _prepare_writer(self, connection: sqlite3.Connection) -> None:
        mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
        if mode != "wal":
            log.warning("%s cannot use a WAL here (%s): slower", self.path, mode)
        connection.execute("PRAGMA synchronous = FULL")
        migrate(connection, self.path)

    def _run_write(self, work: Work[T]) -> T:
        try:
            connection = self._writer.connection()
            with _Transaction(connection, "BEGIN IMMEDIATE"):
                result = work(connection)
            self._writer.check()
        except sqlite3.Error as error:
            raise _translated(error, self._writer) from error
        return result

    def _run_read(self, work: Work[T]) -> T:
        # Never empty: the limiter admits as many threads as there are sessions.
        reader = self._readers.pop()
        try:
            connection = reader.connection()
            with _Transaction(connection, "BEGIN"):
                return work(connection)
        except sqlite3.Error as error:
            raise _translated(error, reader) from error
        finally:
            self._readers.append(reader)


class _Transaction:
    """Commits if its block succeeds, rolls back if it does not."""

    def __init__(self, connection: sqlite3.Connection, begin: str) -> None:
        self._connection = connection
        self._begin = begin

    def __enter__(self) -> None:
        self._connection.execute(self._begin)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self._connection.execute("COMMIT")
        finally:
            # Some errors (a full disk) have rolled it back already.
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")


def has_wal_reset_bug(version: tuple[int, int, int]) -> bool:
    """Whether this SQLite can lose pages to two writers at the same instant."""
    return (
        (3, 7, 0) <= version < (3, 51, 3)
        and not (3, 50, 7) <= version < (3, 51, 0)
        and not (3, 44, 6) <= version < (3, 45, 0)
    )


def _prepare_reader(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA query_only = ON")
    connection.execute("PRAGMA wal_autocheckpoint = 0")


def _identity(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except OSError as error:
        raise DatabaseGone(f"{path} is gone: {error.strerror}") from error
    return found.st_dev, found.st_ino


def _translated(error: sqlite3.Error, session: _Session) -> StorageError:
    if getattr(error, "sqlite_errorname", "").startswith(_OPEN_AGAIN):
        session.close()
    return StorageError(f"database: {error}")
