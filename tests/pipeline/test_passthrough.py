import httpx
import pytest
import trio

from gandalf.config import Provider
from gandalf.dialects.openai.passthrough import Action
from gandalf.domain.errors import BadRequest, PayloadTooLarge, RequestTimeout
from gandalf.pipeline import passthrough, uploads
from gandalf.pipeline.exchange import Exchange
from gandalf.pipeline.passthrough import ask_for, read_passthrough
from gandalf.pipeline.uploads import FormUpload
from gandalf.providers.fields import parse
from gandalf.providers.openai import OpenAI
from tests.dialects.test_multipart import a_field, a_file, form
from tests.pipeline.builders import an_endpoint
from tests.pipeline.uploads import TOO_SLOW, FakeUpload, in_pieces, rest_of

TYPE = b"multipart/form-data; boundary=b0undary"
BIG = b"\x00sound" * 400_000


def an_exchange(operation, path, upload=None, body=b"", method=b"POST", **changes):
    headers = {b"content-type": TYPE, b"authorization": b"Bearer gnd_x", b"x-a": b"b"}
    return Exchange(
        endpoint=an_endpoint(operation, path=path, method=method),
        headers=changes.pop("headers", headers),
        body=body,
        request_id="r",
        received_at=0.0,
        upload=upload,
        **changes,
    )


def transcription(upload):
    return an_exchange("audio", b"/audio/transcriptions", upload)


async def sent(call, model):
    """What goes to an upstream, in all."""
    opening = call.body_for(model)
    return opening + (await rest_of(call.rest) if call.rest is not None else b"")


# Form data.


async def test_a_form_is_passed_on_with_another_model():
    body = form(a_field("model", b"fast"), a_file(BIG))
    upload = in_pieces(body, 10_000)

    call = await read_passthrough(transcription(upload))
    held = upload.taken

    assert call.model == "fast"
    assert held == 10_000
    assert call.rest.length == len(body) - held
    assert await sent(call, "gpt-4o-transcribe") == body.replace(
        b"fast", b"gpt-4o-transcribe"
    )


class SlowUpload(FakeUpload):
    """Takes two seconds for each piece."""

    async def receive(self):
        await trio.sleep(2)
        return await super().receive()


@pytest.mark.parametrize("last", [b"", TOO_SLOW])
async def test_waiting_for_a_clients_form_is_none_of_the_gateways_own_time(
    autojump_clock, last
):
    pieces = [form(a_field("model", b"fast"))[:40], last]
    exchange = transcription(SlowUpload(*pieces))

    with pytest.raises((BadRequest, RequestTimeout)):
        await read_passthrough(exchange)

    assert exchange.client_time == pytest.approx(4)


async def test_a_form_that_keeps_its_model_is_untouched():
    body = form(a_field("model", b"fast"), a_file(BIG))

    call = await read_passthrough(transcription(in_pieces(body, 65536)))

    assert await sent(call, "fast") == body


async def test_a_form_of_unknown_length_is_passed_on():
    body = form(a_field("model", b"fast"), a_file(BIG))

    upload = in_pieces(body, 65536, declared=False)
    call = await read_passthrough(transcription(upload))

    assert call.rest.length is None
    assert await sent(call, "fast") == body


@pytest.mark.parametrize("size", [1, 7, 64, 100_000])
async def test_a_small_form_is_whole_in_any_order_and_can_be_sent_again(size):
    body = form(a_file(b"x" * 500), a_field("n", b"3"), a_field("model", b"fast"))

    call = await read_passthrough(
        an_exchange("images", b"/images/edits", in_pieces(body, size))
    )

    assert (call.model, call.n, call.rest, call.replayable) == ("fast", 3, None, True)
    assert call.body_for("a") == body.replace(b"fast", b"a")
    assert call.body_for("b") == body.replace(b"fast", b"b")


async def test_what_has_been_sent_in_part_is_not_sent_again():
    body = form(a_field("model", b"fast"), a_file(BIG))
    call = await read_passthrough(transcription(in_pieces(body, 65536)))
    call.body_for("first")
    before = call.replayable
    await call.rest.receive()

    assert (before, call.replayable) == (True, False)
    with pytest.raises(BadRequest) as caught:
        call.body_for("second")
    assert caught.value.code == "upload_gone"


async def test_a_model_that_comes_after_a_large_file_is_asked_for_earlier():
    body = form(a_file(BIG), a_field("model", b"fast"))
    upload = in_pieces(body, 65536)

    with pytest.raises(BadRequest, match="must come before its files"):
        await read_passthrough(transcription(upload))

    assert upload.taken <= uploads.MAX_OPENING + 65536


