"""How storage fails. ``StorageError`` alone may pass; its subclasses need somebody.

    StorageError           locked, full, read-only, an I/O error: may be over soon
    |-- DatabaseGone       the file is not where it was; it may come back
    |-- SchemaTooNew       written by a newer Gandalf
    |-- SchemaForeign      not written by any Gandalf
    |-- MigrationFailed    nothing was changed
    |-- JournalInUse       another process writes this journal
    `-- JournalUnreadable  one segment of the journal cannot be read

None of these is a GatewayError: what a client is told is for the caller to decide.
"""

from __future__ import annotations


class StorageError(Exception):
    """The storage cannot do what was asked."""


class DatabaseGone(StorageError):
    """The database file is not there any more. Used again as soon as it is."""


class SchemaTooNew(StorageError):
    """The database was migrated by a newer version, which this one must not touch."""


class SchemaForeign(StorageError):
    """The file holds the tables of another program."""


class MigrationFailed(StorageError):
    """A migration did not apply; the database is as it was before it."""


class JournalInUse(StorageError):
    """Another gateway, in this process or another one, has the journal open."""


class JournalUnreadable(StorageError):
    """A segment file is gone or broken; the others are not affected."""
