import os
import signal
import socket
import subprocess
import sys
import time

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from gandalf.systemd import Systemd

PID = 4711
# Seconds that a real process gets to do something. It takes one where nothing else runs.
START_LIMIT = 30.0
CONFIG = """
server: {addr: "127.0.0.1:0"}
database: {dsn: gandalf.db}
auth: {generate_admin_key: true}
providers: [{name: simulated, models: [demo]}]
"""


class Manager:
    """The datagram socket that systemd would listen on."""

    def __init__(self, address):
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(address)
        self._socket.setblocking(False)

    def heard(self):
        """Return every message since the last call, each as its lines."""
        messages = []
        while True:
            try:
                messages.append(self._socket.recv(4096).decode().split("\n"))
            except BlockingIOError:
                return messages

    def wait_for(self, wanted):
        """Return the status of the next message ``wanted``, and skip those before."""
        self._socket.settimeout(START_LIMIT)
        while True:
            state, *rest = self._socket.recv(4096).decode().split("\n")
            if state == wanted:
                return rest

    def close(self):
        self._socket.close()


@pytest.fixture
def socket_path(tmp_path):
    return str(tmp_path / "notify")


@pytest.fixture
def manager(socket_path):
    manager = Manager(socket_path)
    yield manager
    manager.close()


def test_it_says_ready_stopping_and_reloading(manager, socket_path):
    systemd = Systemd({"NOTIFY_SOCKET": socket_path})

    systemd.ready("serving on 127.0.0.1:8080")
    systemd.stopping("draining")
    assert manager.heard() == [
        ["READY=1", "STATUS=serving on 127.0.0.1:8080"],
        ["STOPPING=1", "STATUS=draining"],
    ]

    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    systemd.reloading()
    [[reloading, stamp]] = manager.heard()
    assert reloading == "RELOADING=1"
    name, _, usec = stamp.partition("=")
    assert name == "MONOTONIC_USEC"
    assert before <= int(usec) <= before + 60_000_000


def test_an_abstract_socket_is_reached_too():
    name = f"gandalf-test-{os.getpid()}"
    manager = Manager("\0" + name)

    Systemd({"NOTIFY_SOCKET": "@" + name}).ready("serving")

    assert manager.heard() == [["READY=1", "STATUS=serving"]]
    manager.close()


async def test_the_watchdog_is_fed_at_half_its_limit_until_closed(
    nursery, autojump_clock, manager, socket_path
):
    systemd = Systemd(
        {
            "NOTIFY_SOCKET": socket_path,
            "WATCHDOG_USEC": "30000000",
            "WATCHDOG_PID": str(PID),
        },
        pid=PID,
    )
    nursery.start_soon(systemd.run)

    await wait_all_tasks_blocked()
    assert manager.heard() == [["WATCHDOG=1"]]
    await trio.sleep(14.9)
    assert manager.heard() == []
    await trio.sleep(0.2)
    assert manager.heard() == [["WATCHDOG=1"]]

    systemd.close()
    systemd.close()
    await trio.sleep(60)
    assert manager.heard() == []


@pytest.mark.parametrize(
    "watchdog",
    [
        {},
        {"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(PID + 1)},
        {"WATCHDOG_USEC": "0"},
        {"WATCHDOG_USEC": "soon"},
    ],
    ids=["none", "another process's", "zero", "nonsense"],
)
async def test_without_a_watchdog_of_its_own_it_only_waits_to_be_closed(
    nursery, autojump_clock, manager, socket_path, watchdog
):
    systemd = Systemd({"NOTIFY_SOCKET": socket_path, **watchdog}, pid=PID)
    nursery.start_soon(systemd.run)

    await trio.sleep(3600)
    assert manager.heard() == []
    systemd.close()


async def test_outside_systemd_nothing_is_sent_and_it_still_runs_and_closes(
    nursery, autojump_clock, caplog
):
    systemd = Systemd({"WATCHDOG_USEC": "30000000"})

    systemd.ready("serving")
    nursery.start_soon(systemd.run)
    await trio.sleep(60)
    systemd.close()

    assert caplog.records == []


def test_a_manager_that_is_gone_is_a_warning_and_no_error(socket_path, caplog):
    Systemd({"NOTIFY_SOCKET": socket_path}).ready("serving")

    [record] = caplog.records
    assert record.getMessage().startswith("systemd cannot be told READY=1: ")


def test_a_manager_that_is_too_busy_does_not_block(manager, socket_path, caplog):
    systemd = Systemd({"NOTIFY_SOCKET": socket_path})

    for _ in range(100_000):  # nobody reads: the queue of the socket fills up
        systemd.ready("serving")
        if caplog.records:
            break

    assert "systemd cannot be told READY=1" in caplog.text


def test_an_unknown_kind_of_address_is_reported_and_left_alone(caplog):
    Systemd({"NOTIFY_SOCKET": "vsock:2:1234"}).ready("serving")

    [record] = caplog.records
    assert "vsock:2:1234" in record.getMessage()


def test_a_real_gateway_tells_of_its_whole_life(manager, socket_path, tmp_path):
    config = tmp_path / "gandalf.yaml"
    config.write_text(CONFIG)
    gateway = subprocess.Popen(
        [sys.executable, "-m", "gandalf", "serve", "--config", config],
        cwd=tmp_path,
        env={**os.environ, "NOTIFY_SOCKET": socket_path, "WATCHDOG_USEC": "200000"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        [status] = manager.wait_for("READY=1")
        assert status.startswith("STATUS=serving http://127.0.0.1:")
        manager.wait_for("WATCHDOG=1")
        gateway.send_signal(signal.SIGHUP)
        manager.wait_for("RELOADING=1")
        assert manager.wait_for("READY=1") == ["STATUS=serving"]
        config.write_text("nonsense: true")
        gateway.send_signal(signal.SIGHUP)
        manager.wait_for("RELOADING=1")
        assert manager.wait_for("READY=1") == ["STATUS=serving, with the old settings"]
        gateway.send_signal(signal.SIGTERM)
        manager.wait_for("STOPPING=1")
        assert gateway.wait(START_LIMIT) == 0
    finally:
        gateway.kill()
        gateway.wait()
