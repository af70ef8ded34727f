import base64
import json
import random
import time

import pytest

from gandalf.dialects.estimate import BYTES_PER_TOKEN, IMAGE_TOKENS, estimate_tokens


def a_file(size):
    return base64.b64encode(random.Random(size).randbytes(size)).decode()


def a_text(size):
    return ("The quick brown fox jumps over it. " * (size // 35 + 1))[:size]


@pytest.mark.parametrize("size", [4_000, 13_000, 100_000, 3_000_000])
@pytest.mark.parametrize("prefix", ["", "data:image/png;base64,"])
@pytest.mark.parametrize("slash", ["/", "\\/"])
def test_a_file_counts_as_a_picture(size, prefix, slash):
    text = json.dumps([{"data": prefix + a_file(size)}]).replace("/", slash)

    assert estimate_tokens(text.encode()) <= IMAGE_TOKENS + 20


@pytest.mark.parametrize("size", [4_000, 13_000, 100_000, 3_000_000])
@pytest.mark.parametrize("before", ["", '"' * 10_000, "a" * 10_000 + '"'])
def test_text_counts_by_its_length(size, before):
    text = f'["{before}", "{a_text(size)}"]'.encode()

    assert estimate_tokens(text) >= size // BYTES_PER_TOKEN


def test_each_of_several_files_counts():
    files = [a_file(20_000), a_text(400), a_file(5_000), a_file(70_000)]

    estimate = estimate_tokens(json.dumps(files).encode())

    assert 3 * IMAGE_TOKENS < estimate < 3 * IMAGE_TOKENS + 200


@pytest.mark.parametrize(
    "text",
    [b'["%b"]' % b'","'.join([b""] * 3_000_000), b'["%b"]' % (b"QUJD" * 2_500_000)],
)
def test_nobody_waits_for_a_large_body(text):
    began = time.process_time()

    estimate_tokens(text)

    assert time.process_time() - began < 0.05
