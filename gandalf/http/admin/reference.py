"""The table of endpoints as pages for people.

``python -m gandalf.http.admin.reference > docs/admin-api.md`` makes the page of the
documentation; the gateway serves the same as HTML.
"""

from __future__ import annotations

import html
import json
from collections.abc import Iterable, Iterator

from gandalf.http.admin.table import EVERYTHING, AdminEndpoint

_INTRODUCTION = """\
# Admin API

For operators and for scripts. Every endpoint is below `/admin/v1` and takes a key:
`authorization: Bearer gnd_...`. The same as OpenAPI 3.1: `/admin/v1/openapi.json`; as a
page of the gateway: `/admin/v1/docs`. This page is made from the table of endpoints.

- Lists are `{"data": [...], "pagination": {"offset", "limit", "total"}}`.
- Errors are problem details (RFC 9457): `title`, `status`, `detail` (what to do),
  `code` (stable), `errors` (each invalid field), `request_id`.
- An object's `ETag` goes into `If-Match` of a change: 412 if it has changed meanwhile.
- A POST with an `Idempotency-Key` is carried out once, however often it is sent.
- What the configuration file declares is *provisioned*: it can be read here, and a
  change is a 409 that names the file. What this API makes is *managed*.
- An administrator of the organisation `default` administers the whole gateway; one of
  another organisation that one, one with a team that team. Anything else is a 404.
"""


def markdown(endpoints: Iterable[AdminEndpoint], prefix: str) -> str:
    """Return the reference as Markdown."""
    return "\n".join([_INTRODUCTION, *_sections(list(endpoints), prefix)]) + "\n"


def _sections(rows: list[AdminEndpoint], prefix: str) -> Iterator[str]:
    for section in dict.fromkeys(row.section for row in rows):
        yield f"## {section}\n"
        for row in rows:
            if row.section != section:
                continue
            yield f"### `{row.method} {prefix}{row.path}`\n"
            yield f"{row.summary} {row.description}".strip() + "\n"
            yield f"Needs: {_needs(row)}.\n"
            if row.query is not None:
                names = ", ".join(f"`{name}`" for name in row.query.__struct_fields__)
                yield f"Query: {names}.\n"
            if row.example is not None:
                yield f"```json\n{json.dumps(row.example, indent=2)}\n```\n"
    yield "Next: [operations.md](operations.md), [configuration.md](configuration.md)."


def _needs(row: AdminEndpoint) -> str:
    names = [
        "an administrator"
        if permission == EVERYTHING
        else f"`{(permission.name or '').lower()}`"
        for permission in row.permissions
    ]
    return " or ".join(names)


def page(endpoints: Iterable[AdminEndpoint], prefix: str) -> bytes:
    """Return the reference as an HTML page without scripts."""
    rows = list(endpoints)
    parts = []
    for row in rows:
        example = ""
        if row.example is not None:
            example = f"<pre>{html.escape(json.dumps(row.example, indent=2))}</pre>"
        parts.append(
            f"<h2><code>{row.method} {html.escape(prefix + row.path)}</code></h2>"
            f"<p>{html.escape(f'{row.summary} {row.description}'.strip())}</p>"
            f"<p>Needs: {html.escape(_needs(row))}.</p>{example}"
        )
    return (
        "<!doctype html><html lang=en><meta charset=utf-8>"
        "<meta name=viewport content='width=device-width'>"
        "<title>Gandalf admin API</title><h1>Gandalf admin API</h1>"
        f"<p><a href='{prefix}/openapi.json'>OpenAPI 3.1</a></p>{''.join(parts)}</html>"
    ).encode()


if __name__ == "__main__":
    import sys

    from gandalf.http.admin.api import described
    from gandalf.http.page_access import PREFIX

    sys.stdout.write(markdown(described(), PREFIX))
