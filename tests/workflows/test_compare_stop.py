"""Every way to stop a comparison ends in one order, and hands the handler back."""

from __future__ import annotations

import os
import signal

import pytest

from leuko_mm.engine.graceful_stop import Interrupted
from leuko_mm.workflows.compare_stop import ComparisonStopped, one_order_to_stop


def terminate():
    os.kill(os.getpid(), signal.SIGTERM)
    # The order must not be taken for the failure of one run.
    raise AssertionError("not reached")


def interrupt():
    raise KeyboardInterrupt


def interrupted_training():
    raise Interrupted(signal.SIGTERM, "work_dirs/run")


def as_a_run_does_it(act):
    with one_order_to_stop():
        try:
            act()
        except (Interrupted, AssertionError):
            raise
        except Exception:
            pytest.fail("taken for an error")


@pytest.mark.parametrize(
    ("act", "code"), [(terminate, 143), (interrupt, 130), (interrupted_training, 143)]
)
def test_both_signals_give_one_order(act, code):
    former = signal.getsignal(signal.SIGTERM)
    with pytest.raises(ComparisonStopped, match="same command again") as caught:
        as_a_run_does_it(act)
    assert caught.value.exit_code == code
    assert signal.getsignal(signal.SIGTERM) is former


def test_an_error_stays_one():
    with pytest.raises(KeyError), one_order_to_stop():
        raise KeyError("x")
