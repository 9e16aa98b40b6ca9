"""Two processes train as one does, on one machine and on two that meet by a cable."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from tiny_run import make_data, process_environment, write_config

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not torch.distributed.is_available(), reason="needs torch.distributed"
    ),
]
STEPS, BATCH = 20, 4
# Without batch norm, whose statistics are each process's own; frozen for ten steps.
CONFIG = """
model['decode_head']['norm_cfg'] = None
custom_hooks = [
    dict(type='leuko_mm.ChannelsLastHook'),
    dict(type='leuko_mm.StagedFreezeHook', iters=10, only_pretrained=False),
]
"""
LAUNCH = ["-m", "torch.distributed.run", "--nproc-per-node"]
# Of the two machines; no other host has these addresses inside the namespaces.
NAMES, ADDRESSES = ("leuko-one", "leuko-two"), ("10.213.7.1", "10.213.7.2")
CABLE = ("leuko-a", "leuko-b")


def command(config: Path, folder: Path, *, processes: int, start: list[str]) -> list:
    """Return the training of ``STEPS`` steps of ``BATCH`` images over all processes."""
    words = ["-m", "leuko_mm.cli.main", "train", config, "--work-dir", folder]
    words += ["--no-amp", "--iterations", STEPS, "--launcher"]
    words += ["pytorch" if start else "none", "--cfg-options"]
    words += [f"train_dataloader.batch_size={BATCH // processes}"]
    # As many mosaics as are drawn: whatever ends with an epoch ends with the training.
    words += [f"train_dataloader.dataset.mosaics={STEPS * BATCH}"]
    return [sys.executable, *start, *map(str, words)]


def begin(words: list, cwd: Path, **more) -> subprocess.Popen:
    return subprocess.Popen(
        words,
        cwd=cwd,
        env=process_environment(**more),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(*processes: subprocess.Popen) -> None:
    try:
        for process in processes:
            said, _ = process.communicate(timeout=600)
            assert process.returncode == 0, said[-3000:]
    finally:
        for process in processes:
            process.kill()


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Return a folder with a prepared dataset and the network's config."""
    folder = tmp_path_factory.mktemp("parallel")
    make_data(folder / "data")
    write_config(folder, more=CONFIG)
    return folder


@pytest.fixture(scope="module")
def alone(place):
    """Return the weights of the training by one process."""
    words = command(place / "tiny.py", place / "alone", processes=1, start=[])
    finish(begin(words, place))
    return weights(place / "alone")


def weights(folder: Path) -> dict[str, torch.Tensor]:
    (checkpoint,) = [p for p in folder.glob("*.pth") if "iter" not in p.name]
    return torch.load(checkpoint, weights_only=True)


def assert_alike(folder: Path, expected: dict[str, torch.Tensor]) -> None:
    found = weights(folder)
    assert list(found) == list(expected)
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, atol=1e-4, rtol=0, msg=name)


def test_two_processes_train_as_one(place, alone):
    folder, start = place / "two", [*LAUNCH, "2", "--standalone"]
    words = command(place / "tiny.py", folder, processes=2, start=start)
    finish(begin(words, place))
    assert_alike(folder, alone)


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


@contextmanager
def two_machines() -> Iterator[None]:
    """Make two network namespaces that see each other and nothing else."""
    made = []
    try:
        for name in NAMES:
            ip("netns", "add", name)
            made.append(name)
        ip("link", "add", CABLE[0], "netns", NAMES[0], "type", "veth", "peer", "name",
           CABLE[1], "netns", NAMES[1])  # fmt: skip
        for name, end, address in zip(NAMES, CABLE, ADDRESSES, strict=True):
            inside = ("-n", name)
            ip(*inside, "address", "add", f"{address}/30", "dev", end)
            ip(*inside, "link", "set", end, "up")
            ip(*inside, "link", "set", "lo", "up")
        yield
    finally:
        for name in made:
            ip("netns", "delete", name)


def test_two_machines_train_as_one_process(place, alone):
    if shutil.which("ip") is None or os.geteuid() != 0:
        pytest.skip("needs ip (iproute2) and root, to make network namespaces")
    folders = [place / name for name in NAMES]
    try:
        with two_machines():
            running = []
            for rank, (name, end) in enumerate(zip(NAMES, CABLE, strict=True)):
                start = [*LAUNCH, "1", "--nnodes", "2", "--node-rank", str(rank)]
                start += ["--master-addr", ADDRESSES[0], "--master-port", "29511"]
                words = command(
                    place / "tiny.py", folders[rank], processes=2, start=start
                )
                inside = ["ip", "netns", "exec", name, *words]
                running.append(begin(inside, place, GLOO_SOCKET_IFNAME=end))
            finish(*running)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no network namespaces here: {error.stderr.strip()}")
    assert_alike(folders[0], alone)
    # The first process alone writes, as on one machine.
    assert not list(folders[1].glob("*.pth"))
