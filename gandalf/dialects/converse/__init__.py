"""Amazon Bedrock's Converse, spoken to upstreams only: no endpoint here is Converse's.

Source: https://docs.aws.amazon.com/bedrock/latest/APIReference/
API_runtime_Converse.html.

models    what Converse leaves to each model
requests  a request, and what becomes of each feature
blocks    the content of its messages
tools     its tools, and JSON that comes as a call
thinking  how much to think
losses    what one request loses
answers   a whole answer
streams   a streamed answer
finishes  stop reasons; the closed table of good ones
errors    what an upstream says went wrong
"""

from gandalf.dialects.converse.answers import parse_answer as parse_answer
from gandalf.dialects.converse.answers import parse_count as parse_count
from gandalf.dialects.converse.answers import parse_embeddings as parse_embeddings
from gandalf.dialects.converse.answers import read_answer as read_answer
from gandalf.dialects.converse.blocks import NAME as NAME
from gandalf.dialects.converse.errors import REFUSALS as REFUSALS
from gandalf.dialects.converse.errors import read_error as read_error
from gandalf.dialects.converse.requests import TREATMENTS as TREATMENTS
from gandalf.dialects.converse.requests import (
    render_embeddings_request as render_embeddings_request,
)
from gandalf.dialects.converse.requests import render_request as render_request
from gandalf.dialects.converse.streams import stream_parser as stream_parser
from gandalf.dialects.mending import Rules

# https://docs.aws.amazon.com/bedrock/latest/APIReference/
# API_runtime_ToolSpecification.html
MENDING = Rules("[a-zA-Z0-9_-]", "[a-zA-Z0-9_-]", 64, call_first=False, plain_root=True)
STREAM_CONTENT_TYPE = b"application/vnd.amazon.eventstream"


def as_stream(body: bytes) -> bytes:
    """Return b"": Bedrock answers a request for a stream with one, or with an error."""
    return b""


def as_whole(body: bytes) -> bytes:
    """Return b"": Bedrock's streams have an operation of their own."""
    return b""
