"""What a user can do wrong ends with exit code 2 and one message, before training."""

from __future__ import annotations

import pickle
import shutil
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_run import write_config

from leuko_mm.cli.main import main
from leuko_mm.engine import encoder_weights

LONGEST = 10


@pytest.fixture
def own_data(tiny_home, tmp_path, monkeypatch) -> Path:
    """Return a dataset that a test may break."""
    home = tmp_path / "data"
    shutil.copytree(tiny_home, home)
    monkeypatch.setenv("LEUKO_MM_DATA", str(home))
    return home / "synthetic"


@pytest.fixture
def refused(tiny_config, tmp_path, capfd):
    """Return a function that runs ``leuko train`` and returns its only message."""

    def run(*arguments, config=tiny_config, built=False) -> str:
        work_dir = tmp_path / "run"
        was_there = work_dir.exists()
        code = main(
            ["train", str(config), "--work-dir", str(work_dir), *map(str, arguments)]
        )
        out, err = capfd.readouterr()
        assert code == 2
        assert "Traceback" not in out + err
        assert err.count("leuko train: ") == 1
        if not built:
            assert out == ""
            assert err.startswith("leuko train: ")
            assert work_dir.exists() == was_there
        assert list(work_dir.rglob("*.pth")) == []
        message = err[err.index("leuko train: ") :]
        assert len(message.splitlines()) <= LONGEST
        return message

    return run


def a_cell(root: Path) -> str:
    """Return the stem of a cell that is used by every split."""
    return (root / "index.csv").read_text().splitlines()[1].split(",")[0]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--split", "fold9"], ["no split 'fold9'", "fold1"]),
        (["--protocol", "halve"], ["no protocol 'halve' (did you mean 'half'?)"]),
        (
            ["--cfg-options", "test_evaluator.type=IoUMetric"],
            ["leuko_mm.LeukocyteMetric"],
        ),
        (
            ["--cfg-options", "optim_wrapper.optimizer.type=AdamV"],
            ["no 'AdamV'", "did you mean 'Adam"],
        ),
    ],
)
def test_a_wrong_argument(refused, tiny_data, arguments, said):
    message = refused(*arguments)
    assert [words for words in said if words not in message] == []


def test_a_wrong_config(refused, tiny_data, tmp_path):
    message = refused(config="configs/cbam_unit.py")
    assert "no config 'configs/cbam_unit.py' (did you mean 'cbam_unet'?)" in message
    assert "quickstart" in message
    path = write_config(tmp_path, more="optim_wraper = dict()\n")
    assert "did you mean 'optim_wrapper'" in refused(config=path)


def test_data_that_is_not_there_or_not_prepared(refused, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LEUKO_MM_DATA", str(tmp_path))
    (tmp_path / "photos").mkdir()
    for arguments, said in (
        (["--data", tmp_path / "nowhere"], f"{tmp_path / 'nowhere'} does not exist"),
        (["--data", "photos"], "photos is not a prepared dataset"),
    ):
        message = refused(*arguments)
        assert said in message
        assert "leuko prepare" in message
    message = refused(config="cbam_unet")
    assert "leuko prepare bcisc" in message
    assert "LEUKO_MM_DATA" in message


@pytest.fixture
def pretrained(tmp_path):
    """Return a config whose encoder wants a file of weights."""

    def write(checkpoint: str) -> Path:
        init_cfg = f"dict(type='leuko_mm.EncoderWeights', checkpoint='{checkpoint}')"
        more = f"model['backbone']['init_cfg'] = {init_cfg}\n"
        return write_config(tmp_path, name="pretrained", more=more)

    return write


def test_weights_that_cannot_be_fetched(
    refused, tiny_data, pretrained, tmp_path, monkeypatch
):
    def no_network(url, target, **kwargs):
        raise OSError("no route to host")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(encoder_weights, "fetch", no_network)
    message = refused(config=pretrained("vgg16"))
    assert "no route to host" in message
    assert "curl -L" in message
    message = refused(config=pretrained("weights/mine.pth"))
    assert "weights/mine.pth" in message
    assert "vgg16" in message


def test_weights_of_another_network(refused, tiny_data, pretrained, tmp_path):
    torch.save({"features.0.weight": torch.zeros(1)}, tmp_path / "other.pth")
    message = refused(config=pretrained(tmp_path / "other.pth"), built=True)
    assert "other.pth does not fit VGG" in message


def test_a_broken_or_missing_mask(refused, own_data):
    path = own_data / "masks" / f"{a_cell(own_data)}.png"
    Image.fromarray(np.full((64, 64), 9, np.uint8)).save(path)
    message = refused()
    assert f"{path}: value 9" in message
    assert "0 to 5" in message
    path.unlink()
    assert f"{path} is missing" in refused()


def test_an_unknown_class_in_the_index(refused, own_data):
    index = own_data / "index.csv"
    index.write_text(index.read_text().replace(",basophil,", ",basofil,"))
    message = refused()
    for words in ("index.csv", "basofil", "basophil/"):
        assert words in message


@pytest.mark.parametrize(
    ("option", "meant"),
    [
        ("train_dataloader.dataset.mosaicz=4", "mosaics"),
        ("train_dataloader.dataset.dataset.splitt=fold1", "split"),
        ("train_dataloader.bach_size=4", "batch_size"),
        ("model.bakbone.depth=16", "backbone"),
        ("model.backbone.dept=16", "depth"),
        ("model.decode_head.loss_decode.0.gama=2", "gamma"),
        # Whoever reads it fails in the middle of the training.
        ("default_hooks.checkpoint.intervall=5", "interval"),
        ("train_cfg.max_iter=4", "max_iters"),
    ],
)
def test_a_misspelt_key_inside(refused, tiny_data, option, meant):
    message = refused("--cfg-options", option)
    assert option.split("=")[0] in message
    assert f"did you mean {meant!r}" in message


@pytest.mark.parametrize(
    "option",
    [
        "test_evaluator.ignore=255",
        "optim_wrapper.optimizer.lrr=1e-3",
        "custom_hooks.1.itres=4",
        "param_scheduler.1.T_mx=4",
    ],
)
def test_an_argument_that_no_part_takes(refused, tiny_data, option):
    message = refused("--cfg-options", option, built=True)
    assert "the config does not build" in message
    wrong = option.split("=")[0].split(".")[-1]
    assert f"unexpected keyword argument '{wrong}'" in message


@pytest.mark.parametrize(
    ("option", "right"),
    [
        ("model.backbone.type=leuko_mm.VGGG", "VGG"),
        ("train_dataloader.dataset.pipeline.0.type=PackSegInput", "PackSegInputs"),
    ],
)
def test_an_unknown_part(refused, tiny_data, option, right):
    message = refused("--cfg-options", option, built=True)
    assert option.split("=")[1].split(".")[-1] in message
    assert right in message.partition("did you mean")[2]


@pytest.mark.parametrize(
    ("mark", "said"),
    [("results.json", ["--force"]), ("last_checkpoint", ["--resume", "--force"])],
)
def test_a_run_that_is_there(refused, tiny_data, tmp_path, mark, said):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / mark).write_text("{}")
    message = refused()
    assert [words for words in said if words not in message] == []
    assert (tmp_path / "run" / mark).read_text() == "{}"


