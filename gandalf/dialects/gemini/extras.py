"""What comes along with a candidate's parts: citations and log probabilities.

Source: ``google/genai/types.py`` (``CitationMetadata``, ``GroundingMetadata``,
``LogprobsResult``). A citation is passed on in the words of Gemini's ``Citation``:
``uri``, ``title``, ``startIndex``, ``endIndex``. What a grounding support says of
several chunks becomes one citation for each.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import msgspec

from gandalf.dialects.base import UNREADABLE
from gandalf.dialects.gemini.answers import CandidateView

Json = dict[str, Any]

_INDICES = ("startIndex", "endIndex")


class _CitationMetadata(msgspec.Struct):
    sources: list[Json] = msgspec.field(name="citationSources", default=[])
    # As Vertex calls them.
    citations: list[Json] = []


class _Source(msgspec.Struct):
    uri: str | None = None
    title: str | None = None


class _Chunk(msgspec.Struct, rename="camel"):
    web: _Source | None = None
    retrieved_context: _Source | None = None
    maps: _Source | None = None


class _Support(msgspec.Struct, rename="camel"):
    segment: Json = {}
    grounding_chunk_indices: list[int] = []


class _GroundingMetadata(msgspec.Struct, rename="camel"):
    grounding_chunks: list[_Chunk] = []
    grounding_supports: list[_Support] = []


class _Token(msgspec.Struct, rename="camel"):
    token: str = ""
    log_probability: float = 0.0


class _Top(msgspec.Struct):
    candidates: list[_Token] = []


class _LogprobsResult(msgspec.Struct, rename="camel"):
    chosen_candidates: list[_Token] = []
    top_candidates: list[_Top] = []


_decode_citations = msgspec.json.Decoder(_CitationMetadata | None).decode
_decode_grounding = msgspec.json.Decoder(_GroundingMetadata | None).decode
_decode_logprobs = msgspec.json.Decoder(_LogprobsResult | None).decode


def citations_of(candidate: CandidateView) -> list[Json]:
    """Return what ``candidate`` cites."""
    found: list[Json] = []
    # What comes along in a shape that we do not know must not cost the answer itself.
    with suppress(*UNREADABLE):
        cited = _decode_citations(candidate.citation_metadata or b"null")
        if cited is not None:
            found += [*cited.sources, *cited.citations]
    with suppress(*UNREADABLE):
        grounding = _decode_grounding(candidate.grounding_metadata or b"null")
        if grounding is not None:
            found += _grounded(grounding)
    return found


def citation_metadata(citations: Iterable[Json]) -> Json | None:
    """Return ``citations``, whoever wrote them, in Gemini's words.

    Only those that lead somewhere: with a ``uri``, or a ``url`` as others call it.
    """
    told = [_told(each) for each in citations if each.get("uri") or each.get("url")]
    return {"citationSources": told} if told else None


def logprobs_of(candidate: CandidateView) -> Json | None:
    """Return the log probabilities of ``candidate`` in OpenAI's form."""
    try:
        result = _decode_logprobs(candidate.logprobs_result or b"null")
    except UNREADABLE:
        return None
    if result is None or not result.chosen_candidates:
        return None
    tops = result.top_candidates
    content = [
        {
            **_token(chosen),
            "top_logprobs": [_token(other) for other in tops[at].candidates]
            if at < len(tops)
            else [],
        }
        for at, chosen in enumerate(result.chosen_candidates)
    ]
    return {"content": content, "refusal": None}


def logprobs_result(logprobs: Any) -> Json | None:  # noqa: ANN401
    """Return ``logprobs``, which is in OpenAI's form, in Gemini's."""
    tokens = logprobs.get("content") if isinstance(logprobs, dict) else None
    if not tokens:
        return None
    return {
        "chosenCandidates": [_own_token(each) for each in tokens],
        "topCandidates": [
            {"candidates": [_own_token(top) for top in each.get("top_logprobs") or ()]}
            for each in tokens
        ],
    }


def _grounded(grounding: _GroundingMetadata) -> list[Json]:
    chunks = grounding.grounding_chunks
    if not grounding.grounding_supports:
        return [cited for chunk in chunks if (cited := _source(chunk))]
    return [
        {
            **cited,
            **{at: support.segment[at] for at in _INDICES if at in support.segment},
        }
        for support in grounding.grounding_supports
        for index in support.grounding_chunk_indices
        if index < len(chunks) and (cited := _source(chunks[index]))
    ]


def _source(chunk: _Chunk) -> Json:
    source = chunk.web or chunk.retrieved_context or chunk.maps or _Source()
    cited = {"uri": source.uri, "title": source.title}
    return {name: value for name, value in cited.items() if value is not None}


def _told(citation: Json) -> Json:
    told = {
        "uri": citation.get("uri") or citation.get("url"),
        "title": citation.get("title"),
        "startIndex": citation.get("startIndex", citation.get("start_index")),
        "endIndex": citation.get("endIndex", citation.get("end_index")),
        "license": citation.get("license"),
    }
    return {name: value for name, value in told.items() if value is not None}


def _token(token: _Token) -> Json:
    return {
        "token": token.token,
        "logprob": token.log_probability,
        "bytes": list(token.token.encode()),
    }


def _own_token(token: Json) -> Json:
    return {
        "token": token.get("token", ""),
        "logProbability": token.get("logprob", 0.0),
    }
