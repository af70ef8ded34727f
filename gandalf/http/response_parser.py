"""What an upstream's bytes mean as HTTP/1.1 responses. Pure: bytes in, state out.

llhttp does the grammar. Here is what it leaves open: which end of the connection is
an end of the body, what may not be unbounded, and what may not be mixed up: a byte
after the response never becomes part of the next one.
"""

from __future__ import annotations

import httptools

from gandalf.http.field_names import known, lowered
from gandalf.providers.base import Headers
from gandalf.providers.watch import UpstreamBroken

# Bytes in a row that may arrive without any byte of a body among them: the header
# section, interim responses, chunk extensions and trailers. A large set of cookies
# and a content security policy take 16 KiB; nobody honest needs more than this.
MAX_OVERHEAD = 64 * 1024

# Joining repeated fields copies them, so their sum is kept small enough for the
# copying of the worst header section to stay below a few milliseconds.
MAX_JOINED = 16 * 1024


class ResponseParser:
    """Reads the responses of one connection, one after another."""

    __slots__ = (
        "_fault",
        "_head_request",
        "_http",
        "_interim",
        "_overhead",
        "_until_close",
        "chunks",
        "complete",
        "headers",
        "on_body",
        "reusable",
        "silent",
        "status",
    )

    def __init__(self) -> None:
        self.chunks: list[bytes] = []
        """Body bytes that arrived and were not taken."""
        # Called for each chunk, of which a stream has many: so it is the list's own.
        self.on_body = self.chunks.append
        self._http = httptools.HttpResponseParser(self)
        # As they are again after each response that another one may follow.
        self._interim = False
        self._overhead = 0
        self._fault = ""
        # Set with each header section.
        self._until_close = False
        self.begin(head_request=False)

    def begin(self, *, head_request: bool) -> None:
        """Expect the response to a request that is about to be sent."""
        self.status = 0
        """0 until the header section is complete."""
        self.headers: Headers = {}
        self.chunks.clear()
        self.complete = False
        self.reusable = False
        """Whether the connection may carry another request, once ``complete``."""
        self.silent = True
        """Whether nothing at all has arrived."""
        self._head_request = head_request

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        """Take in what arrived; b"" is the end of the connection.

        Raises:
            UpstreamBroken: This is not, or not the whole of, an HTTP response.
        """
        if not data:
            self._end_of_connection()
            return
        self.silent = False
        try:
            self._http.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if not self.complete:
                fault = self._fault or str(error) or "refused"
                raise UpstreamBroken(
                    f"the upstream's answer is not valid HTTP: {fault}", sent=True
                ) from None
            self.reusable = False  # Data after the response: whose it is nobody knows.
        if self._head_request:
            self.chunks.clear()  # Whatever it is, it is not a body.
        if self.chunks or self.complete:
            self._overhead = 0
            return
        self._overhead += len(data)
        if self._overhead > MAX_OVERHEAD:
            raise UpstreamBroken(
                f"the upstream sent over {MAX_OVERHEAD} bytes of headers", sent=True
            )

    def take(self) -> bytes:
        """Return, and forget, the body bytes that have arrived."""
        chunks = self.chunks
        data = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        chunks.clear()
        return data

    def _end_of_connection(self) -> None:
        if not self._until_close:
            where = "its answer was complete" if self.status else "it answered"
            raise UpstreamBroken(
                f"the upstream closed the connection before {where}", sent=True
            )
        self.complete = True

    # What llhttp calls. An exception in here ends the parsing; feed() looks at _fault.

    def on_message_begin(self) -> None:
        if self.complete:
            self._refuse("data after the response")

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.status:
            return  # A trailer: nobody asked for any, and the headers are handed out.
        name = known.get(name) or lowered(name)
        headers = self.headers
        if name not in headers:
            headers[name] = value
            return
        headers[name] = joined = b"%b, %b" % (headers[name], value)
        if len(joined) > MAX_JOINED:
            self._refuse("a header field is repeated too often")

    def on_headers_complete(self) -> None:
        status = self._http.get_status_code()
        if status < 200:
            if status < 100:
                self._refuse(f"unexpected status {status}")
            # An interim response; but for 101, which llhttp refuses to go on after.
            self._interim = True
            self.headers = {}
            return
        headers = self.headers
        coding = headers.get(b"transfer-encoding")
        self._until_close = coding is None and b"content-length" not in headers
        if coding is not None and coding.lower() != b"chunked":
            self._refuse("unsupported transfer-encoding")
        self.status = status
        # llhttp cannot know that this response has no body; it would take the next
        # response for one, so the connection ends here.
        self.complete = self._head_request

    def on_message_complete(self) -> None:
        if self._interim:
            self._interim = False
        elif not self.complete:
            self.complete = True
            self.reusable = self._http.should_keep_alive()

    def _refuse(self, fault: str) -> None:
        self._fault = fault
        raise ValueError(fault)