def declaring(model, upload):
    headers = {b"content-type": TYPE, b"x-gandalf-model": model}
    return an_exchange("audio", b"/audio/transcriptions", upload, headers=headers)


@pytest.mark.parametrize("size", [7_000, 65_536, 5_000_000])
@pytest.mark.parametrize("model", ["m", "whisper-1", "fast"])
async def test_a_model_that_comes_after_a_large_file_may_be_said_before(size, model):
    body = form(a_field("n", b"2"), a_file(BIG), a_field("model", b"fast"))

    call = await read_passthrough(declaring(b"fast", in_pieces(body, size)))
    call.body_for("some-other-target")
    opening = call.body_for(model)
    length = call.rest.length if call.rest is not None else 0
    rest = await rest_of(call.rest) if call.rest is not None else b""

    assert call.model == "fast"
    assert opening + rest == body.replace(
        b"\r\nfast\r\n", b"\r\n%b\r\n" % model.encode()
    )
    assert len(rest) == length


async def test_a_declared_model_is_replaced_wherever_it_is_cut():
    body = form(a_file(BIG), a_field("model", b"fast"), a_field("n", b"1"))
    tail = len(body) - 250

    for size in range(1, 60):
        last = body[tail:]
        pieces = [last[n : n + size] for n in range(0, len(last), size)]
        upload = FakeUpload(body[:tail], *pieces, length=len(body))
        call = await read_passthrough(declaring(b"fast", upload))

        assert await sent(call, "dear") == body.replace(b"fast", b"dear")


@pytest.mark.parametrize(
    "fields",
    [[a_field("model", b"dear")], [], [a_field("model", b"fast")] * 2],
)
async def test_a_form_that_does_not_say_what_was_declared_fails(fields):
    body = form(a_file(BIG), *fields)
    call = await read_passthrough(declaring(b"fast", in_pieces(body, 65536)))

    with pytest.raises(BadRequest):
        await sent(call, "m")


async def test_a_body_that_ends_within_a_declared_model_fails():
    body = form(a_file(BIG), a_field("model", b"fast"))
    for end in range(body.index(b"fast") - 5, len(body) - 4):
        pieces = body[:2_000_000], body[2_000_000:end]
        call = await read_passthrough(declaring(b"fast", FakeUpload(*pieces)))

        with pytest.raises(BadRequest):
            await sent(call, "m")


async def test_a_declaration_that_the_form_contradicts_at_once_is_refused():
    body = form(a_field("model", b"dear"), a_file(BIG))

    with pytest.raises(BadRequest, match="differ"):
        await read_passthrough(declaring(b"fast", in_pieces(body, 65536)))


@pytest.mark.parametrize(
    "fields", [[], [a_field("model", b"")], [a_field("model", b"  ")]]
)
async def test_a_form_without_a_model_is_refused(fields):
    body = form(a_file(b"x"), *fields)

    with pytest.raises(BadRequest) as caught:
        await read_passthrough(transcription(in_pieces(body, 50)))

    assert caught.value.param == "model"


@pytest.mark.parametrize("model", [b"\xff", b"a\x00b", b"a\r\nb"])
async def test_a_model_that_is_no_text_is_refused(model):
    body = form(a_field("model", model), a_file(b"x"))

    with pytest.raises(BadRequest):
        await read_passthrough(transcription(in_pieces(body, 50)))


async def test_a_second_model_far_behind_fails_the_upload():
    body = form(a_field("model", b"fast"), a_file(BIG), a_field("model", b"dear"))
    call = await read_passthrough(transcription(in_pieces(body, 65536)))

    with pytest.raises(BadRequest) as caught:
        await rest_of(call.rest)

    assert caught.value.code == "duplicate_key"


async def test_an_upload_that_breaks_off_fails():
    body = form(a_field("model", b"fast"), a_file(BIG))
    cut = FakeUpload(body[:70_000], body[70_000:-10])

    call = await read_passthrough(transcription(cut))

    with pytest.raises(BadRequest, match="no end"):
        await rest_of(call.rest)


async def test_a_slow_clients_error_passes_through():
    body = form(a_field("model", b"fast"), a_file(BIG))
    early = FakeUpload(body[:20], TOO_SLOW)
    late = FakeUpload(body[:200], TOO_SLOW)

    with pytest.raises(RequestTimeout):
        await read_passthrough(transcription(early))
    call = await read_passthrough(transcription(late))
    with pytest.raises(RequestTimeout):
        await rest_of(call.rest)


