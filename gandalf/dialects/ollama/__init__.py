"""Ollama's chats, generations and embeddings.

Source: https://docs.ollama.com/api and https://docs.ollama.com/openapi.yaml.

calls       what a client asks for
answers     a whole answer: what it says of itself, parsed and rendered
streams     a stream: passed through untouched, parsed and rendered
reshape     a whole answer as the stream that it stands for, and back
errors      what an upstream says, and what the gateway says
finishes    done reasons; the closed table of good ones
requests    a request as it is written
parsing     a request as a conversation
rendering   a conversation as a request
embeddings  both ways
treatments  what a request loses on the way here
images      what kind an image is
pages       the gateway's models, as Ollama's clients want to hear of them
wire        what several of these have in common
"""

from collections.abc import Callable

from gandalf.dialects.base import UNREADABLE as UNREADABLE
from gandalf.dialects.base import Call as BaseCall
from gandalf.dialects.base import StreamParser as BaseStreamParser
from gandalf.dialects.base import StreamRenderer as BaseStreamRenderer
from gandalf.dialects.mending import Rules
from gandalf.dialects.ollama.answers import parse_answer as parse_answer
from gandalf.dialects.ollama.answers import read_answer as read_answer
from gandalf.dialects.ollama.answers import render_answer as render_answer
from gandalf.dialects.ollama.calls import Call as Call
from gandalf.dialects.ollama.calls import read_call as read_call
from gandalf.dialects.ollama.embeddings import parse_embeddings as parse_embeddings
from gandalf.dialects.ollama.embeddings import (
    parse_embeddings_request as parse_embeddings_request,
)
from gandalf.dialects.ollama.embeddings import render_embeddings as render_embeddings
from gandalf.dialects.ollama.embeddings import (
    render_embeddings_request as render_embeddings_request,
)
from gandalf.dialects.ollama.errors import REFUSALS as REFUSALS
from gandalf.dialects.ollama.errors import error_body as error_body
from gandalf.dialects.ollama.errors import read_error as read_error
from gandalf.dialects.ollama.errors import stream_error as stream_error
from gandalf.dialects.ollama.parsing import NAME as NAME
from gandalf.dialects.ollama.parsing import parse_request as parse_request
from gandalf.dialects.ollama.rendering import render_request as render_request
from gandalf.dialects.ollama.reshape import as_stream as as_stream
from gandalf.dialects.ollama.reshape import as_whole as as_whole
from gandalf.dialects.ollama.streams import AnswerStream as AnswerStream
from gandalf.dialects.ollama.streams import StreamParser as StreamParser
from gandalf.dialects.ollama.streams import StreamRenderer as StreamRenderer
from gandalf.dialects.ollama.treatments import TREATMENTS as TREATMENTS

# Ollama takes any name; chat templates take a system message at the top only.
MENDING = Rules(".", ".", 256, late_system=False)
CONTENT_TYPE = b"application/json"
STREAM_CONTENT_TYPE = b"application/x-ndjson"
# White space before the object of the next line. A line of its own would not do: the
# official Python client takes every line for JSON, the empty one too.
KEEP_ALIVE = b" "
KEY_HEADER = b""
ID_HEADER = b""
# Ollama counts no tokens beforehand.
parse_count: Callable[[bytes], int] | None = None
render_count: Callable[[int], bytes] | None = None


def follow(call: BaseCall) -> AnswerStream:
    """Return what follows the stream that answers ``call``."""
    return AnswerStream()


def stream_parser() -> BaseStreamParser:
    """Return what parses a stream of this dialect."""
    return StreamParser()


def stream_renderer(call: BaseCall) -> BaseStreamRenderer:
    """Return what renders the stream that answers ``call``."""
    return StreamRenderer(call)
