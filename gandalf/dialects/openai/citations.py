"""Citations as OpenAI's annotations.

OpenAI has one kind, ``url_citation``, which says what span of the text a web page
stands for. Others' citations of web pages become that; of documents, there is no way.
"""

from __future__ import annotations

from typing import Any


def annotation_of(
    citation: dict[str, Any], start: int, end: int
) -> dict[str, Any] | None:
    """Return ``citation`` as an annotation; None if it cites no web page.

    Args:
        citation: OpenAI's own, Anthropic's or Gemini's.
        start: Where the text begins that it belongs to, in the whole content.
        end: Where that ends.
    """
    if citation.get("type") == "url_citation":
        return citation
    page = citation.get("web")
    source = page if isinstance(page, dict) else citation
    url = source.get("url") or source.get("uri")
    if not isinstance(url, str):
        return None
    cited = {
        "start_index": start,
        "end_index": end,
        "title": source.get("title") or url,
        "url": url,
    }
    return {"type": "url_citation", "url_citation": cited}
