"""Fetch a file over the network, whole or not at all."""

from __future__ import annotations

import hashlib
import os
from http.client import HTTPException
from pathlib import Path
from urllib.request import urlopen

from mmengine.logging import print_log

from leuko_mm.files import CHUNK, locked


def download(
    url: str, target: Path, *, sha256: str = "", timeout_s: float = 30
) -> Path:
    """Fetch a file, unless it is there already.

    It appears under its name when it is complete and right. Of several processes on
    a machine one fetches, and the others wait for it.

    Args:
        url: http, https or file.
        target: path of the file, which is returned; missing folders are made.
        sha256: how the digest must begin, in hexadecimal.
        timeout_s: seconds without an answer after which to give up.

    Raises:
        OSError: if it cannot be fetched, ends early, or is another file.
    """
    target = Path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    with locked(target.parent, wait=True):
        if target.is_file():
            return target
        print_log(f"fetching {url} to {target}", "current")
        try:
            with urlopen(url, timeout=timeout_s) as answer:
                digest = _write(answer, part)
            if not digest.startswith(sha256):
                raise OSError(
                    f"the file at {url} has sha256 {digest[: len(sha256)]}..., "
                    f"expected {sha256}...: it is damaged or another one"
                )
            os.replace(part, target)
        except HTTPException as error:
            raise OSError(f"{type(error).__name__}: {error}") from error
        finally:
            part.unlink(missing_ok=True)
    return target


def _write(answer, part: Path) -> str:
    """Write what a server answers into a file; return its sha256."""
    digest = hashlib.sha256()
    total = int(answer.headers.get("Content-Length") or 0)  # 0: unknown
    done = tenths = 0
    with part.open("wb") as file:
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
