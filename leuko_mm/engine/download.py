"""Fetch a file over the network, whole or not at all."""

from __future__ import annotations

import hashlib
import os
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
        target: path of the file, which is returned; missing folders are made.
        sha256: how the digest must begin, in hexadecimal.
        timeout_s: seconds without an answer after which to give up.
        resume: keep what has come when the connection ends, for the next time.

    Raises:
        OSError: if it cannot be fetched, ends early, or is another file.
    """
    target = Path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    own = "" if resume else f".{os.getpid()}"
    part = target.with_name(f".{target.name}{own}.part")
    keep = False
    with locked(target.parent, wait=True):
        if target.is_file():
            return target
        print_log(f"fetching {url} to {target}", "current")
        try:
            keep = resume  # the start of the right file, if the connection ends
            digest = _fetch(url, part, timeout_s, resume=resume)
            keep = False
            if not digest.startswith(sha256):
                raise OSError(
                    f"the file at {url} has sha256 {digest[: len(sha256)]}..., "
                    f"expected {sha256}...: it is damaged or another one"
                )
            os.replace(part, target)
        except HTTPException as error:
            raise OSError(f"{type(error).__name__}: {error}") from error
        finally:
            if not keep:
                part.unlink(missing_ok=True)
    return target


def _fetch(url: str, part: Path, timeout_s: float, *, resume: bool) -> str:
    """Write what the server answers to a file; return the sha256 of all of it."""
    done = part.stat().st_size if resume and part.is_file() else 0
    request = Request(url, headers={"Range": f"bytes={done}-"} if done else {})
    try:
        answer = urlopen(request, timeout=timeout_s)
    except HTTPError as error:
        # 416: there is no such rest; the part is as long as the file, or longer.
        if error.code != 416:
            raise
        answer = urlopen(url, timeout=timeout_s)
    with answer:
        # Without "partial content", or of another place, the whole file comes again.
        span = answer.headers.get("Content-Range") or ""
        done = done if span.startswith(f"bytes {done}-") else 0
        return _append(answer, part, done)


def _append(answer, part: Path, done: int) -> str:
    """Append an answer to the first ``done`` bytes of a file; return all's sha256."""
    digest = hashlib.sha256()
    length = int(answer.headers.get("Content-Length") or 0)
    total = done + length if length else 0  # 0: unknown
    tenths = 0
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
            if total and done * 10 // total > tenths:
                tenths = done * 10 // total
                print_log(f"{tenths * 10:3d} % of {total / 1e6:.0f} MB", "current")
    if done < total:
        raise OSError(f"the connection ended after {done} of {total} bytes")
    return digest.hexdigest()
