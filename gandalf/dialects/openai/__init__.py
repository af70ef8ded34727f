"""OpenAI's chat completions and embeddings.

Source: https://platform.openai.com/docs/api-reference/chat and .../embeddings.

operations  which of the following reads what
calls       what a client asks for
answers     what a whole answer says of itself
streams     a stream that passes through untouched
errors      what an upstream says, and what the gateway says
"""

from gandalf.dialects.base import UNREADABLE as UNREADABLE
from gandalf.dialects.openai.calls import Call as Call
from gandalf.dialects.openai.errors import error_body as error_body
from gandalf.dialects.openai.errors import read_error as read_error
from gandalf.dialects.openai.errors import stream_error as stream_error
from gandalf.dialects.openai.operations import follow as follow
from gandalf.dialects.openai.operations import read_answer as read_answer
from gandalf.dialects.openai.operations import read_call as read_call
from gandalf.dialects.openai.streams import DONE as DONE
from gandalf.dialects.openai.streams import ChatStream as ChatStream

NAME = "openai"
CONTENT_TYPE = b"application/json"
STREAM_CONTENT_TYPE = b"text/event-stream"
KEEP_ALIVE = b": keep-alive\n\n"
KEY_HEADER = b""
