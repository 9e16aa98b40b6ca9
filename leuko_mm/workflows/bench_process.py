"""The near end of a contender's process: start it, let it have turns, end it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO

import leuko_mm

# The package's files are found, and nothing else of the environment they lie in, so
# that another Python finds its own torch.
BOOT = (
    "import sys, types; package = types.ModuleType('leuko_mm'); "
    "package.__path__ = [sys.argv[1]]; sys.modules['leuko_mm'] = package; "
    "from leuko_mm.workflows.bench_worker import main; main()"
)


class ContenderProcess:
    """A process of ``bench_worker``, started and told what to build.

    Args:
        spec: see ``bench_worker.prepare``.
        python: another interpreter, which need not have this package; None takes the
            one that runs.
    """

    def __init__(self, spec: Mapping, *, python: str | None = None):
        package = Path(leuko_mm.__file__).parent
        environment = dict(os.environ)
        if python is None:
            command = [sys.executable, "-m", "leuko_mm.workflows.bench_worker"]
            found = (str(package.parent), os.environ.get("PYTHONPATH"))
            environment["PYTHONPATH"] = os.pathsep.join(filter(None, found))
        else:
            command = [python, "-c", BOOT, str(package)]
            environment.pop("PYTHONPATH", None)
        self.errors: IO[str] = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
            env=environment,
        )
        self.about = self.ask(dict(spec))

    @property
    def lack(self) -> str | None:
        """Why there will be no turns; None if there will."""
        if "missing" in self.about:
            return f"{self.about['missing']} is not installed"
        return self.about.get("failed")

    def ask(self, told: object) -> dict:
        """Send one line and wait for the answer; ``failed`` tells of an early end."""
        try:
            self.process.stdin.write(json.dumps(told) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        return json.loads(line) if line else dict(failed=self._last_words())

    def _last_words(self) -> str:
        code = self.process.wait()
        self.errors.seek(0)
        lines = self.errors.read().strip().splitlines()
        return lines[-1] if lines else f"the process ended with code {code}"

    def __enter__(self) -> ContenderProcess:
        return self

    def __exit__(self, *_) -> None:
        """End the process, also in the middle of a turn."""
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self.errors):
            with suppress(BrokenPipeError):
                stream.close()
