import json
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gandalf.domain.secret import Secret
from gandalf.domain.usage import EndReason
from gandalf.telemetry.log_lines import MAX_VALUE, ConsoleLines, JsonLines, pairs

KEY = "gnd_Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6cXV4Zm9vYmFyYmE"


def an_event(message="hello", *args, level=logging.INFO, error=None, **extras):
    exc_info = (type(error), error, error.__traceback__) if error else None
    record = logging.LogRecord(
        "gandalf.test", level, "x.py", 1, message, args, exc_info
    )
    record.created = 1_700_000_000.25
    vars(record).update(extras)
    return record


def as_json(record):
    line = JsonLines().line(record).decode()
    assert line.endswith("\n")
    assert len(line.splitlines()) == 1
    return json.loads(line)


def as_console(record):
    return ConsoleLines().line(record).decode()


def raised(error):
    """Return ``error`` as it is after a raise, with a traceback."""
    with pytest.raises(type(error)):
        raise error
    return error


def test_a_json_line_holds_time_level_logger_event_and_extras():
    event = an_event("took %d ms", 5, level=logging.WARNING, target="a/b", attempts=2)

    assert as_json(event) == {
        "time": "2023-11-14T22:13:20.250Z",
        "level": "warning",
        "logger": "gandalf.test",
        "event": "took 5 ms",
        "target": "a/b",
        "attempts": 2,
    }


def test_a_console_line_holds_the_same_for_people():
    event = an_event("took %d ms", 5, level=logging.WARNING, target="a/b", note="so so")

    assert as_console(event) == (
        "2023-11-14T22:13:20.250Z WARNING gandalf.test: took 5 ms"
        ' target=a/b note="so so"\n'
    )


def test_colour_is_only_for_terminals():
    assert "\x1b" not in as_console(an_event())
    assert "\x1b[32m" in ConsoleLines(colour=True).line(an_event()).decode()


def test_the_second_is_written_anew_when_it_changes():
    lines = JsonLines()
    early, late = an_event(), an_event()
    late.created += 1

    times = [json.loads(lines.line(event))["time"] for event in (early, late, early)]

    assert [time[-7:] for time in times] == ["20.250Z", "21.250Z", "20.250Z"]


def test_extras_cannot_pose_as_what_the_line_says_of_itself():
    members = as_json(an_event(level=logging.ERROR, event="forged", time="never"))

    assert members["event"] == "hello"
    assert members["time"].startswith("2023")


@pytest.mark.parametrize("form", [as_console, lambda e: JsonLines().line(e).decode()])
@pytest.mark.parametrize(
    "bad", ["\n", "\r\n", "\x85", "\u2028", "\x0b", "\x1b[2J", "\u202e"]
)
def test_no_character_breaks_out_of_the_line_or_moves_the_cursor(form, bad):
    text = f"a{bad}2026-01-01 INFO forged"

    line = form(an_event("model %s", text, alias=text))

    assert len(line.splitlines()) == 1
    assert line[:-1].isprintable()


@given(st.text(), st.text())
def test_any_text_becomes_one_line_of_valid_json(message, extra):
    assert isinstance(as_json(an_event("%s", message, extra=extra))["extra"], str)


@given(st.text(), st.text())
def test_any_text_becomes_one_line_on_the_console(message, extra):
    line = as_console(an_event("%s", message, extra=extra))

    assert len(line.splitlines()) == 1


def test_half_a_surrogate_pair_is_escaped_and_not_raised():
    assert as_json(an_event("\ud800", alias="x\udfff"))["event"] == "\\ud800"
    assert "\\ud800" in as_console(an_event("\ud800"))


def test_text_that_prints_stays_as_it_is():
    assert as_json(an_event("Größe 大 🙂"))["event"] == "Größe 大 🙂"
    assert "Größe 大 🙂" in as_console(an_event("Größe 大 🙂"))
    assert as_json(an_event("🙂\u2028\U000e0001"))["event"] == "🙂\u2028\U000e0001"


def test_long_values_are_cut():
    members = as_json(an_event("m" * 100_000, alias="a" * 100_000, many=["b"] * 99_999))

    assert len(members["alias"]) < MAX_VALUE + 10
    assert len(members["many"]) < MAX_VALUE + 10
    assert len(members["event"]) < 5000


def test_values_of_other_types_are_shown_and_secrets_are_not():
    members = as_json(
        an_event(end=EndReason.COMPLETE, key=Secret("hidden"), raw=b"ab", nothing=None)
    )

    assert members["end"] == "complete"
    assert members["key"] == "***"
    assert members["raw"] == "b'ab'"
    assert members["nothing"] is None


def test_a_traceback_is_a_member_in_json():
    members = as_json(an_event("failed", error=raised(ValueError("what\never"))))

    assert members["traceback"].startswith("Traceback")
    assert members["traceback"].endswith("ValueError: what\never\n")


def test_a_traceback_on_the_console_is_indented_so_that_nothing_in_it_poses_as_event():
    forged = "x\n2026-01-01T00:00:00.000Z INFO gandalf: all is well\r\x1b[2J"

    first, *more = as_console(
        an_event("failed", error=raised(ValueError(forged)))
    ).split("\n")

    assert first.endswith("gandalf.test: failed")
    assert more.pop() == ""
    assert len(more) >= 4
    assert all(line.startswith("    ") and line.isprintable() for line in more)


def test_a_long_traceback_keeps_its_end():
    members = as_json(an_event(error=raised(ValueError("v" * 50_000 + "THE END"))))

    assert len(members["traceback"]) < 17_000
    assert members["traceback"].endswith("THE END\n")


@pytest.mark.parametrize("lines", [JsonLines(), ConsoleLines()])
@pytest.mark.parametrize(
    "event",
    [
        an_event(f"refused {KEY}"),
        an_event("refused %s", KEY),
        an_event(alias=KEY),
        an_event(api_key="hunter2secret " + KEY),
        an_event(headers={b"authorization": b"Bearer " + KEY.encode()}),
        an_event(raw=KEY.encode()),
        an_event(error=raised(ValueError(f"bad\n{KEY}"))),
    ],
    ids=["message", "argument", "extra", "named", "nested", "bytes", "traceback"],
)
def test_a_secret_is_taken_out_wherever_it_stands(lines, event):
    assert KEY not in lines.line(event).decode()


class AReadyEvent:
    logger = "gandalf.test"
    event = "request"

    def __init__(self, created, fields):
        self.created, self.fields = created, fields

    def pairs(self):
        return pairs(self.fields)


def test_a_ready_event_is_written_like_any_other():
    fields = {"alias": "fast", "status": 200, "stream": True, "target": "", "x": "a b"}
    plain = an_event("request", **fields)
    ready = AReadyEvent(plain.created, fields)

    for lines in (JsonLines(), ConsoleLines(), ConsoleLines(colour=True)):
        assert lines.ready(ready) == lines.line(plain)


def test_console_values_that_could_be_taken_for_two_are_quoted():
    line = as_console(an_event(a='x" b=1', b="y=2", c="z"))

    assert line.endswith('hello a="x\\" b=1" b="y=2" c=z\n')
