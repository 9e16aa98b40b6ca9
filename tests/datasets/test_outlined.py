"""Cells that a model outlines: PBC, the check of outlines, and the class ``other``."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from leuko_mm.classes import CLASS_NAMES, class_id
from leuko_mm.cli.main import main
from leuko_mm.datasets import LeukocyteDataset, MosaicDataset
from leuko_mm.datasets.audit import full_audit, quick_check
from leuko_mm.datasets.converters import outlined
from leuko_mm.datasets.converters.outlined import (
    PBC,
    Outliner,
    middle_cell,
    outline_fault,
    prepare_pbc,
)
from leuko_mm.datasets.images import ImageFileError
from leuko_mm.datasets.prepared import (
    DatasetError,
    cell_rows,
    read_about,
    read_index,
    read_split,
)
from leuko_mm.datasets.prepared_writing import PreparedCell, write_prepared
from leuko_mm.inference import outliner
from leuko_mm.split import SplitRequest, run_split

EACH = 5
KINDS = [name for name in PBC if name not in CLASS_NAMES]
LOADING = [dict(type="LoadImageFromFile"), dict(type="LoadAnnotations")]


def find_dark(image: np.ndarray) -> np.ndarray:
    """Number what is dark, in place of a model."""
    return cv2.connectedComponents((image.max(axis=2) < 90).astype(np.uint8))[1]


FAKE = Outliner(find_dark, dict(model="dark.pth", sha256="abc", scale=0.5))


def picture(seed: list[int], *discs: tuple[int, int, int]) -> Image.Image:
    """Dark discs (x, y, radius) of 0 to 72 on a bright ground like no other."""
    coarse = np.random.default_rng(seed).integers(120, 256, (9, 9, 3))
    image = cv2.resize(coarse.astype(np.uint8), (72, 75))
    for x, y, radius in discs:
        cv2.circle(image, (x, y), radius, (60, 20, 80), -1)
    return Image.fromarray(image)


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> Path:
    """PBC in small; of the eosinophils, one has a neighbour and four are faulty."""
    root = tmp_path_factory.mktemp("raw") / "PBC"
    for number, (folder, prefixes) in enumerate(PBC.items()):
        (root / folder).mkdir(parents=True)
        for image in range(EACH):
            path = root / folder / f"{prefixes[image % len(prefixes)]}_{image}.jpg"
            picture([number, image], (36, 37, 12)).save(path, quality=95)
    odd = {
        "EO_neighbour": [(36, 37, 12), (70, 3, 12)],
        "EO_aside": [(12, 12, 9)],
        "EO_small": [(36, 37, 4)],
        "EO_cut": [(36, 37, 12), (36, 60, 24)],
        "EO_ragged": [(36, 37, 9), *((36 + 3 * i, 37 - 3 * i, 2) for i in range(11))],
    }
    for number, (name, discs) in enumerate(odd.items()):
        path = root / "eosinophil" / f"{name}.jpg"
        picture([99, number], *discs).save(path, quality=95)
    (root / "eosinophil" / ".DS_1.jpg").write_bytes(b"litter")
    return root


@pytest.fixture(scope="module")
def prepared(tree, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("data") / "pbc"
    assert prepare_pbc(tree, out, FAKE) is True
    return out


def labels_of(root: Path, row) -> np.ndarray:
    with Image.open(root / row.mask) as mask:
        return np.array(mask)


def stems(dataset) -> list[str]:
    return [dataset.get_data_info(i)["stem"] for i in range(len(dataset))]


def test_pictures_are_kept_and_outlined_in_their_class(prepared, tree):
    rows = read_index(prepared)
    assert len(rows) == 8 * EACH + 1
    for row in rows:
        folder = row.source.split("/")[0]
        name = folder if folder in CLASS_NAMES else "other"
        assert (row.kind, row.class_name, row.outline) == ("cell", name, "model")
        published = (tree / row.source).read_bytes()
        assert (prepared / row.image).read_bytes() == published
        labels = labels_of(prepared, row)
        own = 255 if name == "other" else class_id(name)
        assert labels[37, 36] == own
        assert set(np.unique(labels)) <= {0, own, 255}
        assert (labels[:30, 62:] == 255).any() == (row.stem == "EO_neighbour")


def test_what_fails_the_check_is_listed_and_left_out(prepared):
    about = read_about(prepared)
    assert about["outlined_by"] == dict(
        model="dark.pth",
        sha256="abc",
        scale=0.5,
        left_out={
            "eosinophil/EO_aside.jpg": "no cell in the middle",
            "eosinophil/EO_cut.jpg": "cut off",
            "eosinophil/EO_ragged.jpg": "ragged",
            "eosinophil/EO_small.jpg": "impossible size",
        },
    )
    notes = "\n".join(about["notes"])
    assert "1 left out, impossible size: not 0.4 to 2.5 of its kind's median" in notes
    assert about["counts"] == {
        **dict.fromkeys(CLASS_NAMES[1:], EACH),
        "eosinophil": EACH + 1,
        "other": EACH * len(KINDS),
    }


def test_cells_that_touch_along_their_side_are_left_out():
    instances = np.zeros((60, 60), np.int32)
    instances[20:40, 20:40], instances[20:40, 40:60] = 1, 2
    labels = middle_cell(instances)
    assert (labels == np.where(instances == 2, 255, instances)).all()
    assert outline_fault(labels) == "overlaps a second cell"
    instances[:35, 40:] = 0  # they touch along a quarter
    assert outline_fault(middle_cell(instances)) is None
    assert outline_fault(middle_cell(instances * 0)) == "no cell in the middle"


def test_schema_2_is_for_outlines_of_a_model_alone(prepared, tmp_path):
    head = (prepared / "index.csv").read_text().splitlines()[0]
    assert head.endswith(",sha256,outline")
    assert read_about(prepared)["schema"] == 2
    cell = PreparedCell(
        stem="a",
        class_name="mono",
        group="g",
        image=np.zeros((9, 9, 3), np.uint8),
        mask=np.full((9, 9), 4, np.uint8),
    )
    about = dict(name="x", source="x", licence="x", citation="x", splits={})
    write_prepared(tmp_path / "drawn", [cell], **about)
    assert (tmp_path / "drawn" / "index.csv").read_text().count("outline") == 0
    assert read_about(tmp_path / "drawn")["schema"] == 1
    assert read_index(tmp_path / "drawn")[0].outline == "drawn"
    other = PreparedCell(**{**vars(cell), "class_name": "other"})
    with pytest.raises(ValueError, match="class other, but its mask holds a class"):
        write_prepared(tmp_path / "wrong", [other], **about)
    copy = Path(shutil.copytree(prepared, tmp_path / "pbc"))
    text = (copy / "index.csv").read_text()
    (copy / "index.csv").write_text(text.replace(",model\n", ",guess\n", 1))
    with pytest.raises(DatasetError, match="outline 'guess', expected one of"):
        read_index(copy)


def test_folds_spread_every_kind_evenly(prepared):
    for fold in ("fold1", "fold4"):
        parts = read_split(prepared, fold)
        test = [row for row in read_index(prepared) if parts[row.stem] == "test"]
        kinds = Counter(row.source.split("/")[0] for row in test)
        assert {kinds[kind] for kind in PBC if kind != "eosinophil"} == {1}


def test_other_cells_are_taken_only_if_asked_for(prepared):
    five = [row.stem for row in read_index(prepared) if row.class_name != "other"]
    every = [row.stem for row in read_index(prepared)]
    assert [row.stem for row in cell_rows(prepared)] == five
    name = str(prepared)
    assert stems(LeukocyteDataset(name)) == five
    assert stems(LeukocyteDataset(name, other=True)) == every
    train = LeukocyteDataset(name, split="fold5", part="train")
    assert "other" not in {i["class_name"] for i in map(train.get_data_info, range(9))}
    for asked, expected in (({}, five), ({"other": True}, every)):
        mosaics = MosaicDataset(
            dict(name=name, **asked),
            mode="every",
            size=64,
            tile_pipeline=LOADING,
            test_mode=True,
        )
        shown = [t["stem"] for i in range(len(mosaics)) for t in mosaics[i]["tiles"]]
        assert sorted(shown) == sorted(expected)
    assert quick_check(prepared) == {"all": len(five)}
    assert sum(quick_check(prepared, split="fold5").values()) == len(five)


def test_a_learning_curve_counts_the_five_classes_only(prepared, tmp_path):
    copy = shutil.copytree(prepared, tmp_path / "pbc")
    run_split(SplitRequest(str(copy), of="fold1", fewer=(5,)))
    parts = read_split(copy, "fold1_groups5")
    names = {row.stem: row.class_name for row in read_index(copy)}
    train = [names[stem] for stem, part in parts.items() if part == "train"]
    assert sorted(train) == sorted(CLASS_NAMES[1:])
    assert "other" not in {names[stem] for stem in parts}


def test_a_check_counts_other_cells_apart_and_finds_no_fault(
    prepared, tmp_path, capsys
):
    findings = [f for f in full_audit(prepared).findings if f.severity != "note"]
    assert {finding.rule for finding in findings} <= {"absent-class"}
    assert main(["check", str(prepared), "--out", str(tmp_path / "page")]) == 0
    said = capsys.readouterr().out
    assert "41 outlines drawn by a model" in said
    (head,) = [line for line in said.splitlines() if line.startswith("cells ")]
    assert head.split()[-2:] == ["other", "all"]
    (line,) = [line for line in said.splitlines() if line.startswith("all ")]
    assert line.split()[1:] == ["5", "6", "5", "5", "5", "15", "41"]
    copy = Path(shutil.copytree(prepared, tmp_path / "pbc"))
    mask = copy / "masks" / "IG_0.png"
    with Image.open(mask) as opened:
        Image.fromarray(np.where(np.array(opened) == 255, 4, 0).astype("u1")).save(mask)
    rules = [f.rule for f in full_audit(copy).findings if f.severity == "error"]
    assert rules == ["class-mismatch"]


def test_browse_shows_other_cells_as_such(prepared, tmp_path):
    out = tmp_path / "sheets"
    assert main(["browse", str(prepared), "--out", str(out)]) == 0
    page = (out / "browse.html").read_text()
    assert "41 cells of pbc" in page
    assert "other" in page


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (
            "ig/MY_2.jpg",
            "ig/BA_2.jpg",
            "expected a name that begins with IG_ or MMY_",
        ),
        ("monocyte", "monocytes", "no pictures in .*monocyte; give the folder"),
    ],
)
def test_names_that_do_not_fit_are_refused(tree, tmp_path, old, new, words):
    damaged = Path(shutil.copytree(tree, tmp_path / "PBC"))
    (damaged / old).rename(damaged / new)
    with pytest.raises(DatasetError, match=words):
        prepare_pbc(damaged, tmp_path / "home" / "pbc", FAKE)
    assert not (tmp_path / "home").exists()


def test_an_interruption_leaves_nothing_and_progress_is_told(tree, tmp_path):
    seen = []

    def find(image):
        if len(seen) == 3:
            raise KeyboardInterrupt
        return find_dark(image)

    outliner = Outliner(find, {}, lambda done, total: seen.append((done, total)))
    with pytest.raises(KeyboardInterrupt):
        prepare_pbc(tree, tmp_path / "home" / "pbc", outliner)
    assert seen == [(done, 8 * EACH + 5) for done in range(3)]
    assert list((tmp_path / "home").iterdir()) == []


def test_a_broken_picture_is_named_before_anything_is_outlined(tree, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(tree, copy)
    last = sorted((copy / list(PBC)[-1]).iterdir())[-1]
    last.write_bytes(last.read_bytes()[:300])

    def find(image: np.ndarray) -> np.ndarray:
        raise AssertionError("outlined although a picture is broken")

    with pytest.raises(ImageFileError, match=f"{last.name}.*cannot be read"):
        prepare_pbc(copy, tmp_path / "pbc", Outliner(find, {}))


def test_nothing_that_passes_is_an_error(tree, tmp_path):
    blind = Outliner(lambda image: np.zeros(image.shape[:2], int), {})
    with pytest.raises(DatasetError, match="none of the 45 pictures passes the check"):
        prepare_pbc(tree, tmp_path / "pbc", blind)


def test_the_command_hands_the_outliner_in(tree, tmp_path, monkeypatch, capsys):
    scales = []

    @contextmanager
    def outlining(scale, pictures, *, progress):
        scales.append(scale)
        yield FAKE

    monkeypatch.setattr(outliner, "outlining", outlining)
    monkeypatch.setenv("LEUKO_MM_DATA", str(tmp_path))
    assert main(["prepare", "pbc", str(tree)]) == 0
    assert scales == [outlined.PBC_SCALE]
    said = capsys.readouterr().out
    assert "5 basophils, 6 eosinophils" in said
    assert "15 others" in said
    assert json.loads((tmp_path / "pbc" / "dataset.json").read_text())["schema"] == 2


@pytest.fixture
def sorted_cells(tree, tmp_path, monkeypatch) -> list[str]:
    """A user's folder of six kinds, and the command that takes it with the fake."""
    names = dict(basophil="Baso", eosinophil="scan/Eos", ig="Blasts", platelet="PLT")
    for folder, name in (names | dict(monocyte="band", lymphocyte="Lymp")).items():
        shutil.copytree(tree / folder, tmp_path / "cells" / name)

    @contextmanager
    def outlining(scale, pictures, *, progress):
        assert scale is None
        assert len(pictures) == 6 * EACH + 5
        yield FAKE

    monkeypatch.setattr(outliner, "outlining", outlining)
    monkeypatch.setenv("LEUKO_MM_DATA", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    return ["prepare", "folders", "cells", "--outline", "--name", "mine"]


def test_own_cells_sorted_by_class_are_outlined(sorted_cells, tmp_path, capsys):
    assert main(sorted_cells) == 2
    said = capsys.readouterr()
    assert "Baso           5  basophil" in said.out
    assert "band           5  other" in said.out
    assert "--map Baso=basophil,Blasts=other,Eos=eosinophil" in said.err
    assert not (tmp_path / "data").exists()
    assert (
        main(
            [
                *sorted_cells,
                "--map",
                "Baso=baso,band=neut,Eos=eos,Lymp=lymp,PLT=ignore,Blasts=other",
                "--licence",
                "ours",
            ]
        )
        == 0
    )
    root = tmp_path / "data" / "mine"
    about = read_about(root)
    assert about["counts"] == dict(
        basophil=5, eosinophil=6, lymphocyte=5, neutrophil=5, other=5
    )
    assert about["licence"] == "ours"
    assert next(iter(about["outlined_by"]["left_out"])) == "scan/Eos/EO_aside.jpg"
    for row in read_index(root):
        assert (row.outline, row.group) == ("model", row.stem)
        source = (tmp_path / "cells" / row.source).read_bytes()
        assert (root / row.image).read_bytes() == source
    parts = read_split(root, "fold2")
    assert set(parts) == {row.stem for row in read_index(root)}


def test_a_map_need_not_name_the_folders_that_name_a_class(
    sorted_cells, tmp_path, capsys
):
    command = [*sorted_cells, "--map", "band=neut,PLT=ignore,Blasts=other"]
    assert main(command) == 0
    assert "Baso           5  basophil" in capsys.readouterr().out
    counts = read_about(tmp_path / "data" / "mine")["counts"]
    assert counts == dict(basophil=5, eosinophil=6, lymphocyte=5, neutrophil=5, other=5)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--crop", "64"], "pictures of one cell without masks; leave masks, --crop"),
        (["--map", "Baso=baso"], "Blasts/IG_0.jpg: the map says nothing of its folder"),
        (["--map", "Baso=leukocyte"], "--map Baso=leukocyte: expected basophil, "),
        (["--map", "Baso=blast"], "or leukocyte, ignore, other, by-name"),
        (["--map", "band=neu,PTL=ignore,Blasts=other,PLT=other"], "there are Baso, "),
    ],
)
def test_a_wrong_request_for_outlines_is_refused(
    sorted_cells, tmp_path, capsys, more, words
):
    if "leukocyte" in str(more):
        more = ["--map", more[1] + ",Eos=eos,Lymp=lymp,PLT=other,Blasts=other,band=neu"]
    assert main([*sorted_cells, *more]) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "data").exists()


