"""A runner whose console shows what its user reads; its log file holds everything."""

from __future__ import annotations

import logging
import re

from mmengine.logging import MMLogger
from mmengine.runner import Runner

# Hundreds of lines before the first useful one, and what the command says itself.
FOR_THE_FILE = re.compile(
    r"\s*-*\s*System environment:"
    r"|Config:\n"
    r"|Hooks will be executed"
    r"|Distributed training is not used"
    r"|Exp name:"
    r"|\d+ test cells\n"
    r"|Iter\(test\) \[\d+/\d+\] +mIoU:"
)
# mmengine warns of its own use of itself.
UNMENDABLE = re.compile(
    r'"FileClient" will be deprecated|"HardDiskBackend" is the alias'
)


class ConsoleFilter(logging.Filter):
    """Let pass what a user reads or can mend.

    Example:
        >>> record = logging.makeLogRecord(dict(msg="Exp name: x", levelno=20))
        >>> ConsoleFilter().filter(record)
        False
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether a record is for the console."""
        if record.levelno >= logging.ERROR:
            return True
        kept_back = UNMENDABLE if record.levelno >= logging.WARNING else FOR_THE_FILE
        return kept_back.match(record.getMessage()) is None


class LegibleRunner(Runner):
    """mmengine's runner with ``ConsoleFilter`` before its console.

    It logs its environment and config while it is being built, so nobody can filter
    them afterwards.
    """

    def build_logger(self, *args, **kwargs) -> MMLogger:
        """Build the run's logger, file and console, and filter the console."""
        logger = super().build_logger(*args, **kwargs)
        for handler in logger.handlers:
            if not isinstance(handler, logging.FileHandler):
                handler.addFilter(ConsoleFilter())
        return logger
