"""What is read of a checkpoint, and what is refused.

What is refused of an export and its sidecar.

Batch norms are folded where that is sure to be right, and the answer stays.

What runs a file, and what is said where nothing can.

Exports give what the checkpoint gives, whatever runs them.

What the package carries is found; what it does not, says how to make it.
"""

from __future__ import annotations

import copy
import importlib.util
import json
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from exported_network import need_exports, write_uneven
from mmcv.cnn import ConvModule
from painted_network import disc, paint, painted_model, write_checkpoint
from torch import nn

from leuko_mm.classes import CLASS_COLOURS, CLASS_NAMES
from leuko_mm.cli.main import exit_code_of, main
from leuko_mm.engine.checkpoints import UnsafeCheckpointError
from leuko_mm.files import sha256_of_file
from leuko_mm.inference import Predictor as Predictor_shipped
from leuko_mm.inference import model as runtime_choice
from leuko_mm.inference import model as shipped
from leuko_mm.inference.export import export
from leuko_mm.inference.model import (
    DEFAULT_MODEL,
    CheckpointError,
    NotShippedError,
    RuntimeChoiceError,
    check_outputs,
    choose_runtime,
    fold_batch_norms,
    open_runtime,
    read_checkpoint,
    read_export,
    read_model,
    shipped_checkpoint,
    shipped_names,
)
from leuko_mm.inference.predictor import Predictor, TileNetwork
from leuko_mm.models.vgg import VGG


def change(path, key, value):
    place = path.with_suffix(".json")
    sidecar = json.loads(place.read_text())
    sidecar[key] = value
    place.write_text(json.dumps(sidecar))
    return sidecar


def test_a_checkpoint_brings_its_model_and_what_it_knows(painted):
    read = read_checkpoint(painted)
    assert read.classes == CLASS_NAMES
    assert read.colours == CLASS_COLOURS
    assert (read.cell_px, read.rbc_px, read.px_per_um) == (128, 20.0, None)
    assert read.prepared_px == 256
    assert not read.model.training
    assert not any(p.requires_grad for p in read.model.parameters())


def test_what_is_not_there_is_named(tmp_path, painted):
    with pytest.raises(CheckpointError, match=r"none\.pth does not exist"):
        read_checkpoint(tmp_path / "none.pth")
    painted.with_suffix(".json").unlink()
    with pytest.raises(CheckpointError, match=r"no sidecar net\.json"):
        read_checkpoint(painted)


def test_a_changed_byte_is_refused(painted):
    content = bytearray(painted.read_bytes())
    content[-1] ^= 1
    painted.write_bytes(content)
    with pytest.raises(CheckpointError, match="sha256"):
        read_checkpoint(painted)


@pytest.mark.parametrize("text", ["", "[]", "{}", "3", '{"schema": 1}', "\udcff"])
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
    ],
)
def test_a_sidecar_that_contradicts_itself_is_refused(painted, key, value):
    change(painted, key, value)
    with pytest.raises(CheckpointError):
        read_checkpoint(painted)


def test_tensors_that_do_not_fit_the_config_are_refused(tmp_path):
    path = write_checkpoint(tmp_path, painted_model(), {"colours": torch.zeros(2, 3)})
    with pytest.raises(CheckpointError, match="does not fit the config"):
        read_checkpoint(path)


@pytest.mark.parametrize("where", ["model", "part"])
def test_a_sidecar_cannot_call_what_is_no_part(tmp_path, where):
    planted = tmp_path / "planted"
    code = dict(type="os.system", command=f"touch {planted}")
    model = painted_model()
    if where == "model":
        model.update(code)
    else:
        model["decode_head"]["act_cfg"] = [code]
    path = write_checkpoint(tmp_path, model, {})
    with pytest.raises(CheckpointError, match=r"os\.system"):
        read_checkpoint(path)
    assert not planted.exists()


def test_a_pickle_cannot_run_beside_a_sidecar_that_fits(tmp_path, painted):
    class Planted:
        def __reduce__(self):
            return open, (str(tmp_path / "planted"), "w")

    read_checkpoint(painted)
    path = write_checkpoint(tmp_path, painted_model(), {"colours": Planted()})
    with pytest.raises(UnsafeCheckpointError):
        read_checkpoint(path)
    assert not (tmp_path / "planted").exists()