async def test_how_many_images_are_wanted_may_come_last():
    body = form(a_field("model", b"fast"), a_file(BIG), a_field("n", b"4"))
    call = await read_passthrough(
        an_exchange("images", b"/images/edits", in_pieces(body, 65536))
    )

    await rest_of(call.rest)

    assert call.upload.choices == 4


async def test_what_httpx_sends_arrives_whole():
    request = httpx.Request(
        "POST",
        "http://x/",
        data={"model": "fast", "language": "en"},
        files={"file": ("a.wav", BIG, "audio/wav")},
    )
    headers = {name.lower(): value for name, value in request.headers.raw}
    body = request.read()
    exchange = an_exchange(
        "audio",
        b"/audio/transcriptions",
        in_pieces(body, 30_000),
        headers={name.lower(): value for name, value in headers.items()},
    )

    call = await read_passthrough(exchange)

    assert await sent(call, "w") == body.replace(b"\r\nfast\r\n", b"\r\nw\r\n")
    assert call.estimated_tokens > 1000


# Other bodies.


async def test_a_file_goes_through_unread():
    upload = in_pieces(b"anything at all", 4)
    exchange = an_exchange("files", b"/files", upload)

    call = await read_passthrough(exchange)

    assert (call.model, call.action, upload.taken) == ("", Action.CREATE, 0)
    assert call.rest.length == 15
    assert await sent(call, "") == b"anything at all"


async def test_an_edit_may_be_asked_for_in_json():
    body = b'{"model":"fast","prompt":"x","images":[{"file_id":"file-1"}]}'
    exchange = an_exchange(
        "images",
        b"/images/edits",
        in_pieces(body, 10),
        headers={b"content-type": b"application/json"},
    )

    call = await read_passthrough(exchange)

    assert (call.model, call.references) == ("fast", ("file-1",))
    assert call.content_type == b"application/json"


async def test_json_that_is_too_large_is_refused(monkeypatch):
    monkeypatch.setattr(passthrough, "MAX_JSON_BYTES", 10)
    exchange = an_exchange(
        "images",
        b"/images/edits",
        in_pieces(b'{"model":"fast"}', 4),
        headers={b"content-type": b"application/json"},
    )

    with pytest.raises(PayloadTooLarge):
        await read_passthrough(exchange)


async def test_a_body_of_another_type_is_refused():
    exchange = an_exchange(
        "audio", b"/audio/translations", in_pieces(b"x", 1), headers={}
    )

    with pytest.raises(BadRequest) as caught:
        await read_passthrough(exchange)

    assert caught.value.code == "unsupported_content_type"


# What is asked of an upstream.


async def test_an_upload_is_asked_of_a_provider_with_its_own_type_and_no_credentials():
    body = form(a_field("model", b"fast"), a_file(BIG))
    exchange = transcription(in_pieces(body, 65536))
    call = await read_passthrough(exchange)
    provider = OpenAI(Provider(name="openai", base_url="https://x.test/v1"))

    request = await provider.request(ask_for(exchange, call, "whisper-1"))

    assert (request.method, request.target) == (b"POST", b"/v1/audio/transcriptions")
    assert dict(parse(request.headers)) == {
        b"x-a": b"b",
        b"accept-encoding": b"identity",
        b"content-type": TYPE,
    }
    assert request.body + await rest_of(request.upload) == body.replace(
        b"fast", b"whisper-1"
    )


async def test_what_has_no_body_is_asked_without_a_type():
    exchange = an_exchange(
        "files", b"/files/file-1", method=b"DELETE", headers={}, query=b"a=b"
    )
    call = await read_passthrough(exchange)
    provider = OpenAI(Provider(name="openai", base_url="https://x.test/v1"))

    request = await provider.request(ask_for(exchange, call, ""))

    assert (request.method, request.target) == (b"DELETE", b"/v1/files/file-1?a=b")
    assert (request.body, request.upload) == (b"", None)
    assert parse(request.headers) == [(b"accept-encoding", b"identity")]


async def test_nothing_is_added_to_what_the_gateway_never_read():
    upload = FormUpload(in_pieces(form(a_field("model", b"m")), 9), TYPE)
    await upload.read()

    assert (upload.whole, upload.length, await upload.receive()) == (True, 0, b"")
