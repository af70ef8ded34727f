import json
import logging
import os
import subprocess
import sys
import threading

import pytest

from gandalf.config import Logging
from gandalf.telemetry.logs import BURST, MAX_REMEMBERED, WINDOW, Repeats, configure


@pytest.fixture
def log_file(tmp_path):
    """A file for the log; afterwards, ``logging`` is as it was."""
    root, ours = logging.getLogger(), logging.getLogger("gandalf")
    before = root.handlers[:], root.level, ours.level
    with (tmp_path / "log").open("w") as file:
        yield file
        for handler in root.handlers:
            if handler not in before[0]:
                handler.close()
    root.handlers[:] = before[0]
    root.setLevel(before[1])
    ours.setLevel(before[2])


def logged(log, file):
    """All lines so far, parsed. Closes the log: nothing is in flight then."""
    log.close()
    with open(file.name) as written:  # noqa: PTH123
        return [json.loads(line) for line in written]


def test_the_gateways_own_events_go_by_the_configured_level(log_file):
    log = configure(Logging(level="info", format="json"), log_file)

    logging.getLogger("gandalf.http").debug("no")
    logging.getLogger("gandalf.http").info("yes")

    assert [line["event"] for line in logged(log, log_file)] == ["yes"]


def test_of_libraries_only_warnings_are_logged_even_at_debug(log_file):
    log = configure(Logging(level="debug", format="json"), log_file)

    logging.getLogger("httpx").info("GET https://upstream/?key=...")
    logging.getLogger("httpx").warning("careful")
    logging.getLogger("gandalf").debug("detail")

    assert [line["event"] for line in logged(log, log_file)] == ["careful", "detail"]


def test_configuring_again_replaces_and_does_not_double(log_file):
    configure(Logging(format="json"), log_file)
    log = configure(Logging(format="json"), log_file)

    logging.getLogger("gandalf").info("once")

    assert [line["event"] for line in logged(log, log_file)] == ["once"]


def test_the_console_format_has_no_colour_in_a_file(log_file):
    log = configure(Logging(format="console"), log_file)
    logging.getLogger("gandalf").warning("plain")
    log.close()

    with open(log_file.name) as written:  # noqa: PTH123
        text = written.read()
    assert text.endswith("WARNING gandalf: plain\n")


def test_an_event_that_cannot_be_formatted_is_told_of_and_harms_nobody(
    log_file, monkeypatch
):
    # Not before pytest's own handlers, which raise what they cannot format.
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    log = configure(Logging(format="json"), log_file)

    logging.getLogger("gandalf").info("%d items", "no number")
    logging.getLogger("gandalf").info("and on")

    first, second = logged(log, log_file)
    assert first["event"].startswith("an event could not be logged: TypeError at ")
    assert "test_logs.py" in first["event"]
    assert second["event"] == "and on"


class AReadyEvent:
    created = 0.25
    logger = "gandalf.test"
    event = "request"

    def __init__(self, number):
        self.fields = {"number": number}

    def pairs(self):
        return f" number={self.fields['number'] + 0}"


def test_an_event_that_is_ready_keeps_its_place_between_others(log_file):
    log = configure(Logging(format="json"), log_file)

    logging.getLogger("gandalf").info("before")
    log.write(AReadyEvent(1))
    logging.getLogger("gandalf").info("after")

    lines = logged(log, log_file)
    assert [line["event"] for line in lines] == ["before", "request", "after"]
    assert lines[1] == {
        "time": "1970-01-01T00:00:00.250Z",
        "level": "info",
        "logger": "gandalf.test",
        "event": "request",
        "number": 1,
    }


def test_a_ready_event_that_no_line_can_be_made_of_is_told_of(log_file):
    log = configure(Logging(format="console"), log_file)
    log.write(AReadyEvent("no number"))
    log.close()

    with open(log_file.name) as written:  # noqa: PTH123
        text = written.read()
    assert "gandalf.test: an event could not be logged: TypeError" in text


def test_events_from_other_threads_are_logged_too(log_file):
    log = configure(Logging(format="json"), log_file)
    threads = [
        threading.Thread(target=logging.getLogger("gandalf").info, args=(str(n),))
        for n in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert {line["event"] for line in logged(log, log_file)} == {
        str(n) for n in range(20)
    }


# Repeats.


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def a_warning(message="disk %s", level=logging.WARNING, error=None):
    exc_info = (type(error), error, None) if error else None
    return logging.LogRecord("gandalf", level, "x.py", 1, message, ("full",), exc_info)


def test_the_same_warning_passes_a_few_times_and_is_then_counted():
    repeats = Repeats(Clock())

    passed = [repeats.filter(a_warning()) for _ in range(BURST + 10)]

    assert passed == [True] * BURST + [False] * 10
    assert repeats.suppressed == 10


def test_after_the_window_it_passes_again_and_says_how_many_there_were():
    clock = Clock()
    repeats = Repeats(clock)
    for _ in range(BURST + 10):
        repeats.filter(a_warning())

    clock.now = WINDOW
    again = a_warning()

    assert repeats.filter(again)
    assert again.suppressed == 10
    following = a_warning()
    assert repeats.filter(following)
    assert not hasattr(following, "suppressed")


def test_different_warnings_do_not_count_for_each_other():
    repeats = Repeats(Clock())
    for _ in range(BURST):
        repeats.filter(a_warning())

    assert repeats.filter(a_warning("network %s"))
    assert repeats.filter(a_warning(level=logging.ERROR))
    assert repeats.filter(a_warning(error=OSError()))
    assert not repeats.filter(a_warning())


def test_information_is_never_suppressed():
    repeats = Repeats(Clock())
    assert all(repeats.filter(a_warning(level=logging.INFO)) for _ in range(100))


def test_the_memory_for_repeats_is_bounded():
    repeats = Repeats(Clock())
    for number in range(3 * MAX_REMEMBERED):
        repeats.filter(a_warning(f"warning {number}"))
    assert len(repeats._windows) <= MAX_REMEMBERED


# Processes.

SCRIPT = """
import logging
from gandalf.config import Logging
from gandalf.telemetry.logs import configure
log = configure(Logging(format="json"))
for number in range({count}):
    logging.getLogger("gandalf").info("line %d", number)
"""


def test_the_last_line_is_there_after_the_exit():
    process = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(count=500)],
        stderr=subprocess.PIPE,
        check=True,
        timeout=30,
    )

    events = [json.loads(line)["event"] for line in process.stderr.splitlines()]
    assert events == [f"line {number}" for number in range(500)]


def test_a_process_whose_stderr_nobody_reads_still_exits():
    # 20,000 lines are more than the pipe and the queue hold.
    reader, writer = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT.format(count=20_000)], stderr=writer
    )
    os.close(writer)
    try:
        assert process.wait(timeout=30) == 0
    finally:
        process.kill()
        process.wait()
        os.close(reader)