@pytest.mark.parametrize(
    "option", ["test_evaluator.ignore=255", "custom_hooks.1.module=bakbone"]
)
def test_a_faulty_config_does_not_cost_the_former_run(
    refused, tiny_data, tiny_config, tmp_path, option
):
    kept = [tmp_path / "run" / name for name in ("results.json", tiny_config.name)]
    kept[0].parent.mkdir()
    for path in kept:
        path.write_text("{}")
    refused("--force", "--cfg-options", option, built=True)
    assert [path.read_text() for path in kept] == ["{}", "{}"]


@pytest.fixture
def refused_test(tiny_config, tiny_data, tmp_path, capfd):
    """Return a function that runs ``leuko test`` and returns its only message."""

    def run(checkpoint, *arguments) -> str:
        code = main(["test", str(tiny_config), str(checkpoint), *arguments])
        err = capfd.readouterr().err
        assert code == 2
        assert "Traceback" not in err
        assert err.count("leuko test: ") == 1
        assert list(tmp_path.rglob("results.json")) == []
        message = err[err.index("leuko test: ") :]
        assert len(message.splitlines()) <= LONGEST
        return message

    return run


def test_a_checkpoint_that_would_run_code(refused_test, tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    path = tmp_path / "evil.pth"
    path.write_bytes(pickle.dumps(Evil()))
    assert "was not loaded" in refused_test(path)
    assert not (tmp_path / "ran").exists()


def test_a_missing_checkpoint_or_one_of_another_network(refused_test, tmp_path):
    assert "absent.pth does not exist" in refused_test("absent.pth")
    path = tmp_path / "other.pth"
    torch.save(OrderedDict({"backbone.stem.weight": torch.zeros(1)}), path)
    assert f"{path} does not fit the config" in refused_test(path)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (
            "model['decode_head']['loss_decode'] = "
            "[dict(type='CrossEntropyLoss', class_weight=[1.0] * 5)]",
            "first iteration failed: RuntimeError: weight tensor",
        ),
        ("model['decode_head']['loss_decode'] = []", "gives no loss"),
        ("model['test_cfg'] = dict(mode='hole')", "got hole"),
        ("model['decode_head']['in_channels'] = [1, 2, 3, 4, 5]", "expected input"),
        (
            "model['auxiliary_head'] = dict(type='FCNHead', in_channels=8, channels=8, "
            "in_index=0, num_classes=19)",
            "model.auxiliary_head.num_classes is 19",
        ),
    ],
)
def test_parts_that_do_not_fit_each_other(refused, tiny_data, tmp_path, more, said):
    """A loss, a head and a batch first meet when all is built."""
    path = write_config(tmp_path, name="unfit", more=more)
    assert said in refused(config=path, built=True)
