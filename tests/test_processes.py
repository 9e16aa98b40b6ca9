"""Several processes divide the work, and signals stop it in one way."""

from __future__ import annotations

import os
import signal

import pytest

from leuko_mm.engine.hooks import Interrupted
from leuko_mm.errors import UsageError
from leuko_mm.processes import Share, StoppedBySignal, share_of, stop_on_signals


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_the_shards_make_up_the_whole(count):
    items = list("abcdef")
    parts = [share_of(f"{i}/{count}", "none").order(items) for i in range(count)]
    assert sorted(item for part in parts for item in part) == items


@pytest.mark.parametrize("shard", ["2/2", "1", "-1/2", "a/b", "1/", "/2", "1/2/3"])
def test_a_shard_that_is_none_is_refused(shard):
    with pytest.raises(UsageError, match="expected i/n"):
        share_of(shard, "none")


def test_torchrun_says_which_process_this_is(monkeypatch):
    for key, value in dict(RANK=1, WORLD_SIZE=4, LOCAL_RANK=1).items():
        monkeypatch.setenv(key, str(value))
    assert share_of(None, "pytorch") == Share(1, 4)
    # All on one machine: they see the same folder, and may help one another.
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert share_of(None, "pytorch") == Share(1, 4, helps=True)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert share_of(None, "pytorch") == Share(1, 4)


def terminate():
    os.kill(os.getpid(), signal.SIGTERM)
    # The order must not be taken for the failure of one run.
    raise AssertionError("not reached")


def interrupt():
    raise KeyboardInterrupt


def interrupted_training():
    raise Interrupted(signal.SIGTERM, "work_dirs/run")


def as_a_run_does_it(act):
    with stop_on_signals():
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
    with pytest.raises(StoppedBySignal, match="same command again") as caught:
        as_a_run_does_it(act)
    assert caught.value.exit_code == code
    assert signal.getsignal(signal.SIGTERM) is former
