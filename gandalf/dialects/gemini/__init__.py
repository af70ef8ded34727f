"""Google's Gemini: ``generateContent`` and what belongs to it.

Source: https://ai.google.dev/api/generate-content and the types of Google's SDK
(``google/genai/types.py``).

calls        what a client asks for, and where its body names the model
answers      what an answer says of itself; usage
streams      a stream that passes through untouched
reshape      a whole answer as the stream that it stands for, and back
finishes     finish reasons; the closed table of good ones
framing      where a stream's events end; streams that are one JSON array
errors       what an upstream says, and what the gateway says
fields       a request's object, in either spelling
requests     a request, in the neutral model    history   its contents
rendering    the neutral model, as a request    contents  its messages
completions  whole answers, both ways
chunks       streams, both ways
extras       citations and log probabilities, both ways
embeddings   embeddings, both ways
counting     counts of tokens, both ways
schemas      JSON Schema and the API's own
signing      thought signatures
thinking     budgets and levels
"""

from gandalf.dialects.base import UNREADABLE as UNREADABLE
from gandalf.dialects.base import Call as BaseCall
from gandalf.dialects.gemini.answers import read_answer as read_answer
from gandalf.dialects.gemini.calls import Call as Call
from gandalf.dialects.gemini.calls import bare as bare
from gandalf.dialects.gemini.calls import read_call as read_call
from gandalf.dialects.gemini.calls import resource as resource
from gandalf.dialects.gemini.chunks import ChunkParser as ChunkParser
from gandalf.dialects.gemini.chunks import ChunkRenderer as ChunkRenderer
from gandalf.dialects.gemini.completions import parse_answer as parse_answer
from gandalf.dialects.gemini.completions import render_answer as render_answer
from gandalf.dialects.gemini.counting import parse_count as parse_count
from gandalf.dialects.gemini.counting import render_count as render_count
from gandalf.dialects.gemini.embeddings import is_batch as is_batch
from gandalf.dialects.gemini.embeddings import parse_embeddings as parse_embeddings
from gandalf.dialects.gemini.embeddings import (
    parse_embeddings_request as parse_embeddings_request,
)
from gandalf.dialects.gemini.embeddings import render_embeddings as render_embeddings
from gandalf.dialects.gemini.embeddings import (
    render_embeddings_request as render_embeddings_request,
)
from gandalf.dialects.gemini.errors import REFUSALS as REFUSALS
from gandalf.dialects.gemini.errors import error_body as error_body
from gandalf.dialects.gemini.errors import read_error as read_error
from gandalf.dialects.gemini.errors import stream_error as stream_error
from gandalf.dialects.gemini.framing import ARRAY_CONTENT_TYPE as ARRAY_CONTENT_TYPE
from gandalf.dialects.gemini.framing import ArrayFollower as ArrayFollower
from gandalf.dialects.gemini.framing import array_error as array_error
from gandalf.dialects.gemini.rendering import TREATMENTS as TREATMENTS
from gandalf.dialects.gemini.rendering import render_request as render_request
from gandalf.dialects.gemini.requests import parse_request as parse_request
from gandalf.dialects.gemini.reshape import as_stream as as_stream
from gandalf.dialects.gemini.reshape import as_whole as as_whole
from gandalf.dialects.gemini.streams import GenerateStream as GenerateStream
from gandalf.dialects.mending import Rules

NAME = "gemini"
# https://ai.google.dev/api/caching#FunctionDeclaration
# Dots and colons are left out: not every model of Google's takes them.
MENDING = Rules("[a-zA-Z0-9_-]", "[a-zA-Z_]", 64, call_first=False)
STREAM_CONTENT_TYPE = b"text/event-stream"
# Google's SDK for Python fails on a comment, the one for Go on an empty line too.
KEEP_ALIVE = b""
KEY_HEADER = b"x-goog-api-key"
ID_HEADER = b""


def follow(call: BaseCall) -> GenerateStream:
    """Return what follows the stream that answers ``call``."""
    return GenerateStream(call.n)


def stream_parser() -> ChunkParser:
    """Return what parses a stream of this dialect."""
    return ChunkParser()


def stream_renderer(call: BaseCall) -> ChunkRenderer:
    """Return what renders the stream that answers ``call``."""
    return ChunkRenderer(call.model)
