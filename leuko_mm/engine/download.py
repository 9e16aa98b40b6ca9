"""Fetch a file over the network, whole or not at all."""

from __future__ import annotations

import hashlib
import os
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from mmengine.logging import print_log

from leuko_mm.files import CHUNK, locked


def download(
    url: str,
    target: Path,
    *,
    sha256: str = "",
    timeout_s: float = 30,
    resume: bool = False,
) -> Path:
    """Fetch a file, unless it is there already.

    It appears under its name when it is complete and right. Of several processes on
    a machine one fetches, and the others wait for it.

    Args:
        url: http, https or file.
        target: where the file shall lie; missing folders are made.
        sha256: how the digest must begin, in hexadecimal.
        timeout_s: seconds without an answer after which to give up.
        resume: keep what has come when the connection ends, and fetch the rest the
            next time.

    Returns:
        ``target``.

    Raises:
        OSError: if it cannot be had, ends early, or is another file.
    """
    target = Path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    whose = "" if resume else f".{os.getpid()}"
    part = target.with_name(f".{target.name}{whose}.part")
    wrong = True
    # Others wait here until this process has fetched.
    with locked(target.parent, wait=True):
        if target.is_file():
            return target
        print_log(f"fetching {url} to {target}", "current")
        try:
            wrong = not resume
            digest = _stream(url, part, timeout_s, resume=resume)
            wrong = True
            if not digest.startswith(sha256):
                raise OSError(
                    f"the file at {url} has sha256 {digest[: len(sha256)]}..., "
                    f"expected {sha256}...: it is damaged or another one"
                )
            os.replace(part, target)
        except HTTPException as error:
            raise OSError(f"{type(error).__name__}: {error}") from error
        finally:
            # A part that may be the beginning of the right file is worth keeping.
            if wrong:
                part.unlink(missing_ok=True)
    return target


def _stream(url: str, part: Path, timeout_s: float, *, resume: bool) -> str:
    """Write what the address answers to a file; return its sha256."""
    digest = hashlib.sha256()
    done = part.stat().st_size if resume and part.is_file() else 0
    wanted = Request(url, headers={"Range": f"bytes={done}-"} if done else {})
    with _answer(wanted, timeout_s) as answer:
        # Without "partial content", or of another place, the whole file comes again.
        span = answer.headers.get("Content-Range") or ""
        done = done if span.startswith(f"bytes {done}-") else 0
        return _written(answer, part, digest, done)


@contextmanager
def _answer(wanted: Request, timeout_s: float):
    """Ask, and ask for the whole file where a rest is refused."""
    try:
        answer = urlopen(wanted, timeout=timeout_s)
    except HTTPError as error:
        # 416: no such rest; the part is as long as the file, or longer.
        if error.code != 416:
            raise
        answer = urlopen(wanted.full_url, timeout=timeout_s)
    with answer:
        yield answer


def _written(answer, part: Path, digest, done: int) -> str:
    """Append an answer to the first ``done`` bytes of a file; return all's sha256."""
    told = 0
    total = done + int(answer.headers.get("Content-Length") or 0)
    total = 0 if total == done else total
    with part.open("r+b" if done else "wb") as file:
        left = done
        while left and (chunk := file.read(min(CHUNK, left))):
            digest.update(chunk)
            left -= len(chunk)
        file.truncate(done)
        file.seek(done)
        while chunk := answer.read(CHUNK):
            file.write(chunk)
            digest.update(chunk)
            done += len(chunk)
            if total and done * 10 // total > told:
                told = done * 10 // total
                print_log(f"{told * 10:3d} % of {total / 1e6:.0f} MB", "current")
    if done < total:
        raise OSError(f"the connection ended after {done} of {total} bytes")
    return digest.hexdigest()
