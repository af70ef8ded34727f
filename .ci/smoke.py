"""Starts a gateway as a user would, asks it, stops it, and expects exit status 0.

Only the port, the database's place and the key differ from ``make run``.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

import yaml

ROOT = Path(__file__).parent.parent
KEY = "gnd_" + "s" * 43
START_LIMIT = 20.0
STOP_LIMIT = 30.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def get(url: str, body: object = None) -> bytes:
    request = urllib.request.Request(
        url,
        data=None if body is None else json.dumps(body).encode(),
        headers={
            "authorization": f"Bearer {KEY}",
            "content-type": "application/json",
        },
    )
    with urllib.request.urlopen(request, timeout=10) as response:
        return bytes(response.read())


def wait_until_healthy(url: str, gateway: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_LIMIT
    while True:
        try:
            get(f"{url}/healthz")
        except urllib.error.URLError as error:
            if gateway.poll() is not None:
                sys.exit(f"the gateway ended with {gateway.returncode}")
            if time.monotonic() > deadline:
                sys.exit(f"not healthy in {START_LIMIT:.0f} s: {error}")
            time.sleep(0.05)
        else:
            return


def ask(url: str) -> None:
    call = {"model": "demo-fast", "messages": [{"role": "user", "content": "Hello"}]}
    answer = json.loads(get(f"{url}/v1/chat/completions", call))
    assert answer["choices"][0]["message"]["content"], answer
    stream = get(f"{url}/v1/chat/completions", {**call, "stream": True})
    assert stream.endswith(b"data: [DONE]\n\n"), stream[-200:]


def main() -> None:
    settings = yaml.safe_load((ROOT / "configs" / "demo.yaml").read_text())
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        settings["server"] = {
            **settings.get("server", {}),
            "addr": f"127.0.0.1:{port}",
        }
        settings["database"] = {"dsn": f"{folder}/gandalf.db"}
        config = Path(folder, "smoke.yaml")
        config.write_text(yaml.safe_dump(settings))
        gateway = subprocess.Popen(
            [Path(sys.executable).with_name("gandalf"), "serve", "--config", config],
            env={**os.environ, "GANDALF_ADMIN_KEY": KEY},
        )
        try:
            url = f"http://127.0.0.1:{port}"
            wait_until_healthy(url, gateway)
            ask(url)
            gateway.send_signal(signal.SIGTERM)
            status = gateway.wait(STOP_LIMIT)
        finally:
            gateway.kill()
            gateway.wait()
    if status != 0:
        sys.exit(f"SIGTERM ended the gateway with status {status}, not 0")
    print("started, healthy, answered whole and streamed, drained: exit status 0")


if __name__ == "__main__":
    main()
