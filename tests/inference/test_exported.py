"""What is refused of an export and its sidecar."""

from __future__ import annotations

import json
import shutil

import pytest
from exported_network import need_exports
from painted_network import painted_model, write_checkpoint

from leuko_mm.files import sha256_of_file
from leuko_mm.inference.checkpoint import CheckpointError
from leuko_mm.inference.exported import check_outputs, read_export, read_model
from leuko_mm.inference.runtimes import open_runtime
from leuko_mm.workflows.export import export


@pytest.fixture
def exported(painted, tmp_path):
    need_exports()
    out = tmp_path / "out" / "net.onnx"
    export(painted, out)
    return out


def change(path, **keys):
    place = path.with_suffix(".json")
    place.write_text(json.dumps({**json.loads(place.read_text()), **keys}))


def test_the_sidecar_is_that_of_the_checkpoint_and_tells_the_export(exported, painted):
    of, own = (read_model(path).sidecar for path in (painted, exported))
    assert {k: v for k, v in own.items() if k not in ("sha256", "export")} == {
        k: v for k, v in of.items() if k != "sha256"
    }
    assert own["sha256"] == sha256_of_file(exported)
    about = own["export"]
    assert (about["format"], about["precision"]) == ("onnx", "float32")
    assert (about["opset"], about["of"]) == (17, of["sha256"])
    assert about["input"]["shape"] == ["batch", 3, "height", "width"]
    assert about["compared"]["same_class"] >= 0.9999


@pytest.mark.parametrize("place", [0, 100, -1])
def test_a_changed_byte_is_refused(exported, place):
    content = bytearray(exported.read_bytes())
    content[place] ^= 1
    exported.write_bytes(content)
    with pytest.raises(CheckpointError, match="sha256"):
        read_export(exported)


def test_a_missing_file_is_named(exported):
    with pytest.raises(CheckpointError, match=r"none\.onnx does not exist"):
        read_model(exported.with_name("none.onnx"))
    exported.with_suffix(".json").unlink()
    with pytest.raises(CheckpointError, match=r"net\.json does not exist"):
        read_model(exported)


def test_the_sidecar_of_a_checkpoint_is_not_that_of_an_export(painted, tmp_path):
    shutil.copy(painted, tmp_path / "other.onnx")
    shutil.copy(painted.with_suffix(".json"), tmp_path / "other.json")
    with pytest.raises(CheckpointError, match="no sidecar of an export"):
        read_model(tmp_path / "other.onnx")


def test_what_is_no_network_is_refused(exported):
    exported.write_bytes(b"no network")
    change(exported, sha256=sha256_of_file(exported))
    with pytest.raises(CheckpointError, match="cannot be loaded"):
        open_runtime(read_export(exported), "onnxruntime")


def test_another_network_than_the_sidecar_tells_of_is_refused(exported):
    read = read_export(exported)
    check_outputs(read, ["image"], ["batch", 6, "height", "width"])
    check_outputs(read, ["image"], [None, None, None, None])
    for inputs, output in [
        (["image"], ["batch", 5, "height", "width"]),
        (["pixels"], ["batch", 6, "height", "width"]),
        (["image", "mask"], ["batch", 6, "height", "width"]),
    ]:
        with pytest.raises(CheckpointError, match="promises"):
            check_outputs(read, inputs, output)


def test_two_classes_may_be_one_logit(tmp_path):
    model = painted_model()
    model["decode_head"]["num_classes"] = 2
    names = ["background", "leukocyte"]
    path = write_checkpoint(
        tmp_path,
        model,
        {},
        classes=names,
        colours=[[0, 0, 0], [255, 255, 255]],
        config=dict(classes=names, model=model),
        export=dict(format="onnx", opset=17, precision="float32"),
    )
    shutil.copy(path, path.with_suffix(".onnx"))
    read = read_export(path.with_suffix(".onnx"))
    for channels in (1, 2):
        check_outputs(read, ["image"], ["batch", channels, "height", "width"])
    with pytest.raises(CheckpointError, match="promises"):
        check_outputs(read, ["image"], ["batch", 3, "height", "width"])


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
    place = f"../{secret.name}" if above else str(secret)
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", place
    exported.write_bytes(graph.SerializeToString())
    change(exported, sha256=sha256_of_file(exported))
    with pytest.raises(CheckpointError, match="cannot be loaded"):
        open_runtime(read_export(exported), "onnxruntime")
    # Beside the file they are taken: it is the place that is refused.
    entry.value = secret.rename(exported.with_name(secret.name)).name
    exported.write_bytes(graph.SerializeToString())
    change(exported, sha256=sha256_of_file(exported))
    open_runtime(read_export(exported), "onnxruntime")