def test_an_unknown_part_is_named(tmp_path):
    model = painted_model() | {"type": "leuko_mm.NoSuchPart"}
    path = write_checkpoint(tmp_path, model, {})
    with pytest.raises(CheckpointError, match="NoSuchPart"):
        read_checkpoint(path)


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


def change_exported(path, **keys):
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
def test_a_changed_byte_is_refused_exported(exported, place):
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
    change_exported(exported, sha256=sha256_of_file(exported))
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
    change_exported(exported, sha256=sha256_of_file(exported))
    with pytest.raises(CheckpointError, match="cannot be loaded"):
        open_runtime(read_export(exported), "onnxruntime")
    # Beside the file they are taken: it is the place that is refused.
    entry.value = secret.rename(exported.with_name(secret.name)).name
    exported.write_bytes(graph.SerializeToString())
    change_exported(exported, sha256=sha256_of_file(exported))
    open_runtime(read_export(exported), "onnxruntime")


def uneven(model):
    """Give batch norms numbers as a training leaves them."""
    torch.manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d) and module.track_running_stats:
            nn.init.uniform_(module.running_mean, -0.5, 0.5)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.5, 0.5)
    return model.eval().requires_grad_(False)


def norms(model):
    return sum(isinstance(m, nn.BatchNorm2d) for m in model.modules())


def test_a_network_of_ours_answers_as_before(tmp_path):
    model = read_checkpoint(write_uneven(tmp_path)).model
    image = torch.randn(1, 3, 32, 48)
    shape = dict(ori_shape=(32, 48), img_shape=(32, 48), pad_shape=(32, 48))
    before = model.encode_decode(image, [shape])
    there = norms(model)
    assert fold_batch_norms(model) == there > 0
    assert norms(model) == 0
    torch.testing.assert_close(
        model.encode_decode(image, [shape]), before, atol=1e-4, rtol=1e-4
    )


def test_maps_taken_between_layers_stay_the_same():
    encoder = uneven(VGG(11, width=0.125, batch_norm=True))
    image = torch.randn(1, 3, 32, 32)
    before = encoder(image)
    assert fold_batch_norms(encoder) == 8
    for own, other in zip(encoder(image), before, strict=True):
        torch.testing.assert_close(own, other, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    "model",
    [
        ConvModule(3, 4, 1, norm_cfg=dict(type="BN"), order=("norm", "conv", "act")),
        ConvModule(3, 4, 1, norm_cfg=dict(type="GN", num_groups=2)),
        ConvModule(3, 4, 1),
        nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.BatchNorm2d(4)),
        nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 1)),
        nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4, track_running_stats=False)),
        nn.Sequential(nn.utils.spectral_norm(nn.Conv2d(3, 4, 1)), nn.BatchNorm2d(4)),
        nn.ModuleList([nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)]),
    ],
)
def test_what_may_be_read_by_others_is_left_alone(model):
    model = uneven(copy.deepcopy(model))
    state = list(model.state_dict())
    assert fold_batch_norms(model) == 0
    assert list(model.state_dict()) == state


def test_a_network_in_training_is_left_alone():
    pair = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)).train()
    assert fold_batch_norms(pair) == 0


PTH, ONNX = Path("net.pth"), Path("net.onnx")


@pytest.fixture
def installed(monkeypatch):
    """Return a function that decides which libraries there are."""

    def there(*names):
        monkeypatch.setattr(runtime_choice, "find_spec", lambda name: name in names)

    return there


@pytest.mark.parametrize(
    ("libraries", "path", "wanted", "chosen"),
    [
        ((), PTH, None, "torch"),
        ((), PTH, "torch", "torch"),
        (("onnxruntime", "openvino"), PTH, None, "torch"),
        (("onnxruntime", "openvino"), ONNX, None, "openvino"),
        (("onnxruntime",), ONNX, None, "onnxruntime"),
        (("onnxruntime", "openvino"), ONNX, "onnxruntime", "onnxruntime"),
    ],
)
def test_a_file_gets_what_runs_it(installed, libraries, path, wanted, chosen):
    installed(*libraries)
    assert choose_runtime(path, wanted) == chosen


