"""What is read of a checkpoint, and what is refused."""

from __future__ import annotations

import json

import pytest
import torch
from painted_network import painted_model, write_checkpoint

from leuko_mm.classes import CLASS_COLOURS, CLASS_NAMES
from leuko_mm.engine.safe_load import UnsafeCheckpointError
from leuko_mm.inference.checkpoint import CheckpointError, read_checkpoint


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
