"""One order for two signals, and dask's workers found or not."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time

import pytest

from leuko_mm.errors import UsageError
from leuko_mm.processes import StoppedBySignal, dask_client, stopped_by_signals


def terminate():
    os.kill(os.getpid(), signal.SIGTERM)
    # The order must not be taken for the failure of one item.
    raise AssertionError("not reached")


def interrupt():
    raise KeyboardInterrupt


def as_a_run_does_it(act):
    with stopped_by_signals("go on so"):
        try:
            act()
        except Exception:
            pytest.fail("taken for an error")


@pytest.mark.parametrize(("act", "code"), [(terminate, 143), (interrupt, 130)])
def test_both_signals_give_one_order(act, code):
    former = signal.getsignal(signal.SIGTERM)
    with pytest.raises(StoppedBySignal, match="go on so") as caught:
        as_a_run_does_it(act)
    assert caught.value.exit_code == code
    assert signal.getsignal(signal.SIGTERM) is former


def connect(address):
    with dask_client(address):
        pytest.fail("connected")


def test_without_dask_the_command_that_installs_it_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(UsageError, match="pip install distributed") as refused:
        connect("local")
    assert "\n" not in str(refused.value)


def test_an_address_where_something_else_listens_is_named_within_seconds():
    pytest.importorskip("distributed")
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"tcp://127.0.0.1:{other.getsockname()[1]}"
        began = time.monotonic()
        with pytest.raises(UsageError, match=f"{address}: no dask scheduler"):
            connect(address)
    assert time.monotonic() - began < 10


def test_the_commands_do_not_import_dask():
    program = (
        "import sys, leuko_mm.cli.predict, leuko_mm.cli.compare\n"
        "sys.exit('dask' in sys.modules or 'distributed' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
