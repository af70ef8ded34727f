"""OpenAI's chat completions, legacy completions and embeddings.

Source: https://platform.openai.com/docs/api-reference/chat and .../embeddings. What
passes through untouched:

operations  which of the following reads what
calls       what a client asks for
answers     what a whole answer says of itself
streams     a stream
reshape     a whole answer as the stream that it stands for, and back
views       what of all this is decoded
errors      what an upstream says, and what the gateway says

OpenAI's other endpoints, which only pass through:

passthrough          what is asked for; passthrough_answers: what comes of it
counts               what they say they have used
references           the files that a request refers to
responses            what an answer of the Responses API says of itself
media                images and sound, streamed

What is translated, from here and to here:

request_parser    a request; with ``wire`` and ``message_parser``
request_renderer  a request; with ``message_renderer`` and ``treatments``
translated        whole answers
event_parser      a stream; with ``call_parser``
event_renderer    a stream
embeddings        requests and vectors
thinking, finishes, citations, compatible  what several of these share
"""

from collections.abc import Callable

from gandalf.dialects.base import UNREADABLE as UNREADABLE
from gandalf.dialects.mending import Rules
from gandalf.dialects.openai.calls import Call as Call
from gandalf.dialects.openai.embeddings import parse_embeddings as parse_embeddings
from gandalf.dialects.openai.embeddings import (
    parse_embeddings_request as parse_embeddings_request,
)
from gandalf.dialects.openai.embeddings import render_embeddings as render_embeddings
from gandalf.dialects.openai.embeddings import (
    render_embeddings_request as render_embeddings_request,
)
from gandalf.dialects.openai.errors import REFUSALS as REFUSALS
from gandalf.dialects.openai.errors import error_body as error_body
from gandalf.dialects.openai.errors import read_error as read_error
from gandalf.dialects.openai.errors import stream_error as stream_error
from gandalf.dialects.openai.event_parser import stream_parser as stream_parser
from gandalf.dialects.openai.event_renderer import stream_renderer as stream_renderer
from gandalf.dialects.openai.operations import follow as follow
from gandalf.dialects.openai.operations import read_answer as read_answer
from gandalf.dialects.openai.operations import read_call as read_call
from gandalf.dialects.openai.request_parser import parse_request as parse_request
from gandalf.dialects.openai.request_renderer import render_request as render_request
from gandalf.dialects.openai.reshape import as_stream as as_stream
from gandalf.dialects.openai.reshape import as_whole as as_whole
from gandalf.dialects.openai.streams import DONE as DONE
from gandalf.dialects.openai.streams import ChatStream as ChatStream
from gandalf.dialects.openai.translated import parse_answer as parse_answer
from gandalf.dialects.openai.translated import render_answer as render_answer
from gandalf.dialects.openai.treatments import TREATMENTS as TREATMENTS

NAME = "openai"
MENDING = Rules("[a-zA-Z0-9_-]", "[a-zA-Z0-9_-]", 64, plain_root=True)
CONTENT_TYPE = b"application/json"
STREAM_CONTENT_TYPE = b"text/event-stream"
KEEP_ALIVE = b": keep-alive\n\n"
KEY_HEADER = b""
ID_HEADER = b""
# What counts tokens at OpenAI takes no chats: it belongs to the Responses API.
parse_count: Callable[[bytes], int] | None = None
render_count: Callable[[int], bytes] | None = None
