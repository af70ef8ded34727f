"""The writer on real pipes: its thread is real, so no virtual time here."""

import contextlib
import os
import time

import pytest

from gandalf.telemetry.log_writer import MAX_WAITING_BYTES, LogWriter

LINE = b"x" * 999 + b"\n"


@pytest.fixture
def pipe():
    reader, writer = os.pipe()
    yield reader, writer
    for fd in (reader, writer):
        with contextlib.suppress(OSError):  # The test may have closed it.
            os.close(fd)


def read_all(reader):
    pieces = []
    while piece := os.read(reader, 65536):
        pieces.append(piece)
    return b"".join(pieces)


def fill(writer):
    """Leave no room in the pipe, as if its reader had gone for lunch."""
    os.set_blocking(writer, False)
    try:
        while True:
            os.write(writer, b"." * 4096)
    except BlockingIOError:
        os.set_blocking(writer, True)


def end(writer, reader):
    """Let the thread go, lest it writes to whoever gets its descriptor next."""
    os.close(reader)
    writer.close(within=30)
    assert writer.waiting_bytes == 0


def test_lines_come_out_in_order_and_all_of_them_by_the_close(pipe):
    reader, fd = pipe
    writer = LogWriter(fd)
    lines = [b"%d\n" % number for number in range(2000)]

    for line in lines:
        writer.post(line)
    writer.close()
    os.close(fd)

    assert read_all(reader) == b"".join(lines)
    assert writer.dropped == 0
    assert writer.waiting_bytes == 0


def test_lines_that_wait_are_written_as_fast_as_they_are_read(tmp_path):
    with (tmp_path / "log").open("wb") as file:
        writer = LogWriter(file.fileno())
        for _ in range(MAX_WAITING_BYTES // len(LINE)):
            writer.post(LINE)

        started = time.monotonic()
        while writer.waiting_bytes and time.monotonic() - started < 2.0:
            time.sleep(0.01)

        # As many pauses as there are writes would take three seconds.
        assert writer.waiting_bytes == 0
        writer.close()


def test_a_pipe_that_nobody_reads_stops_no_one_and_holds_a_bounded_amount(pipe):
    reader, fd = pipe
    fill(fd)
    writer = LogWriter(fd, max_bytes=100_000)

    started = time.monotonic()
    for _ in range(1000):
        writer.post(LINE)

    # A blocking write would never return, so any bound tells the difference.
    assert time.monotonic() - started < 2.0
    assert writer.waiting_bytes == 100_000
    assert writer.dropped == 900
    end(writer, reader)


def test_close_gives_up_on_a_pipe_that_nobody_reads(pipe):
    reader, fd = pipe
    fill(fd)
    writer = LogWriter(fd)
    writer.post(LINE)

    started = time.monotonic()
    writer.close(within=0.05)

    assert 0.04 < time.monotonic() - started < 2.0
    end(writer, reader)


def test_what_waited_is_written_once_the_reader_is_back(pipe):
    reader, fd = pipe
    fill(fd)
    writer = LogWriter(fd, max_bytes=3000)
    for _ in range(5):
        writer.post(LINE)
    got = os.read(reader, 1 << 20)

    writer.close()
    os.close(fd)
    got += read_all(reader)

    assert got.lstrip(b".") == LINE * 3
    assert writer.dropped == 2


def test_a_pipe_made_non_blocking_by_others_is_waited_for(pipe):
    reader, fd = pipe
    os.set_blocking(fd, False)
    writer = LogWriter(fd)
    lines = [LINE] * 300  # More than a pipe holds.

    for line in lines:
        writer.post(line)
    got = b""
    while len(got) < 300_000:
        got += os.read(reader, 65536)
    writer.close()

    assert got == b"".join(lines)
    assert writer.dropped == 0


def test_lines_for_a_reader_that_has_gone_are_counted_as_dropped(pipe):
    reader, fd = pipe
    os.close(reader)
    writer = LogWriter(fd)

    writer.post(LINE)
    writer.post(LINE)
    writer.close()

    assert writer.dropped == 2


def test_a_line_after_the_close_is_dropped_and_counted(pipe):
    _, fd = pipe
    writer = LogWriter(fd)
    writer.close()
    writer.close()

    writer.post(LINE)

    assert writer.dropped == 1
    assert writer.waiting_bytes == 0
