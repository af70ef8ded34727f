"""Usage as rows of JSON and CSV.

Amounts of money are integers of nano-USD; ``cost_usd`` is the same as an exact decimal
number.
"""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from datetime import UTC, datetime, tzinfo
from typing import Any, NamedTuple

import msgspec
import trio

from gandalf.domain import histogram
from gandalf.domain.buckets import Period, bucket_start
from gandalf.domain.usage import UsageRecord
from gandalf.http.admin.table import AdminReply
from gandalf.storage.rollups import MEASURES
from gandalf.storage.usage_queries import Sums

ROWS_AT_ONCE = 50
"""Rows of sums that are made between two checkpoints: some 5 ms with percentiles."""

_TOKENS = {
    name.removesuffix("_tokens"): name for name in MEASURES if name.endswith("_tokens")
}
_PROMPT = ("input", "cache_read", "cache_write", "cache_write_1h", "audio_input")


def usd(nanousd: int) -> msgspec.Raw:
    """Return an amount in USD as a JSON number with nine exact decimals."""
    whole, part = divmod(abs(nanousd), 10**9)
    return msgspec.Raw(f"{'-' if nanousd < 0 else ''}{whole}.{part:09d}".encode())


def request_row(record: UsageRecord) -> dict[str, Any]:
    """Return a request as a row of ``/usage``."""
    tokens, cost = record.tokens, record.cost_nanousd
    at = datetime.fromtimestamp(record.received_at, UTC)
    return {
        "id": record.request_id,
        "request_id": record.client_request_id or record.request_id,
        "created_at": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "org_id": record.org_id,
        "team_id": record.team_id,
        "user_id": record.user_id,
        "key_id": record.key_id,
        "operation": record.operation,
        "alias": record.alias,
        "model": record.model,
        "provider_id": record.provider,
        "stream": record.stream,
        "status_code": record.status,
        "end_reason": record.end_reason.value,
        "error_code": record.error_code,
        "cached": record.cache == "hit",
        "prompt_tokens": tokens.prompt_tokens,
        "completion_tokens": tokens.completion_tokens,
        "total_tokens": tokens.total_tokens,
        "usage_source": record.usage_source.value,
        "tokens": {
            name: getattr(tokens, name)
            for name in tokens.__struct_fields__
            if name != "other"
        },
        "cost_nanousd": cost,
        "cost_usd": None if cost is None else usd(cost),
        "latency_ms": round(record.latency * 1000, 3),
        "ttft_ms": None if record.ttft is None else round(record.ttft * 1000, 3),
        "attempts": len(record.attempts),
        "tags": list(record.tags),
    }


class SumsShape(NamedTuple):
    """How sums are shown."""

    period: Period
    zone: tzinfo
    group_by: Sequence[str]
    percentiles: bool

    async def pages(self, sums: Sequence[Sums]) -> AsyncIterator[list[dict[str, Any]]]:
        """Yield rows, some milliseconds' work at a time."""
        for start in range(0, len(sums), ROWS_AT_ONCE):
            await trio.lowlevel.checkpoint()
            yield [self.row(found) for found in sums[start : start + ROWS_AT_ONCE]]

    def row(self, sums: Sums) -> dict[str, Any]:
        """Return sums as a row of ``/usage/summary``."""
        row: dict[str, Any] = {
            name: _tags(value) if name == "tags" else value
            for name, value in zip(self.group_by, sums.group, strict=True)
        }
        row["period"] = self.period.value
        if self.period is not Period.TOTAL:
            row["bucket"] = bucket_start(self.period, sums.bucket, self.zone)
        row |= _measures(sums)
        if self.percentiles:
            row["latency_ms"] = _percentiles(sums.latency)
            row["ttft_ms"] = _percentiles(sums.ttft)
        return row


def _measures(sums: Sums) -> dict[str, Any]:
    prompt = sum(sums[f"{name}_tokens"] for name in (*_PROMPT, "other_input"))
    every = sum(sums[name] for name in _TOKENS.values())
    return {
        "request_count": sums["requests"],
        "error_count": sums["errors"],
        "cached_count": sums["cached"],
        "unpriced_count": sums["unpriced"],
        "prompt_tokens": prompt,
        "completion_tokens": every - prompt,
        "total_tokens": every,
        "tokens": {name: sums[column] for name, column in _TOKENS.items()},
        "cost_nanousd": sums["cost_nanousd"],
        "cost_usd": usd(sums["cost_nanousd"]),
        "latency_avg_ms": round(sums["latency_us"] / sums["requests"] / 1000, 3),
    }


def _percentiles(packed: int) -> dict[str, float | None]:
    found = histogram.quantiles(packed, (0.5, 0.95, 0.99))
    return {
        name: None if us is None else round(us / 1000, 3)
        for name, us in zip(("p50", "p95", "p99"), found, strict=True)
    }


def _tags(value: str | int) -> list[str]:
    tags: list[str] = msgspec.json.decode(str(value)) if value else []
    return tags


# Exports.


def export(kind: str, pages: AsyncIterator[list[dict[str, Any]]]) -> AdminReply:
    encode, media_type = EXPORTS[kind]
    return AdminReply(stream=encode(pages), content_type=media_type)


async def _as_ndjson(
    pages: AsyncIterator[list[dict[str, Any]]],
) -> AsyncIterator[bytes]:
    encode_lines = msgspec.json.Encoder().encode_lines
    async for rows in pages:
        yield encode_lines(rows)


async def _as_csv(pages: AsyncIterator[list[dict[str, Any]]]) -> AsyncIterator[bytes]:
    first = True
    async for rows in pages:
        flat = [dict(_flat(row.items())) for row in rows]
        text = io.StringIO()
        writer = csv.DictWriter(text, list(flat[0]), lineterminator="\r\n")
        if first:
            writer.writeheader()
            first = False
        writer.writerows(flat)
        yield text.getvalue().encode()


EXPORTS = {
    "csv": (_as_csv, "text/csv; charset=utf-8"),
    "ndjson": (_as_ndjson, "application/x-ndjson"),
}


def _flat(
    items: Iterable[tuple[str, Any]], prefix: str = ""
) -> Iterator[tuple[str, Any]]:
    for name, value in items:
        if isinstance(value, dict):
            yield from _flat(value.items(), f"{prefix}{name}_")
        else:
            yield f"{prefix}{name}", _cell(value)


def _cell(value: object) -> object:
    if isinstance(value, list):
        value = " ".join(map(str, value))
    if isinstance(value, msgspec.Raw):
        return bytes(value).decode()
    if isinstance(value, bool):
        return str(value).lower()
    # Spreadsheets take such a text for a formula (CWE-1236).
    if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r"):
        return f"'{value}"
    return value