@pytest.mark.parametrize(
    ("libraries", "path", "wanted", "said"),
    [
        ((), ONNX, None, "pip install onnxruntime"),
        (("openvino",), ONNX, "onnxruntime", "pip install onnxruntime"),
        (("onnxruntime",), ONNX, "openvino", "pip install openvino"),
        (("openvino",), ONNX, "torch", "runs the .pth"),
        (("openvino",), PTH, "openvino", "leuko export net.pth NAME.onnx"),
        ((), PTH, "abacus", "expected one of torch, onnxruntime, openvino"),
    ],
)
def test_what_cannot_be_is_refused_with_what_mends_it(
    installed, libraries, path, wanted, said
):
    installed(*libraries)
    with pytest.raises(RuntimeChoiceError) as error:
        choose_runtime(path, wanted)
    assert said in str(error.value)
    assert error.value.exit_code == 2


LIMIT, SAME_CLASS = 1e-3, 0.9999
EXPORTS = ("onnxruntime", "openvino")


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """Return a checkpoint and its export, as they are read."""
    need_exports()
    folder = tmp_path_factory.mktemp("pair")
    path = write_uneven(folder)
    export(path, folder / "out" / "net.onnx")
    return read_model(path), read_model(folder / "out" / "net.onnx")


@pytest.fixture(scope="module", params=EXPORTS)
def runtimes(request, pair):
    """Return the network by torch and by another runtime, in float32."""
    if not importlib.util.find_spec(request.param):
        pytest.skip(f"{request.param} is not installed: pip install {request.param}")
    own = open_runtime(pair[0], device="cpu", float32=True)
    return own, open_runtime(pair[1], request.param, float32=True)


@pytest.mark.parametrize("batch", [1, 2, 3])
@pytest.mark.parametrize("size", [(32, 32), (64, 96), (160, 32)])
def test_logits_are_those_of_the_checkpoint(runtimes, batch, size):
    drawn = torch.Generator().manual_seed(batch)
    images = torch.randn((batch, 3, *size), generator=drawn)
    own, other = (runtime(images) for runtime in runtimes)
    assert own.shape == other.shape == (batch, 6, *size)
    assert other.dtype == torch.float32
    assert (own - other).abs().max() <= LIMIT
    assert (own.argmax(1) == other.argmax(1)).float().mean() >= SAME_CLASS


@pytest.mark.parametrize("shape", [(33, 47), (97, 131), (20, 70), (1, 1)])
@pytest.mark.parametrize("tta", [False, True])
def test_tiles_of_odd_sides_are_taken(runtimes, pair, shape, tta):
    tile = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    own, other = (TileNetwork(pair[0], runtime, tta=tta)(tile) for runtime in runtimes)
    assert own.shape == other.shape == (6, *shape)
    np.testing.assert_allclose(own, other, atol=LIMIT)


