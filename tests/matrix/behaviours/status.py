"""The status of an answer, with an error body of the provider's own shape."""

from __future__ import annotations

from tests.matrix.formats import SAID
from tests.matrix.replies import Reply

from . import Case, behaviour

# What each means is in the page. A status in no list is tried by "status-unknown".
ERRORS = (
    *(400, 401, 402, 403, 404, 405, 406, 408, 409, 410, 411, 412, 413, 414, 415, 416),
    *(417, 418, 421, 422, 423, 424, 425, 426, 428, 429, 431, 451, 499),
    *(500, 501, 502, 503, 504, 507, 508, 511, 520, 522, 524, 529, 530, 598, 599),
)
REDIRECTS = (300, 301, 302, 303, 304, 307, 308)
GOOD = (201, 202, 203)
EMPTY = (204, 205)


def _error(status: int) -> None:
    @behaviour(f"status-{status}")
    def _(case: Case) -> Reply:
        return case.whole(case.form.error(status), status=status)


def _redirect(status: int) -> None:
    @behaviour(f"status-{status}")
    def _(case: Case) -> Reply:
        fields = (("location", "http://127.0.0.1:9/elsewhere"),)
        return Reply(status=status, fields=fields, framing="length", body=())


def _good(status: int) -> None:
    @behaviour(f"status-{status}")
    def _(case: Case) -> Reply:
        return case.good().but(status=status)


def _empty(status: int) -> None:
    @behaviour(f"status-{status}")
    def _(case: Case) -> Reply:
        # A 204 has no length, a 205 has one of 0.
        framing = "none" if status == 204 else "length"
        return Reply(status=status, framing=framing, content_type=None)


for each in GOOD:
    _good(each)
for each in EMPTY:
    _empty(each)


@behaviour("status-206")
def _(case: Case) -> Reply:
    size = len(case.bytes())
    fields = (("content-range", f"bytes 0-{size - 1}/{size * 2}"),)
    return case.good(fields=fields).but(status=206)


for each in REDIRECTS:
    _redirect(each)
for each in ERRORS:
    _error(each)


@behaviour("status-unknown-4xx")
def _(case: Case) -> Reply:
    return case.whole(case.form.error(487), status=487)


@behaviour("status-unknown-5xx")
def _(case: Case) -> Reply:
    return case.whole(case.form.error(577), status=577)


@behaviour("status-above-599")
def _(case: Case) -> Reply:
    return case.whole(case.form.error(500), status=799)


def _rate_limit(name: str, value: str) -> None:
    @behaviour(f"429-retry-after-{name}")
    def _(case: Case) -> Reply:
        fields = (("retry-after", value),)
        return case.whole(case.form.error(429), status=429, fields=fields)


_rate_limit("seconds", "2")
_rate_limit("zero", "0")
_rate_limit("a-day", "86400")
_rate_limit("negative", "-5")
_rate_limit("date", "Wed, 21 Oct 2099 07:28:00 GMT")
_rate_limit("date-past", "Wed, 21 Oct 2015 07:28:00 GMT")
_rate_limit("date-odd-zone", "Wed, 21 Oct 2099 07:28:00 -9999")
_rate_limit("date-year-0", "Wed, 21 Oct 0000 07:28:00 GMT")
_rate_limit("words", "in a moment")
_rate_limit("huge", "9" * 400)


@behaviour("429-retry-after-in-words")
def _(case: Case) -> Reply:
    message = f"{SAID}. Please try again in 1.5s."
    return case.whole(case.form.error(429, message), status=429)


@behaviour("503-retry-after")
def _(case: Case) -> Reply:
    fields = (("retry-after", "2"),)
    return case.whole(case.form.error(503), status=503, fields=fields)


@behaviour("500-retry-after")
def _(case: Case) -> Reply:
    fields = (("retry-after", "30"),)
    return case.whole(case.form.error(500), status=500, fields=fields)
