"""What is read of a checkpoint or an export with its sidecar, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from exported_network import need_exports
from painted_network import PaintedColourNetwork, painted_model, write_checkpoint
from tiny_checkpoint import rewrite, write_tiny

from leuko_mm.classes import BINARY_NAMES, CLASS_COLOURS, CLASS_NAMES
from leuko_mm.files import sha256_of_file
from leuko_mm.inference.export import export
from leuko_mm.inference.model import (
    Checkpoint,
    CheckpointError,
    read_checkpoint,
    read_export,
    read_model,
)
from leuko_mm.inference.predictor import Predictor
from leuko_mm.inference.runtimes import check_outputs, open_runtime
from leuko_mm.registry import MODELS


def flip_byte(path, place):
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def test_a_checkpoint_brings_its_model_and_its_sidecar(painted):
    read = read_checkpoint(painted)
    assert read.classes == CLASS_NAMES
    assert read.colours == CLASS_COLOURS
    assert (read.cell_px, read.rbc_px, read.px_per_um) == (128, 20.0, None)
    assert read.prepared_px == 256
    assert not read.model.training
    assert not any(p.requires_grad for p in read.model.parameters())


@MODELS.register_module()
class AnswersTwice(PaintedColourNetwork):
    """Has an ``inference`` that says something else than ``encode_decode``."""

    def inference(self, inputs, batch_img_metas):
        return -self.encode_decode(inputs, batch_img_metas)


def of_type(path, name):
    config = json.loads(path.with_suffix(".json").read_text())["config"]
    return {**config, "model": {**config["model"], "type": name}}


def test_an_inference_that_would_not_be_used_is_refused(painted):
    rewrite(painted, config=of_type(painted, "leuko_mm.AnswersTwice"))
    with pytest.raises(CheckpointError, match="AnswersTwice has an `inference` of its"):
        read_checkpoint(painted)


def test_a_part_of_custom_imports_that_is_not_installed_is_named(painted):
    config = of_type(painted, "leuko_mm.MyNet")
    rewrite(painted, config=config, training=dict(imported={"my_net.py": "0" * 64}))
    with pytest.raises(CheckpointError, match=r"trained with my_net\.py.*plug-in"):
        read_checkpoint(painted)


def test_a_missing_file_is_named(tmp_path, painted):
    with pytest.raises(CheckpointError, match=r"none\.pth does not exist"):
        read_model(tmp_path / "none.pth")
    with pytest.raises(CheckpointError, match=r"none\.onnx does not exist"):
        read_model(tmp_path / "none.onnx")
    (tmp_path / "bare.onnx").touch()
    with pytest.raises(CheckpointError, match=r"bare\.json does not exist"):
        read_model(tmp_path / "bare.onnx")
    painted.with_suffix(".json").unlink()
    with pytest.raises(CheckpointError, match=r"no sidecar net\.json"):
        read_checkpoint(painted)


DEEP = "[" * 100_000


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", "3", '{"schema": 1}', "\udcff", DEEP, f'{{"a": {DEEP}']
)
def test_a_damaged_sidecar_is_refused(painted, text):
    painted.with_suffix(".json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(CheckpointError, match=r"net\.json"):
        read_checkpoint(painted)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("classes", list(CLASS_NAMES[:5])),
        ("classes", list(CLASS_NAMES[::-1])),
        ("colours", [[0, 0, 0]]),
        ("normalisation", {"mean": [0, 0, 0]}),
        ("schema", 2),
        ("config", {"classes": list(CLASS_NAMES)}),
        ("colours", [["a", "b", "c"]] * 6),
        ("colours", [[0, 0, 300]] * 6),
        ("scale", None),
        ("scale", dict(cell_px="x")),
        ("scale", dict(cell_px=0)),
        ("scale", dict(rbc_px=float("nan"))),
        ("scale", dict(prepared_px=10**30)),
        ("accept", "0.9"),
        ("accept", float("nan")),
        ("enhance", "hsv"),
        ("enhance", dict(type="os.system", command="exit 3")),
        ("enhance", dict(type="RandomApply", transforms=[dict(type="os.system")])),
        ("enhance", dict(type="leuko_mm.AHERetinex", _scope_="planted")),
        ("method", "a\x1b[2J"),
        ("training", 3),
    ],
)
def test_a_sidecar_that_contradicts_itself_is_refused(painted, key, value):
    rewrite(painted, **{key: value})
    with pytest.raises(CheckpointError):
        read_checkpoint(painted)


def test_no_enhancement_of_a_sidecar_is_a_function(painted, tmp_path):
    mark = tmp_path / "harmed"
    rewrite(painted, enhance=dict(type="os.mkdir", path=str(mark)))
    with pytest.raises(CheckpointError, match=r"asks for the part 'os\.mkdir'"):
        Predictor(painted, scale=1.0).predict(np.zeros((64, 64, 3), np.uint8))
    assert not mark.exists()


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../net.pth", "/etc/passwd", "a" * 999]
)
def test_a_class_network_is_a_file_beside_the_checkpoint(painted, name):
    rewrite(painted, classifier=name)
    with pytest.raises(CheckpointError, match="name of a file beside it"):
        Predictor(painted)


def test_a_network_that_is_larger_than_its_file_takes_no_memory(tmp_path, tiny_config):
    path = tmp_path / "net.pth"
    config = write_tiny(path, tiny_config)["config"]
    config["model"]["decode_head"]["channels"] = [10**6] * 4
    rewrite(path, config=config)
    with pytest.raises(CheckpointError, match=r"a network of \d{14} numbers"):
        read_checkpoint(path)


@pytest.mark.parametrize(
    ("enhance", "said"),
    [
        (dict(type="leuko_mm.AHERetinex", reading="x"), " gives .*reading 'x'"),
        (dict(type="LoadImageFromFile"), ": enhance: LoadImageFromFile fails.*_path"),
        (dict(type="RGB2Gray"), ": enhance: RGB2Gray returns img float64"),
    ],
)
def test_a_checkpoint_that_cannot_answer_is_refused_before_any_image(
    painted, enhance, said
):
    rewrite(painted, enhance=enhance)
    with pytest.raises(CheckpointError, match=rf"net\.pth{said}"):
        Predictor(painted)


def test_weights_that_are_no_numbers_are_refused_before_any_image(painted, tmp_path):
    tensors = torch.load(painted, weights_only=True)
    tensors["colours"][1] = float("nan")
    with pytest.raises(CheckpointError, match="not finite"):
        Predictor(write_checkpoint(tmp_path, painted_model(), tensors))


def test_no_other_file_is_read_for_weights(tmp_path, painted):
    model = painted_model()
    model["decode_head"]["init_cfg"] = dict(type="Pretrained", checkpoint="no.pth")
    tensors = torch.load(painted, weights_only=True)
    read_checkpoint(write_checkpoint(tmp_path, model, tensors))


@pytest.fixture
def exported(painted, tmp_path):
    need_exports()
    out = tmp_path / "out" / "net.onnx"
    export(painted, out)
    return out


def test_the_sidecar_of_an_export_is_the_checkpoint_s_and_describes_it(
    exported, painted
):
    of, own = (dict(read_model(path).sidecar) for path in (painted, exported))
    about, sha256 = own.pop("export"), own.pop("sha256")
    assert sha256 == sha256_of_file(exported)
    assert (about["format"], about["precision"]) == ("onnx", "float32")
    assert (about["opset"], about["of"]) == (17, of.pop("sha256"))
    assert about["input"]["shape"] == ["batch", 3, "height", "width"]
    assert about["compared"]["same_class"] >= 0.9999
    assert own == of


@pytest.mark.parametrize("place", [0, 100, -1])
def test_a_changed_byte_is_refused(exported, painted, place):
    for file in (exported, painted):
        flip_byte(file, place)
        with pytest.raises(CheckpointError, match="sha256"):
            read_model(file)


def test_the_sidecar_of_a_checkpoint_is_not_that_of_an_export(painted, tmp_path):
    shutil.copy(painted, tmp_path / "other.onnx")
    shutil.copy(painted.with_suffix(".json"), tmp_path / "other.json")
    with pytest.raises(CheckpointError, match="no sidecar of an export"):
        read_model(tmp_path / "other.onnx")


@pytest.mark.parametrize(
    ("classes", "channels", "wrong"), [(CLASS_NAMES, [6], 5), (BINARY_NAMES, [1, 2], 3)]
)
def test_an_export_that_is_not_what_its_sidecar_says_is_refused(
    classes, channels, wrong
):
    read = Checkpoint(Path("net.onnx"), dict(classes=classes), None)
    for fits in channels:
        check_outputs(read, ["image"], ["batch", fits, "height", "width"])
    check_outputs(read, ["image"], [None, None, None, None])
    for inputs, found in [(["image"], wrong), (["image", "mask"], channels[0])]:
        with pytest.raises(CheckpointError, match="promises"):
            check_outputs(read, inputs, ["batch", found, "height", "width"])


@pytest.mark.parametrize("above", [True, False])
def test_weights_from_outside_its_folder_are_refused(exported, tmp_path, above):
    """A format that may keep weights in other files must not open any file."""
    onnx = pytest.importorskip("onnx")
    secret = tmp_path / "secret.bin"
    graph = onnx.load(str(exported))
    tensor = graph.graph.initializer[0]
    secret.write_bytes(tensor.raw_data)
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", f"../{secret.name}" if above else str(secret)

    def opened():
        exported.write_bytes(graph.SerializeToString())
        rewrite(exported, sha256=sha256_of_file(exported))
        return open_runtime(read_export(exported), "onnxruntime")

    with pytest.raises(CheckpointError, match="cannot be loaded"):
        opened()
    # Beside the file they are taken: it is the place that is refused.
    entry.value = secret.rename(exported.with_name(secret.name)).name
    opened()
