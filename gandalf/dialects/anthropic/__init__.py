"""Anthropic's Messages, and the count of their tokens.

Source: https://platform.claude.com/docs/en/api/messages.

calls            what a client asks for
foreign          what is left out of it: what other providers' models have thought
answers          what a whole answer says of itself
streams          a stream that passes through untouched
reshape          a whole answer as the stream that it stands for, and back
errors           what an upstream says, and what the gateway says
events           the events of a stream
finishes         stop reasons; the closed table of good ones
treatments       what becomes of each feature here
models           what each model accepts
parse_requests   a request, into the neutral model; parse_blocks: its content
render_requests  and out of it; render_messages, render_blocks, thinking, schemas
parse_answers    a whole answer, into the neutral model
render_answers   and out of it
parse_streams    a stream, into neutral events
render_streams   and out of them
"""

from gandalf.dialects.anthropic.answers import read_answer as read_answer
from gandalf.dialects.anthropic.calls import Call as Call
from gandalf.dialects.anthropic.calls import read_call as read_call
from gandalf.dialects.anthropic.errors import REFUSALS as REFUSALS
from gandalf.dialects.anthropic.errors import error_body as error_body
from gandalf.dialects.anthropic.errors import read_error as read_error
from gandalf.dialects.anthropic.errors import stream_error as stream_error
from gandalf.dialects.anthropic.parse_answers import parse_answer as parse_answer
from gandalf.dialects.anthropic.parse_answers import parse_count as parse_count
from gandalf.dialects.anthropic.parse_requests import parse_request as parse_request
from gandalf.dialects.anthropic.parse_streams import stream_parser as stream_parser
from gandalf.dialects.anthropic.render_answers import render_answer as render_answer
from gandalf.dialects.anthropic.render_answers import render_count as render_count
from gandalf.dialects.anthropic.render_requests import (
    render_embeddings_request as render_embeddings_request,
)
from gandalf.dialects.anthropic.render_requests import render_request as render_request
from gandalf.dialects.anthropic.render_streams import stream_renderer as stream_renderer
from gandalf.dialects.anthropic.reshape import as_stream as as_stream
from gandalf.dialects.anthropic.reshape import as_whole as as_whole
from gandalf.dialects.anthropic.streams import MessagesStream as MessagesStream
from gandalf.dialects.anthropic.treatments import TREATMENTS as TREATMENTS
from gandalf.dialects.base import Call as BaseCall
from gandalf.dialects.conversation import Embeddings, EmbeddingsRequest
from gandalf.dialects.mending import Rules
from gandalf.domain.errors import BadRequest

NAME = "anthropic"
MENDING = Rules("[a-zA-Z0-9_-]", "[a-zA-Z0-9_-]", 128, plain_root=True)
STREAM_CONTENT_TYPE = b"text/event-stream"
KEEP_ALIVE = b'event: ping\ndata: {"type": "ping"}\n\n'
KEY_HEADER = b"x-api-key"
ID_HEADER = b"request-id"


def follow(call: BaseCall) -> MessagesStream:
    """Return what follows the stream that answers ``call``."""
    return MessagesStream()


def parse_embeddings_request(call: BaseCall) -> EmbeddingsRequest:
    """Refuse: Anthropic has no embeddings."""
    raise _no_embeddings()


def parse_embeddings(body: bytes) -> Embeddings:
    """Refuse: Anthropic has no embeddings."""
    raise _no_embeddings()


def render_embeddings(embeddings: Embeddings, call: BaseCall) -> bytes:
    """Refuse: Anthropic has no embeddings."""
    raise _no_embeddings()


def _no_embeddings() -> BadRequest:
    return BadRequest("Anthropic has no embeddings", code="unsupported_operation")
