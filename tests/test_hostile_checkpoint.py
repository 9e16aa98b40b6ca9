"""A pickle that would run code is refused by every reader of checkpoints."""

import hashlib

import pytest
import torch
from exported_network import need_exports
from hostile_files import FILES
from mmengine.runner import load_checkpoint
from tiny_checkpoint import rewrite, write_tiny
from tiny_run import write_config
from tool_module import load_tool

from leuko_mm.engine.checkpoints import UnsafeCheckpointError, load_tensors
from leuko_mm.engine.encoder_weights import EncoderWeights
from leuko_mm.inference.export import export
from leuko_mm.inference.model import read_checkpoint
from leuko_mm.models.size import build_bare
from leuko_mm.training.config import resolve_config
from leuko_mm.training.run import TestRequest, run_test
from leuko_mm.zoo.zoo import verify

publishing = load_tool("publish")


@pytest.fixture(scope="module")
def vouched(tmp_path_factory):
    """Return a good checkpoint, every hostile file beside it, and the config.

    Their sidecars vouch for them: only what they hold gives them away.
    """
    folder = tmp_path_factory.mktemp("hostile")
    config, good, mark = write_config(folder), folder / "good.pth", folder / "harmed"
    write_tiny(good, config)
    for name, make in FILES.items():
        bad = folder / f"{name}.pth"
        make(good, bad, mark)
        bad.with_suffix(".json").write_text(good.with_suffix(".json").read_text())
        rewrite(bad, sha256=hashlib.sha256(bad.read_bytes()).hexdigest())
    return good, str(config), mark


def exported(path, config_file):
    need_exports()
    export(path, path.parent / "exported" / "net.onnx")


READERS = {
    "load_tensors": lambda path, config: load_tensors(path),
    "mmengine": lambda path, config: load_checkpoint(
        build_bare(resolve_config(config)), str(path)
    ),
    "verify": lambda path, config: verify(path),
    "predict": lambda path, config: read_checkpoint(path),
    "encoder": lambda path, config: EncoderWeights(str(path))(
        build_bare(resolve_config(config)).backbone
    ),
    "export": exported,
    "publish": lambda path, config: publishing.publish(
        publishing.PublishRequest(path, path.parent / "published")
    ),
    "test": lambda path, config: run_test(
        TestRequest(config, str(path), split="fold5", force=True)
    ),
}
SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in ("publish", "test")]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("reader", [*list(READERS)[:-2], *SLOW])
def test_every_reader_refuses_every_hostile_file(vouched, tiny_data, reader, name):
    good, config, mark = vouched
    if name == "of_wrong_kind" and reader in ("load_tensors", "encoder"):
        return  # the network decides; an encoder takes another file
    with pytest.raises(UnsafeCheckpointError, match="was not loaded"):
        READERS[reader](good.with_name(f"{name}.pth"), config)
    assert not mark.exists()


@pytest.mark.parametrize("reader", ["load_tensors", "mmengine", "verify", "predict"])
def test_readers_of_whole_models_take_the_good_one(vouched, reader):
    READERS[reader](*vouched[:2])


def test_an_encoder_refuses_weights_of_the_wrong_kind(vouched):
    good, config, _ = vouched
    backbone = build_bare(resolve_config(config)).backbone
    torch.save(backbone.state_dict(), good.with_name("encoder.pth"))
    EncoderWeights(str(good.with_name("encoder.pth")))(backbone)
    whole = {key: value.long() for key, value in backbone.state_dict().items()}
    torch.save(whole, good.with_name("encoder.pth"))
    with pytest.raises(UnsafeCheckpointError, match=r"int64, expected torch\.float32"):
        EncoderWeights(str(good.with_name("encoder.pth")))(backbone)


def test_the_trap_works(vouched):
    good, _, mark = vouched
    torch.load(good.with_name("by_reduce.pth"), weights_only=False)
    assert mark.exists()
    mark.unlink()


@pytest.mark.parametrize("reader", ["verify", "predict"])
def test_a_sidecar_that_names_a_function_is_refused(tmp_path, tiny_config, reader):
    good, mark = tmp_path / "good.pth", tmp_path / "harmed"
    call = dict(type="os.mkdir", path=str(mark))
    written = write_tiny(good, tiny_config)
    written["config"]["model"]["backbone"] = call
    rewrite(good, config=written["config"])
    with pytest.raises(ValueError, match=r"asks for .*os\.mkdir"):
        READERS[reader](good, str(tiny_config))
    assert not mark.exists()
    write_tiny(good, tiny_config)
    rewrite(good, enhance=call)
    with pytest.raises(ValueError, match=r"os\.mkdir"):
        verify(good)
