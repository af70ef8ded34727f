"""Finishes requests as fast as it can and prints their ids, until it is killed."""

import os
import sys
from pathlib import Path

import trio

from gandalf.actors.supervisor import supervise
from gandalf.actors.usage_journal import UsageJournal
from gandalf.domain.ids import new_id
from gandalf.storage.database import Database
from gandalf.storage.journal import JournalDirectory
from gandalf.storage.usage import UsageTable
from tests.storage.builders import SEGMENT_BYTES, a_record


async def main(folder: Path) -> None:
    database = Database(folder / "gandalf.db")
    await database.open()
    directory = JournalDirectory(folder / "journal", SEGMENT_BYTES)
    journal = UsageJournal(directory, UsageTable(database), flush_every=0.005)
    async with supervise(journal):
        while True:
            journal.reserve()
            request_id = new_id()
            journal.write(a_record(request_id))
            journal.flush()
            os.write(1, f"{request_id}\n".encode())  # "the answer's last byte"
            await trio.lowlevel.checkpoint()


trio.run(main, Path(sys.argv[1]))