def test_real_cells_keep_their_classes(runtimes, pair, shared_folder):
    files = sorted((shared_folder / "datasets/BCISC/sub-images/images").glob("*.jpg"))
    if not files:
        pytest.skip(f"no BCISC images below {shared_folder}")
    networks = [TileNetwork(pair[0], runtime) for runtime in runtimes]
    same = pixels = 0
    # Whole, and cut to odd sides.
    for number, file in enumerate(files[:: len(files) // 5]):
        cell = cv2.imread(str(file))[: 256 - 7 * number, : 256 - 3 * number, ::-1]
        own, other = (network(cell) for network in networks)
        assert abs(own - other).max() <= LIMIT
        same += (own.argmax(0) == other.argmax(0)).sum()
        pixels += own[0].size
    assert same >= SAME_CLASS * pixels


def test_cells_are_found_in_a_field_by_an_export(painted, tmp_path):
    need_exports()
    labels = np.zeros((150, 261), np.uint8)
    labels[disc(labels.shape, 60, 60, 25)] = 5
    labels[disc(labels.shape, 200, 90, 22)] = 2
    export(painted, tmp_path / "painted.onnx")
    wanted = Predictor(painted, scale=1, tile=128).predict(paint(labels))
    by_export = Predictor(
        tmp_path / "painted.onnx", scale=1, tile=128, runtime="onnxruntime"
    )
    assert (by_export.runtime, by_export.checkpoint.model) == ("onnxruntime", None)
    found = by_export.predict(paint(labels))
    assert dict(found.counts) == dict(wanted.counts)
    assert sum(found.counts.values()) == 2
    assert (found.labels == wanted.labels).mean() >= SAME_CLASS


def test_an_export_runs_on_the_cpu_only(pair):
    with pytest.raises(RuntimeChoiceError, match="'cuda:0'"):
        open_runtime(pair[1], "onnxruntime", device="cuda:0")


def test_torch_can_be_kept_from_bfloat16(pair):
    images = torch.randn(1, 3, 32, 32)
    runtime = open_runtime(pair[0], device="cpu", float32=True)
    assert not runtime.low_precision
    model = pair[0].model
    about = dict(ori_shape=(32, 32), img_shape=(32, 32), pad_shape=(32, 32))
    with torch.no_grad():
        plain = model.encode_decode(images, [about])
    torch.testing.assert_close(runtime(images).clone(), plain, atol=1e-4, rtol=1e-4)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(shipped, "shipped_folder", lambda: tmp_path)
    return tmp_path


def test_a_checkpoint_is_found_with_its_sidecar(folder):
    (folder / "a.pth").touch()
    (folder / "a.json").touch()
    assert shipped_checkpoint("a") == folder / "a.pth"
    assert shipped_names() == ["a"]


def test_half_a_checkpoint_is_none(folder):
    (folder / "a.pth").touch()
    assert shipped_names() == []
    with pytest.raises(NotShippedError, match="no checkpoint 'a'"):
        shipped_checkpoint("a")


def test_the_mend_is_named_and_ends_with_2(folder):
    with pytest.raises(NotShippedError, match="leuko train cbam_unet_compact") as found:
        shipped_checkpoint()
    assert exit_code_of(found.value) == 2


def test_everything_shipped_has_a_sidecar_and_fits_the_wheel():
    files = sorted(shipped.shipped_folder().glob("*.pth"))
    assert [file.stem for file in files] == shipped_names()
    assert all(file.stat().st_size <= 8_000_000 for file in files)
    assert sum(file.stat().st_size for file in files) <= 16_000_000


def test_taking_the_predictor_prints_nothing():
    """MMSegmentation says twice that an optional reader of datasets is absent."""
    words = "from leuko_mm.inference import Predictor"
    done = subprocess.run(
        [sys.executable, "-c", words], capture_output=True, text=True, check=True
    )
    assert done.stdout == ""


@pytest.fixture
def _offline(monkeypatch):
    def refused(*_):
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refused)


@pytest.mark.usefixtures("_offline")
def test_the_default_model_is_there_and_sees_no_cell_where_none_is():
    assert DEFAULT_MODEL in shipped_names()
    found = Predictor_shipped.from_zoo(scale=1.0).predict(
        np.full((200, 300, 3), 230, np.uint8)
    )
    assert sum(found.counts.values()) == 0
    assert found.labels.shape == (200, 300)


@pytest.mark.usefixtures("_offline")
def test_it_names_and_outlines_cells_of_a_slide_that_it_never_saw(shared_folder):
    cells = shared_folder / "datasets" / "BCISC" / "sub-images"
    predictor = Predictor_shipped.from_zoo()
    for name in CLASS_NAMES[1:]:
        stem = f"{name[:4]}_9-3_0"
        found = predictor.predict(cells / "images" / f"{stem}.jpg")
        assert dict(found.counts) == {n: int(n == name) for n in CLASS_NAMES[1:]}
        (path,) = (cells / "masks").glob(f"{stem}.*")
        truth = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) > 127
        both = (truth & (found.labels > 0)).sum()
        assert both / (truth | (found.labels > 0)).sum() > 0.8


@pytest.mark.slow
def test_its_card_says_what_is_measured(shared_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("LEUKO_MM_DATA", str(tmp_path))
    source = shared_folder / "datasets" / "BCISC"
    assert main(["prepare", "bcisc", str(source)]) == 0
    assert main(["zoo", "verify", DEFAULT_MODEL, "--accuracy"]) == 0
    sidecar = shipped_checkpoint().with_suffix(".json")
    said = json.loads(sidecar.read_text())["metrics"]["mIoU"]
    card = sidecar.with_suffix(".md").read_text(encoding="utf-8")
    assert f"| {said:.2f} |" in card