def test_folders_that_name_no_class_are_asked_for(tmp_path, capsys):
    (tmp_path / "1").mkdir()
    picture([1, 1], (36, 37, 12)).save(tmp_path / "1" / "one.jpg")
    command = ["prepare", "folders", str(tmp_path), "--outline", "--name", "x"]
    assert main(command) == 2
    assert "no folder is named after a class (1); say" in capsys.readouterr().err


def test_a_picture_in_no_folder_is_named(tmp_path, capsys):
    picture([1, 1], (36, 37, 12)).save(tmp_path / "one.jpg")
    command = ["prepare", "folders", str(tmp_path), "--outline", "--name", "x"]
    assert main(command) == 2
    assert (
        "one.jpg: in no folder; with --outline, the folder" in capsys.readouterr().err
    )
    command.remove("--outline")
    for name in ("eosinophil", "monocyte"):
        (tmp_path / name).mkdir()
        picture([1, 1], (36, 37, 12)).save(tmp_path / name / "one.jpg")
    assert main(command) == 2
    assert "--outline for pictures of one cell each" in capsys.readouterr().err
    assert main([*command, "--scale", "2"]) == 2
    assert "--scale is for --outline" in capsys.readouterr().err


@pytest.mark.slow
def test_the_shipped_model_outlines_published_cells(shared_folder, tmp_path):
    source = shared_folder / "datasets" / "PBC_dataset_normal_DIB"
    if not source.is_dir():
        pytest.skip(f"needs PBC in {source}")
    for folder in PBC:
        (tmp_path / "PBC" / folder).mkdir(parents=True)
        for path in sorted((source / folder).glob("*.jpg"))[:6]:
            shutil.copy(path, tmp_path / "PBC" / folder)
    with outliner.outlining(outlined.PBC_SCALE) as drawn:
        prepare_pbc(tmp_path / "PBC", tmp_path / "pbc", drawn)
    about = read_about(tmp_path / "pbc")
    assert sum(about["counts"].values()) >= 40
    assert len(about["outlined_by"]["sha256"]) == 64
    for row in cell_rows(tmp_path / "pbc"):
        share = (labels_of(tmp_path / "pbc", row) == class_id(row.class_name)).mean()
        assert 0.02 < share < 0.4
