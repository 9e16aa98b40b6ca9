"""A whole bench: with contenders that only pretend, and once with real ones."""

from __future__ import annotations

import pytest

from leuko_mm.errors import UsageError
from leuko_mm.workflows import bench as workflow
from leuko_mm.workflows.bench import BenchRequest, bench


class Pretender:
    """Stands for a contender's process; writes down who had a turn."""

    turns: list[tuple[str, str]] = []
    specs: list[dict] = []
    # What a way answers instead of figures.
    broken: dict[str, dict] = {}

    def __init__(self, spec, *, python=None):
        self.name, self.python = (spec["network"], spec["way"]), python
        self.about = self.broken.get(spec["way"], dict(gmacs=1.0, torch="2"))
        self.specs.append(dict(spec, python=python))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def ask(self, seconds):
        self.turns.append(self.name)
        late = self.broken.get(f"late {self.name[1]}")
        return late or dict(ms=[float(len(self.turns))], cores=1.0, peak_mib=1.0)


@pytest.fixture
def pretender(monkeypatch):
    for name, value in dict(turns=[], specs=[], broken={}).items():
        monkeypatch.setattr(Pretender, name, value)
    monkeypatch.setattr(workflow, "ContenderProcess", Pretender)
    monkeypatch.setattr(workflow, "write_export", lambda _, file: file.touch())
    monkeypatch.setattr(workflow, "find_spec", lambda name: name != "openvino")
    monkeypatch.setattr(workflow.torch.cuda, "is_available", lambda: False)
    return Pretender


def small(**changes) -> BenchRequest:
    usual = dict(jobs=["predict"], methods=["cbam_unet"], rounds=2, threads=1)
    return BenchRequest(**{**usual, **changes})


def by_way(found) -> dict:
    return {(row["network"], row["way"]): row for row in found["rows"]}


def test_contenders_take_turns(pretender):
    found = bench(small(), say=lambda _: None)
    half = len(pretender.turns) // 2
    assert pretender.turns[:half] == pretender.turns[half:]
    # 1, 2, 3 ... in the first round, and so on in the second.
    assert by_way(found)["cbam_unet", "mmseg"]["ms"] == (1 + 1 + half) / 2
    assert found["targets"]


def test_a_library_that_is_absent_gives_a_row_that_says_what_to_install(pretender):
    pretender.broken["eager"] = dict(missing="segmentation_models_pytorch")
    rows = by_way(bench(small(), say=lambda _: None))
    row = rows["cbam_unet", "openvino"]
    assert row["left_out"] == "openvino is not installed: pip install openvino"
    assert "--peer-python" in rows["smp.Unet(vgg16)", "eager"]["left_out"]
    assert rows["cbam_unet", "onnxruntime"]["ms"]


def test_one_that_fails_keeps_nobody_back(pretender):
    pretender.broken["late mmseg"] = dict(failed="out of memory")
    rows = by_way(bench(small(), say=lambda _: None))
    assert rows["cbam_unet", "mmseg"]["left_out"] == "out of memory"
    assert rows["cbam_unet", "mmseg"]["ms"] is None
    assert rows["cbam_unet", "leuko"]["ms"]
    # Not asked again.
    assert pretender.turns.count(("cbam_unet", "mmseg")) == 1


def test_what_cannot_be_exported_is_told(pretender, monkeypatch):
    def refuse(network, file):
        raise RuntimeError("no operator for that\nand more")

    monkeypatch.setattr(workflow, "write_export", refuse)
    row = by_way(bench(small(), say=lambda _: None))["cbam_unet", "onnxruntime"]
    assert row["left_out"] == "cannot be exported (no operator for that)"


def test_the_other_interpreter_is_for_the_peer_alone(pretender):
    bench(small(peer_python="other"), say=lambda _: None)
    pythons = {spec["way"]: spec["python"] for spec in pretender.specs}
    assert pythons.pop("eager") == "other"
    assert set(pythons.values()) == {None}


def test_all_have_the_same_threads_batch_and_size(pretender):
    request = small(jobs=["train", "predict"], threads=3, batch=5)
    bench(request, say=lambda _: None)
    kinds = {(s["job"], s["threads"], s["batch"], s["size"]) for s in pretender.specs}
    assert kinds == {("train", 3, 5, 256), ("predict", 3, 1, 512)}


def test_the_processor_is_timed_on_one_thread(pretender):
    found = bench(small(clock="processor", threads=None), say=lambda _: None)
    kinds = {(spec["threads"], spec["clock"]) for spec in pretender.specs}
    assert kinds == {(1, "processor")}
    assert (found["threads"], found["clock"]) == (1, "processor")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (dict(rounds=0), "expected 1 or more, got {'rounds': 0}"),
        (dict(sizes=(("train", 100), ("predict", 512))), "multiple of 32"),
        (dict(methods=["cbam_unets"]), "cbam_unet"),
        (dict(clock="processor", threads=2), "got threads=2"),
    ],
)
def test_what_measures_nothing_is_refused(pretender, changes, said):
    with pytest.raises(UsageError, match=None) as raised:
        bench(small(**changes), say=lambda _: None)
    assert said in str(raised.value)
    assert not pretender.specs


@pytest.mark.slow
def test_a_real_bench_of_a_small_network(tiny_config):
    name = str(tiny_config)
    request = small(
        jobs=["train", "predict"],
        methods=[name],
        rounds=1,
        batch=2,
        sizes=(("train", 64), ("predict", 64)),
    )
    found = bench(request, say=lambda _: None)
    rows = {(row["job"], row["network"], row["way"]): row for row in found["rows"]}
    for job in ("train", "predict"):
        plain, own = (rows[job, name, way] for way in ("mmseg", "leuko"))
        assert own["times_plain"] == pytest.approx(plain["ms"] / own["ms"])
        assert own["gmacs"] == pytest.approx(plain["gmacs"], rel=0.01)
        assert own["conv_share"] > 0
