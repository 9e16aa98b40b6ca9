"""What runs a file, and what is said where nothing can."""

from __future__ import annotations

from pathlib import Path

import pytest

from leuko_mm.inference import runtime_choice
from leuko_mm.inference.runtime_choice import RuntimeChoiceError, choose_runtime

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
