"""An Amazon Bedrock on a real socket that believes no signature it cannot make itself.

    async with fake_bedrock(nursery) as bedrock:
        ...  # a provider at bedrock.url, with the keys of this module
        assert bedrock.upstream.requests[0].json()["messages"]

Who signs wrongly gets 403, and the reason is in ``bedrock.refused``. ``script`` says
what the next requests get, as in ``tests.fakes.upstream``; they must be signed too.
The signature is made again by botocore, from what was received.
"""

from __future__ import annotations

import datetime as dt
import itertools
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

import trio
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from tests.fakes import bedrock_format as fmt
from tests.fakes.upstream import (
    Answer,
    Answering,
    FakeUpstream,
    Request,
    fake_upstream,
    respond,
    stream,
)

REGION = "eu-central-1"
ACCESS_KEY = "AKIDEXAMPLE"
SECRET_KEY = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
TOKEN = "a/session+token=="
API_KEY = "bedrock-api-key-fake"
# How far a clock may be off before AWS refuses what it has signed.
MAX_SKEW = dt.timedelta(minutes=5)


@dataclass(eq=False)
class FakeBedrock:
    """Where a test reads what was asked for, and what was refused."""

    upstream: FakeUpstream
    region: str = REGION
    refused: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        """What a provider's ``base_url`` is set to."""
        return f"http://127.0.0.1:{self.upstream.port}"

    def script(self, *answers: Answering) -> None:
        """Add to what the next requests get, if they are signed."""
        self.upstream.script(*(self._guarded(answer) for answer in answers))

    def _guarded(self, answering: Answering) -> Answering:
        def answer(request: Request) -> Answer:
            reason = why_not(request, self.region)
            if reason:
                self.refused.append(reason)
                return refusal(403, reason, "InvalidSignatureException")
            return answering(request) if callable(answering) else answering

        return answer


@asynccontextmanager
async def fake_bedrock(
    nursery: trio.Nursery, region: str = REGION
) -> AsyncIterator[FakeBedrock]:
    """Serve on a free port of the loopback, in ``nursery``, until the block ends."""
    async with fake_upstream(nursery) as upstream:
        bedrock = FakeBedrock(upstream, region)
        upstream.otherwise = bedrock._guarded(as_bedrock_would)
        yield bedrock


def as_bedrock_would(request: Request) -> Answer:
    """An answer to any of the four operations, or to the counting of tokens."""
    _, _, rest = request.target.partition("/model/")
    model, _, action = rest.partition("/")
    if request.method != "POST" or "/" in action or not unquote(model):
        return refusal(404, "no such operation", "UnknownOperationException")
    asked = request.json()
    answer = _ANSWERS.get(action)
    if answer is None:
        return refusal(404, "no such operation", "UnknownOperationException")
    complaint = _complaint(action, asked)
    if complaint:
        return refusal(400, complaint, "ValidationException")
    return answer()


def refusal(status: int, message: str, kind: str) -> Answer:
    """An error as Bedrock answers with it."""
    headers = (("x-amzn-errortype", f"{kind}:http://internal.amazon.com/coral/"),)
    return respond(json.dumps({"message": message}), status, headers=headers)


def event_stream(*messages: bytes, gap: float = 0.0, **how: Any) -> Answer:
    """A stream of ``messages``, ``gap`` seconds apart."""
    return stream(*messages, gap=gap, content_type=fmt.STREAM_CONTENT_TYPE, **how)


def _complaint(action: str, asked: Any) -> str:
    """What is wrong with a request, of what Bedrock itself would refuse."""
    if action.startswith("invoke"):
        if asked.get("anthropic_version") != "bedrock-2023-05-31":
            return "anthropic_version: Field required"
        extra = [name for name in ("model", "stream") if name in asked]
        return f"{extra[0]}: Extra inputs are not permitted" if extra else ""
    if action == "count-tokens":
        asked = asked.get("input", {}).get("converse", {})
    roles = [message["role"] for message in asked.get("messages", [])]
    if not roles:
        return "The messages are missing"
    if any(a == b for a, b in itertools.pairwise(roles)):
        return "A conversation must alternate between user and assistant roles."
    return ""


_ANSWERS = {
    "invoke": lambda: respond(fmt.message()),
    "invoke-with-response-stream": lambda: event_stream(
        *map(fmt.chunk, fmt.message_events())
    ),
    "converse": lambda: respond(fmt.converse_answer()),
    "converse-stream": lambda: event_stream(*fmt.converse_events()),
    "count-tokens": lambda: respond('{"inputTokens":9}'),
}


def why_not(request: Request, region: str = REGION) -> str:
    """Why ``request`` is not let in; "" if it is."""
    given = request.header("authorization") or ""
    if given.startswith("Bearer "):
        return "" if given == f"Bearer {API_KEY}" else "unknown API key"
    scheme, _, rest = given.partition(" ")
    if scheme != "AWS4-HMAC-SHA256":
        return "there is no signature"
    parts = dict(part.strip().split("=", 1) for part in rest.split(","))
    at = request.header("x-amz-date") or ""
    scope = f"{ACCESS_KEY}/{at[:8]}/{region}/bedrock/aws4_request"
    if parts.get("Credential") != scope:
        return f"the credential is not {scope}"
    names = parts.get("SignedHeaders", "").split(";")
    unsigned = [
        name
        for raw, _ in request.headers
        if (name := raw.decode().lower()) not in names
        and (name in ("host", "content-type") or name.startswith("x-amz-"))
    ]
    if unsigned:
        return f"not signed: {unsigned}"
    if _skew(at) > MAX_SKEW:
        return "signature expired"
    if parts.get("Signature") != _signature(request, names, at, region):
        return "the signature does not match"
    return ""


def _skew(at: str) -> dt.timedelta:
    signed = dt.datetime.strptime(at, "%Y%m%dT%H%M%S%z")
    return abs(dt.datetime.now(dt.UTC) - signed)


def _signature(request: Request, names: list[str], at: str, region: str) -> str:
    headers = {name: request.header(name) for name in names}
    token = request.header("x-amz-security-token")
    again = AWSRequest(
        method=request.method,
        url=f"http://{request.header('host')}{request.target}",
        data=request.body,
        headers=headers,
    )
    again.context["timestamp"] = at
    signer = SigV4Auth(Credentials(ACCESS_KEY, SECRET_KEY, token), "bedrock", region)
    text = signer.string_to_sign(again, signer.canonical_request(again))
    return signer.signature(text, again)
