import json

import pytest

from leuko_mm.classes import CLASS_NAMES
from leuko_mm.errors import UsageError
from leuko_mm.evaluation.confusion import scores
from leuko_mm.workflows.find_config import config_home
from leuko_mm.workflows.published import (
    PAPER,
    check_published,
    load_published,
)


@pytest.fixture(scope="module")
def tables():
    return {table.table: table for table in check_published()}


def test_the_paper_has_all_rows():
    counts = {t["table"]: len(t["rows"]) for t in load_published()["tables"]}
    assert counts == {"1": 20, "2": 20, "3": 7, "4": 2}


def test_printed_figures_stand_as_printed():
    tables = {t["table"]: t["rows"] for t in load_published()["tables"]}
    own = {r["class"]: r["iou"] for r in tables["1"] if r["config"] == "cbam_unet"}
    printed = [91.31, 90.08, 88.94, 89.24, 92.07]
    assert own == dict(zip(CLASS_NAMES[1:], printed, strict=True))
    robust = [r["mIoU"] for r in tables["2"] if r["config"] == "cbam_unet"]
    assert robust == [98.77, 99.73, 98.34, 96.53]
    ablation = [(r["mIoU"], r["accuracy"]) for r in tables["3"]]
    assert ablation == [
        (72.58, 95.31),
        (85.06, 96.11),
        (83.57, 95.92),
        (80.40, 95.80),
        (87.89, 96.48),
        (88.54, 97.59),
        (91.89, 99.53),
    ]
    assert [(r["mIoU"], r["accuracy"]) for r in tables["4"]] == [
        (91.89, 99.53),
        (86.34, 95.18),
    ]


def test_every_row_names_a_config_that_is_there():
    rows = [row for table in load_published()["tables"] for row in table["rows"]]
    lost = [
        r["config"] for r in rows if not (config_home() / f"{r['config']}.py").exists()
    ]
    assert not lost


def test_table_1_prints_more_iou_than_its_precision_and_recall_give(tables):
    rows = tables["1"].rows
    assert all(row.contradictions for row in rows)
    above = {"unet_vgg16": 3.5, "deeplabv3plus_r50": 3.5, "pspnet_r50": 3.0}
    for checked in rows:
        excess = checked.row["iou"] - checked.implied["iou"]
        assert checked.implied["f1"] == pytest.approx(checked.row["f1"], abs=0.01)
        if checked.row["config"] in above:
            assert excess == pytest.approx(above[checked.row["config"]], abs=0.02)
        else:
            assert 3.1 < excess < 13.5
    own = [r.implied["iou"] for r in rows if r.row["config"] == "cbam_unet"]
    assert sum(own) / 5 == pytest.approx(82.40, abs=0.01)


def test_table_2_needs_a_background_above_100(tables):
    dataset2 = next(
        row
        for row in tables["2"].rows
        if (row.row["dataset"], row.row["config"]) == ("Dataset2", "cbam_unet")
    )
    assert {one.rule for one in dataset2.contradictions} == {
        "mIoU <= (100 + IoU of leukocytes) / 2",
        "precision, recall and accuracy give mIoU",
        "read as means over the same classes or images, "
        "mIoU <= mean precision, recall and F1",
    }


def test_tables_3_and_4_rest_on_the_classes_of_table_1(tables):
    for checked in (tables["3"].rows[-1], tables["4"].rows[0]):
        assert checked.implied["background_iou"] == pytest.approx(99.70, abs=0.01)
        assert checked.implied["class_mIoU"] == pytest.approx(85.28, abs=0.01)
        assert not checked.contradictions
    assert tables["3"].rows[1].implied == {}


def published(tmp_path, tables, digits=2):
    path = tmp_path / "tables.json"
    path.write_text(json.dumps({"digits": digits, "tables": tables}))
    return path


def table(kind, rows, name="1"):
    return {"table": name, "kind": kind, "title": "t", "columns": {}, "rows": rows}


def test_another_paper_whose_figures_agree(tmp_path):
    matrix = [[900, 20, 10], [30, 80, 5], [10, 5, 60]]
    found = scores(matrix, ["background", "a", "b"])
    rows = [
        {"class": name, "method": "m", **{k: round(v, 2) for k, v in row.items()}}
        for name, row in found.per_class.items()
    ]
    mean = {"method": "m", "mIoU": round(found.metrics["mIoU"], 2)}
    mean["same_as"] = {"table": "1", "method": "m"}
    path = published(tmp_path, [table("class", rows[1:]), table("means", [mean], "2")])
    checked = check_published(path)
    assert not [one for t in checked for row in t.rows for one in row.contradictions]
    background = checked[1].rows[0].implied["background_iou"]
    assert background == pytest.approx(rows[0]["iou"], abs=0.05)
    mean["mIoU"] += 20
    path = published(tmp_path, [table("class", rows[1:]), table("means", [mean], "2")])
    (found,) = check_published(path)[1].rows[0].contradictions
    assert found.printed > 100


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "cannot be read"),
        ("[]", "holds tables of kind"),
        ('{"digits": 2, "tables": [{"kind": "odd"}]}', "'odd'"),
        ('{"tables": [{"kind": "class"}]}', "expected 'digits'"),
    ],
)
def test_another_file_is_refused(tmp_path, text, message):
    path = tmp_path / "odd.json"
    path.write_text(text)
    with pytest.raises(UsageError, match=message):
        check_published(path)
    with pytest.raises(UsageError, match="cannot be read"):
        check_published(tmp_path / "absent.json")


def test_the_paper_travels_with_the_package():
    assert PAPER.is_file()
    assert PAPER.parent.name == "report"
