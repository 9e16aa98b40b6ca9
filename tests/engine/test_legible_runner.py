"""A run's console holds what its user reads; its log file holds everything."""

import io
import logging

import pytest

from leuko_mm.engine.legible_runner import LegibleRunner
from leuko_mm.engine.own_globals import own_globals

DUMPS = [
    "\n-----\nSystem environment:\n    sys.platform: linux\n-----\n",
    "Config:\nmodel = dict()\n",
    "Hooks will be executed in the following order:\nbefore_run:\n",
    "Distributed training is not used, all SyncBatchNorm (SyncBN) layers ...",
    "Exp name: quickstart_20260101",
    "10 test cells\nclass   precision\n",
    "Iter(test) [13/13]    mIoU: 81.2  mIoU_fg: 79.0",
]
UNMENDABLE = [
    '"FileClient" will be deprecated in future. Please use io functions',
    '"HardDiskBackend" is the alias of "LocalBackend" and the former will be',
]
READ = [
    "Iter(train) [10/450]  loss: 2.1",
    "Iter(test) [10/13]    eta: 0:00:01  time: 0.4",
    "Saving checkpoint at 100 iterations",
    "loaded vgg16 weights from data/weights/vgg16.pth",
]


@pytest.fixture
def logger(tmp_path):
    """Return the logger of a run, as its runner builds it."""
    runner = object.__new__(LegibleRunner)
    runner._experiment_name, runner._log_dir = "a run", str(tmp_path)
    runner._timestamp = "now"
    with own_globals():
        yield runner.build_logger()


@pytest.fixture
def console(logger):
    """Return a function that tells what the console has shown."""
    stream = io.StringIO()
    for handler in logger.handlers:
        if not isinstance(handler, logging.FileHandler):
            handler.setStream(stream)
    return stream.getvalue


def test_every_word_reaches_the_file(logger, tmp_path):
    for text in DUMPS + READ:
        logger.info(text)
    for text in UNMENDABLE:
        logger.warning(text)
    written = (tmp_path / "now.log").read_text()
    assert all(text in written for text in DUMPS + READ + UNMENDABLE)


@pytest.mark.parametrize("text", DUMPS)
def test_dumps_stay_off_the_console(logger, text, console):
    logger.info(text)
    assert console() == ""


@pytest.mark.parametrize("text", UNMENDABLE)
def test_warnings_that_no_user_can_mend_stay_off_the_console(logger, text, console):
    logger.warning(text)
    assert console() == ""


@pytest.mark.parametrize("text", READ)
def test_what_is_read_is_shown(logger, text, console):
    logger.info(text)
    assert text in console()


@pytest.mark.parametrize("level", [logging.WARNING, logging.ERROR])
def test_other_warnings_and_all_errors_are_shown(logger, level, console):
    logger.log(level, "the weights are not loaded")
    assert "the weights are not loaded" in console()
    logger.error(DUMPS[1])
    assert "Config:" in console()
