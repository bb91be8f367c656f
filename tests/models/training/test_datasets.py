"""Data sets on disk, and what is refused with which words."""

import csv
import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from models.errors import DatasetError
from models.training import datasets, imports
from models.training.entries import SPLITS, Entry
from models.training.left_out import LeftOut
from models.types import Preprocessing

SIZE = Preprocessing(16, 16, (0.5,) * 3, (0.5,) * 3)


def picture(path: Path, value: int, size: tuple[int, int] = (20, 20), mode: str = "RGB") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draw = np.random.default_rng(value)
    shape = (size[1], size[0], 3) if mode == "RGB" else (size[1], size[0])
    Image.fromarray(draw.integers(0, 256, shape).astype(np.uint8)).save(path)


def mask(path: Path, size: tuple[int, int] = (20, 20)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    plate = np.zeros((size[1], size[0]), np.uint8)
    plate[: size[1] // 2] = 255
    Image.fromarray(plate).save(path)


def manifest(folder: Path, rows: list[dict[str, str]]) -> Path:
    path = folder / "manifest.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, sorted({key for row in rows for key in row}))
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rows = []
    for number in range(12):
        picture(tmp_path / f"images/{number}.png", number)
        mask(tmp_path / f"masks/{number}.png")
        rows.append(
            {
                "path": f"images/{number}.png",
                "label": "cat" if number % 2 else "dog",
                "region": f"masks/{number}.png" if number % 3 else "",
                "split": ("train", "train", "val", "test")[number // 3],
                "subject": f"animal {number}",
                "group": "indoors" if number % 4 else "outdoors",
            }
        )
    manifest(tmp_path, rows)
    return tmp_path


def test_a_manifest_becomes_splits(folder: Path) -> None:
    splits = datasets.load_splits(datasets.read_folder(folder), SIZE)

    assert {name: len(rows) for name, rows in splits.items()} == {"train": 6, "val": 3, "test": 3}
    train = splits["train"]
    assert train.classes == ("cat", "dog")
    assert train.known.tolist() == [False, True, True] * 2
    assert train.relevant[1, :8].all()
    relevant, irrelevant = train.masks(np.arange(6))
    assert (relevant == train.relevant).all()
    assert (irrelevant[1] == ~relevant[1]).all()
    assert not irrelevant[0].any()


def test_splits_number_their_groups_alike(folder: Path) -> None:
    """A split with one group only calls it by the index that the others call it by."""
    groups = ["z", "a", "a", "z", "a", "m", "z", "z", "z", "m", "m", "z"]
    entries = [
        replace(each, group=group)
        for each, group in zip(datasets.read_folder(folder), groups, strict=True)
    ]
    splits = datasets.load_splits(entries, SIZE)
    named = {entry.name: entry.group for entry in entries}

    assert splits["train"].group_names == splits["val"].group_names == ("a", "m", "z")
    for rows in splits.values():
        assert [named[each] for each in rows.ids] == [rows.group_names[i] for i in rows.groups]


def parquet(folder: Path, columns: dict[str, list[object]]) -> None:
    """Put the rows of `manifest.csv` into a Parquet file, with some columns changed."""
    pyarrow = pytest.importorskip("pyarrow", reason="pip install 'rightly[parquet]'")
    from pyarrow import parquet as files  # noqa: PLC0415 - optional

    with (folder / "manifest.csv").open() as file:
        rows = list(csv.DictReader(file))
    plain = {key: [row[key] or None for row in rows] for key in rows[0]}
    files.write_table(pyarrow.table(plain | columns), folder / "manifest.parquet")


@pytest.mark.parametrize("missing", [None, float("nan")])
def test_a_missing_cell_of_parquet_is_an_empty_cell_of_csv(folder: Path, missing: object) -> None:
    nothing = [missing] * 12
    numbers = [None if each % 2 else each for each in range(12)]
    parquet(folder, {"split": nothing, "group": nothing, "subject": numbers})
    expected = [
        replace(
            each,
            name=each.name.replace("manifest.csv", "manifest.parquet"),
            split="",
            group="",
            subject="" if number % 2 else str(number),
        )
        for number, each in enumerate(datasets.read_manifest(folder / "manifest.csv"))
    ]
    (folder / "manifest.csv").unlink()

    assert expected == datasets.read_folder(folder)


def test_a_parquet_manifest_that_is_none_says_so(folder: Path) -> None:
    pytest.importorskip("pyarrow", reason="pip install 'rightly[parquet]'")
    (folder / "manifest.parquet").write_bytes(b"path,label")

    with pytest.raises(DatasetError, match=r"manifest\.parquet cannot be read as Parquet"):
        datasets.read_manifest(folder / "manifest.parquet")


def test_without_a_parquet_reader_the_refusal_names_what_to_install(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "manifest.parquet").touch()
    monkeypatch.setitem(sys.modules, "pyarrow", None)  # as Python itself marks what is not there

    with pytest.raises(DatasetError, match=r"pip install 'rightly\[parquet\]'"):
        datasets.read_manifest(folder / "manifest.parquet")


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        ("region", 0, r"manifest\.csv:3 .* region 1\.png marks no pixel"),
        ("irrelevant", 255, r"manifest\.csv:3 .* irrelevant 1\.png marks every pixel"),
    ],
)
def test_a_mask_that_leaves_nothing_to_look_at_names_its_row(
    folder: Path, column: str, value: int, words: str
) -> None:
    Image.fromarray(np.full((20, 20), value, np.uint8)).save(folder / "masks/1.png")
    entries = datasets.read_folder(folder)
    entries[1] = replace(entries[1], **({"region": None} | {column: folder / "masks/1.png"}))

    with pytest.raises(DatasetError, match=words):
        datasets.load(entries, SIZE, left=LeftOut(strict=True))
    left = LeftOut()
    rows = datasets.load(entries, SIZE, left=left)

    assert not rows.known[1]
    assert [("mask", entries[1].name)] == [(each.kind, each.name) for each in left.items]


def test_a_region_too_small_for_the_input_tells_nothing(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """One pixel of twenty falls between those that the nearest neighbour takes."""
    dots = np.zeros((20, 20), np.uint8)
    dots[0, 0] = 255
    Image.fromarray(dots).save(folder / "masks/1.png")
    rows = datasets.load(datasets.read_folder(folder), Preprocessing(4, 4, (0.5,) * 3, (0.5,) * 3))
    relevant, irrelevant = rows.masks(np.arange(len(rows)))

    assert rows.known.tolist() == [False, False, True] + [False, True, True] * 3
    assert not irrelevant[1].any()
    assert relevant[2].any()
    assert "first the region of manifest.csv:3 (images/1.png): 1;" in caplog.text


def test_a_mask_by_which_nothing_is_irrelevant_is_one(folder: Path) -> None:
    """As `plant` writes it for a row that stayed without the cue."""
    Image.fromarray(np.zeros((20, 20), np.uint8)).save(folder / "none.png")
    entries = datasets.read_folder(folder)
    entries[0] = replace(entries[0], irrelevant=folder / "none.png")
    rows = datasets.load(entries, SIZE)
    relevant, irrelevant = rows.masks(np.arange(2))

    assert rows.known[0]
    assert relevant[0].all()
    assert not irrelevant[0].any()
    assert (irrelevant[1] == ~relevant[1]).all()


def test_the_seed_that_divided_a_set_outlives_a_retraining_with_another() -> None:
    trained = {"training": {"seed": 4, "epochs": 2}}

    assert datasets.division_seed(trained) == 4
    assert datasets.division_seed({"training": {"seed": 7}, "base_seed": 4}) == 4
    assert datasets.division_seed({"seed": 3}) == 3
    assert datasets.division_seed({}) == 0


def test_rows_without_a_split_are_divided_by_subject(folder: Path) -> None:
    entries = datasets.read_folder(folder)
    same = [Entry(e.name, e.path, e.label, subject="one") for e in entries[:6]]
    rest = [Entry(e.name, e.path, e.label, subject=e.name) for e in entries[6:]]
    splits = datasets.load_splits(same + rest, SIZE)
    homes = {name for name, rows in splits.items() if "one" in rows.subjects}

    assert len(homes) == 1


def test_an_image_folder_with_parallel_regions(tmp_path: Path) -> None:
    for split, count in (("train", 3), ("test", 2)):
        for label in ("a", "b"):
            for number in range(count):
                seed = len(f"{split}{label}") * 100 + number + ord(label)
                picture(tmp_path / split / label / f"{number}.jpg", seed)
    mask(tmp_path / "regions/train/a/0.png")
    splits = datasets.load_splits(datasets.read_folder(tmp_path), SIZE)

    assert splits["train"].known.tolist() == [True, *[False] * 5]
    assert splits["test"].classes == ("a", "b")


def test_a_subject_in_two_splits_is_refused(folder: Path) -> None:
    entries = datasets.read_folder(folder)
    twice = [Entry(e.name, e.path, e.label, split=e.split, subject="p7") for e in entries]

    with pytest.raises(DatasetError, match=r"manifest\.csv:8 .* share the subject p7"):
        datasets.load_splits(twice, SIZE)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"path": "images/none.png"}, r"manifest.csv:3 \(images/none.png\).* does not exist"),
        ({"path": "../outside.png"}, r"manifest.csv:3 .* lies outside the data set"),
        ({"label": ""}, r"manifest.csv:3 .*'label' is empty"),
        ({"split": "holdout"}, r"manifest.csv:3 .*'holdout' is none of train, val, test"),
        ({"region": "masks/none.png"}, r"manifest.csv:3 .*masks/none.png does not exist"),
    ],
)
def test_a_bad_row_is_named(folder: Path, change: dict[str, str], message: str) -> None:
    with (folder / "manifest.csv").open() as file:
        rows = list(csv.DictReader(file))
    (folder.parent / "outside.png").write_bytes(b"")
    rows[1].update(change)
    manifest(folder, rows)

    with pytest.raises(DatasetError, match=message):
        datasets.read_folder(folder, left=LeftOut(strict=True))
    left = LeftOut()
    kept = datasets.read_folder(folder, left=left)

    assert len(rows) - ("region" not in change) == len(kept)
    assert [rows[1]["path"] in each.name for each in left.items] == [True]


def test_a_truncated_image_and_a_mask_of_another_ratio_are_named(folder: Path) -> None:
    strict = LeftOut(strict=True)
    mask(folder / "masks/1.png", (20, 40))
    entries = datasets.read_folder(folder)
    with pytest.raises(DatasetError, match=r"manifest.csv:3 .*another ratio"):
        datasets.load(entries, SIZE, left=strict)
    content = (folder / "images/0.png").read_bytes()
    (folder / "images/0.png").write_bytes(content[: len(content) // 2])
    with pytest.raises(DatasetError, match=r"manifest.csv:2 .*cannot be read"):
        datasets.load(entries, SIZE, left=strict)


def test_what_is_left_out_is_counted_named_and_listed(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    mask(folder / "masks/1.png", (20, 40))
    (folder / "images/0.png").write_bytes(b"")
    entries, left = datasets.read_folder(folder), LeftOut()
    splits = datasets.load_splits(entries, SIZE, left=left)
    left.write(tmp_path / "out" / "left-out.csv")
    left.say()
    with (tmp_path / "out" / "left-out.csv").open() as file:
        listed = list(csv.DictReader(file))

    assert sum(map(len, splits.values())) == 11
    assert ["row", "mask"] == [each["kind"] for each in listed]
    assert "manifest.csv:2 (images/0.png)" in listed[0]["name"]
    assert "left out: 1 rows (first manifest.csv:2" in caplog.text
    LeftOut().write(tmp_path / "out" / "left-out.csv")
    assert not (tmp_path / "out" / "left-out.csv").exists()


def test_a_set_of_which_most_cannot_be_used_is_refused(folder: Path) -> None:
    """Then it is not the odd row: something is wrong with the whole."""
    entries = datasets.read_folder(folder)
    for each in entries[:7]:
        each.path.write_bytes(b"no picture")

    with pytest.raises(DatasetError, match=r"manifest.csv:2 .*cannot be read.* \(and 6 more\)"):
        datasets.load(entries, SIZE)


@pytest.mark.parametrize(
    ("separator", "header", "encoding"),
    [
        (",", "path,label,split", "utf-8-sig"),
        (";", "Path;Label;Split", "utf-8"),
        ("\t", " PATH\tlabel \tsplit", "utf-8"),
        ("|", "path|label|split", "utf-16"),
    ],
)
def test_tables_as_people_save_them(
    tmp_path: Path, separator: str, header: str, encoding: str
) -> None:
    lines = [header]
    for number, split in enumerate(("Train", "validation", "TEST", "train")):
        picture(tmp_path / "bilder" / f"ä{number}.png", number)
        lines.append(separator.join((f"bilder\\ä{number}.png", "Käfer ", split)))
    (tmp_path / "manifest.csv").write_text("\r\n".join(lines) + "\r\n", encoding, newline="")
    entries = datasets.read_folder(tmp_path)

    assert ["train", "val", "test", "train"] == [each.split for each in entries]
    assert {"Käfer"} == {each.label for each in entries}


def test_another_encoding_and_other_columns_are_named(tmp_path: Path) -> None:
    table = tmp_path / "manifest.csv"
    table.write_text("path,label\na.png,cat\nb.png,Käfer\n", "latin-1")
    with pytest.raises(DatasetError, match=r"manifest.csv:3 is not UTF-8: byte 0xe4 .*'ä'.*Latin"):
        datasets.read_folder(tmp_path)
    table.write_text("file;class\na.png;cat\n")
    with pytest.raises(DatasetError, match="no column 'path'; it has 'file', 'class'"):
        datasets.read_folder(tmp_path)


def image_folder(root: Path, *files: str) -> tuple[list[Entry], LeftOut]:
    for number, each in enumerate(files):
        path = root / each
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.name.startswith("._") or path.suffix == ".txt":
            path.write_bytes(b"\0\5\x16\7Mac OS X")
        else:
            picture(path, number)
    left = LeftOut()
    return datasets.read_folder(root, left=left), left


TWO = ("a/0.png", "a/1.png", "b/0.png", "b/1.png")


def test_what_lies_about_in_folders_is_no_class(tmp_path: Path) -> None:
    about = (".ipynb_checkpoints/0.png", "a/.ipynb_checkpoints/1.png", "b/._0.png")
    entries, left = image_folder(tmp_path, *TWO, *about, "__MACOSX/0.png", "a/notes.txt")

    assert ["a", "a", "b", "b"] == [each.label for each in entries]
    assert (3, 2) == (left.count("folder"), left.count("file"))


@pytest.mark.parametrize(
    ("names", "splits"),
    [
        (("train", "valid", "test"), ["test", "train", "val"]),
        (("Train", "Val", "Test"), ["test", "train", "val"]),
        (("training", "validation"), ["train", "val"]),
    ],
)
def test_splits_are_known_by_their_usual_names(tmp_path: Path, names, splits) -> None:
    entries, _ = image_folder(tmp_path, *(f"{name}/{each}" for name in names for each in TWO))

    assert splits == sorted({each.split for each in entries})
    assert {"a", "b"} == {each.label for each in entries}
    assert len(entries) == 4 * len(names)


def test_a_folder_that_is_called_like_a_split_may_be_a_class(tmp_path: Path) -> None:
    entries, _ = image_folder(tmp_path, "train/0.png", "bus/0.png", "test/0.png")

    assert {"train", "bus", "test"} == {each.label for each in entries}


def test_a_folder_beside_splits_is_told(tmp_path: Path) -> None:
    files = [f"{name}/{each}" for name in ("train", "val", "more") for each in TWO]
    entries, left = image_folder(tmp_path, *files)

    assert len(entries) == 8
    assert [("folder", "more")] == [(each.kind, each.name) for each in left.items]


def test_links_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    for number in range(2):
        picture(tmp_path / "store" / f"{number}.png", number)
    root = tmp_path / "set"
    (root / "a").mkdir(parents=True)
    (root / "a" / "0.png").symlink_to(tmp_path / "store" / "0.png")
    (root / "a" / "again").symlink_to(root / "a")
    (root / "b").symlink_to(tmp_path / "store")
    (root / "manifest.csv").write_text("path,label\na/0.png,a\n")

    assert datasets.read_folder(root)[0].path == root / "a" / "0.png"
    (root / "manifest.csv").unlink()
    assert ["a", "b", "b"] == [each.label for each in datasets.read_folder(root)]


def test_exact_duplicates_stay_together_in_a_division(tmp_path: Path) -> None:
    """Each picture three times, under other names: no split may know another's."""
    for number in range(60):
        picture(tmp_path / "ab"[number % 2] / f"{number}.png", number // 6)
    splits = datasets.load_splits(datasets.read_folder(tmp_path), SIZE)
    seen = {
        name: {each.tobytes() for each in rows.images}
        for name, rows in splits.items()
        if len(rows)
    }

    assert sum(map(len, splits.values())) == 60
    assert sum(map(len, seen.values())) == len(set().union(*seen.values()))


def test_a_folder_that_is_no_data_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="neither manifest"):
        datasets.read_folder(tmp_path)


def test_coco_annotations_become_labels_and_regions(tmp_path: Path) -> None:
    picture(tmp_path / "images/1.png", 1)
    picture(tmp_path / "images/2.png", 2)
    content = {
        "images": [
            {"id": 1, "file_name": "1.png", "width": 20, "height": 20},
            {"id": 2, "file_name": "2.png", "width": 20, "height": 20},
        ],
        "categories": [{"id": 5, "name": "cat"}, {"id": 6, "name": "dog"}],
        "annotations": [
            {"image_id": 1, "category_id": 5, "area": 100, "bbox": [0, 0, 10, 10],
             "segmentation": [[0, 0, 9, 0, 9, 9, 0, 9]]},
            {"image_id": 1, "category_id": 6, "area": 4, "bbox": [15, 15, 2, 2],
             "segmentation": []},
            {"image_id": 2, "category_id": 6, "area": 200, "bbox": [0, 10, 20, 10],
             "segmentation": {"size": [20, 20], "counts": [200, 200]}},
        ],
    }  # fmt: skip
    (tmp_path / "instances.json").write_text(json.dumps(content))
    entries = imports.read_coco(tmp_path / "instances.json", tmp_path / "images")
    rows = datasets.load(entries, Preprocessing(20, 20, (0.5,) * 3, (0.5,) * 3))

    assert [rows.classes[each] for each in rows.labels] == ["cat", "dog"]
    assert rows.relevant[0].sum() == 100
    assert rows.relevant[0, :10, :10].all()
    assert rows.relevant[1, :, 10:].all()
    assert rows.relevant[1].sum() == 200


def test_croissant_fields_become_rows(tmp_path: Path) -> None:
    picture(tmp_path / "1.png", 1)
    (tmp_path / "rows.csv").write_text("file,kind\n1.png,cat\n")
    fields = [
        {"name": each, "source": {"fileObject": {"@id": "t"}, "extract": {"column": column}}}
        for each, column in (("image", "file"), ("class", "kind"))
    ]
    (tmp_path / "croissant.json").write_text(
        json.dumps(
            {
                "distribution": [
                    {"@id": "t", "contentUrl": "rows.csv", "encodingFormat": "text/csv"}
                ],
                "recordSet": [{"field": fields}],
            }
        )
    )
    entries = imports.read_croissant(
        tmp_path / "croissant.json", {"path": "image", "label": "class"}
    )

    assert entries[0].label == "cat"
    with pytest.raises(DatasetError, match="'shape'"):
        imports.read_croissant(tmp_path / "croissant.json", {"path": "shape", "label": "class"})


def coco(folder: Path, **changes: object) -> Path:
    """Write a COCO file of one image with one square; `changes` replace its three lists."""
    picture(folder / "images/1.png", 1)
    content = {
        "images": [{"id": 1, "file_name": "1.png", "width": 20, "height": 20}],
        "categories": [{"id": 5, "name": "cat"}, {"id": 6, "name": "dog"}],
        "annotations": [SQUARE],
    }
    (folder / "instances.json").write_text(json.dumps(content | changes))
    return folder / "instances.json"


SQUARE = {"id": 9, "image_id": 1, "category_id": 5, "bbox": [2, 3, 4, 5]}


def test_coco_without_areas_and_with_crowds(tmp_path: Path) -> None:
    crowd = {"image_id": 1, "category_id": 6, "iscrowd": 1, "area": 400,
             "segmentation": {"size": [20, 20], "counts": "compressed"}}  # fmt: skip
    unmarked = {"id": 2, "file_name": "elsewhere.png", "width": 20, "height": 20}
    two = [{"id": 1, "file_name": "1.png", "width": 20, "height": 20}, unmarked]
    path = coco(tmp_path, annotations=[crowd, SQUARE], images=two)
    rows = datasets.load(
        imports.read_coco(path, tmp_path / "images"), Preprocessing(20, 20, (0.5,) * 3, (0.5,) * 3)
    )

    assert rows.classes == ("cat",)
    assert rows.relevant[0, 3:8, 2:6].all()
    assert rows.relevant.sum() == 20


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"annotations": []}, "annotates no image"),
        ({"annotations": [SQUARE | {"category_id": 7}]}, "annotation 9: is of category 7"),
        ({"annotations": [SQUARE, SQUARE | {"image_id": 3}]}, "image 3 is annotated, but not"),
        ({"annotations": [{"image_id": 1}]}, "an entry has no 'category_id'"),
        ({"annotations": [SQUARE | {"bbox": [1, 2]}]}, "neither a shape nor a box"),
        ({"images": [{"id": 1, "file_name": "../x.png"}]}, "lies outside the data set"),
        ({"images": [{"id": 1, "file_name": "2.png"}]}, "2.png does not exist"),
        ({"images": 3}, "an entry cannot be read"),
    ],
)
def test_a_coco_file_that_cannot_be_used_says_why(
    tmp_path: Path, changes: dict, words: str
) -> None:
    with pytest.raises(DatasetError, match=words):
        imports.read_coco(
            coco(tmp_path, **changes), tmp_path / "images", left=LeftOut(strict=True)
        )


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ([[1, 2, 3, 4]], "a polygon of 4 numbers"),
        ([["a"] * 6], "not made of numbers"),
        ({"size": [20, 20], "counts": "Q^g"}, "run lengths"),
        ({"size": [90_000, 90_000], "counts": "1"}, "90000 × 90000"),
        ({"size": [10, 40], "counts": [400]}, "10 × 40 pixels, the image is 20 × 20"),
        ({"size": [20, 20], "counts": [399]}, "cover 399 pixels of 400"),
    ],
)
def test_a_coco_shape_that_is_none_names_its_image(
    tmp_path: Path, shape: object, words: str
) -> None:
    path = coco(tmp_path, annotations=[SQUARE | {"segmentation": shape}])
    with pytest.raises(DatasetError, match=rf"image 1 \(1.png\).*{words}"):
        imports.read_coco(path, tmp_path / "images", left=LeftOut(strict=True))
    rows = datasets.load(imports.read_coco(path), Preprocessing(20, 20, (0.5,) * 3, (0.5,) * 3))

    assert rows.relevant[0, 3:8, 2:6].all()  # its box
    assert rows.relevant.sum() == 20


def compressed(lengths: list[int]) -> str:
    """Run lengths as pycocotools writes them: differences in groups of five bits, signed."""
    text = ""
    for place, length in enumerate(lengths):
        value, more = length - (lengths[place - 2] if place > 2 else 0), True
        while more:
            bits, value = value & 0x1F, value >> 5
            more = value != -1 if bits & 0x10 else value != 0
            text += chr(48 + bits + (0x20 if more else 0))
    return text


@pytest.mark.parametrize("form", ["list", "compressed"])
def test_run_lengths_are_read_in_both_forms(tmp_path: Path, form: str) -> None:
    marked = np.zeros((20, 20), bool)
    marked[3:8, 2:6] = marked[10:12, 15] = True
    flat = np.concatenate([[False], marked.T.ravel(), [True]])
    edges = np.flatnonzero(np.diff(flat.astype(int)))
    lengths = np.diff(np.concatenate([[0], edges, [400]])).tolist()
    counts = lengths if form == "list" else compressed(lengths)
    shape = {"size": [20, 20], "counts": counts}
    path = coco(tmp_path, annotations=[SQUARE | {"segmentation": shape}])
    rows = datasets.load(imports.read_coco(path), Preprocessing(20, 20, (0.5,) * 3, (0.5,) * 3))

    assert (rows.relevant[0] == marked).all()


@pytest.mark.parametrize(
    "name", ["images\\1.png", "images/1.png", "C:\\data\\images\\1.png", "/upload/1.png"]
)
def test_names_of_other_systems_are_found(tmp_path: Path, name: str) -> None:
    path = coco(tmp_path, images=[{"id": 1, "file_name": name}])

    assert tmp_path / "images" / "1.png" == imports.read_coco(path)[0].path


def test_one_odd_annotation_never_stops_an_import(tmp_path: Path) -> None:
    odd = [{"id": 1}, SQUARE | {"category_id": 99}, SQUARE | {"image_id": 77}, "text", None]
    left = LeftOut()
    entries = imports.read_coco(coco(tmp_path, annotations=[SQUARE, *odd]), left=left)

    assert len(entries) == 1
    assert left.count("annotation") == 5


@pytest.mark.parametrize(
    ("layout", "split"),
    [
        ("{s}/_annotations.coco.json {s}/1.png", "val"),
        ("annotations/instances_{s}.json images/{s}/1.png", "val"),
        ("annotations/instances_{s}2017.json {s}2017/1.png", "val"),
        ("annotations/instances_default.json images/1.png", ""),
        ("result.json images/1.png", ""),
    ],
)
def test_exports_are_known_by_their_layout(tmp_path: Path, layout: str, split: str) -> None:
    """Roboflow, CVAT, COCO itself, CVAT without a subset, Label Studio."""
    made = coco(tmp_path / "made").read_text()
    file, image = layout.format(s="valid" if "{s}/_" in layout else "val").split()
    root = tmp_path / "set"
    picture(root / image, 1)
    (root / file).parent.mkdir(parents=True, exist_ok=True)
    (root / file).write_text(made)
    [entry] = imports.read_data(root)

    assert (split, root / image) == (entry.split, entry.path)


def croissant(folder: Path, table: str = "file,kind,part\n1.png,cat,val\n") -> dict:
    """Write an image and a table; return a description whose parts a test may change."""
    picture(folder / "1.png", 1)
    (folder / "rows.csv").write_text(table)
    return {
        "distribution": [
            {"@id": "archive", "encodingFormat": "application/zip"},
            {"@id": "t", "contentUrl": "rows.csv", "encodingFormat": "text/csv"},
        ],
        "recordSet": [
            {
                "field": [
                    {
                        "@id": f"rows/{column}",
                        "source": {"fileObject": "t", "extract": {"column": column}},
                    }
                    for column in ("file", "kind", "part", "gone")
                ]
            },
            {"name": "labels without fields"},
        ],
    }


COLUMNS = {"path": "rows/file", "label": "rows/kind"}


def test_croissant_fields_may_be_called_by_their_identity(tmp_path: Path) -> None:
    (tmp_path / "c.json").write_text(json.dumps(croissant(tmp_path)))
    wanted = COLUMNS | {"split": "rows/part", "source": "rows/part"}
    [entry] = imports.read_croissant(tmp_path / "c.json", wanted)

    assert (entry.label, entry.split, entry.path.name) == ("cat", "val", "1.png")
    assert entry.source == "val"


@pytest.mark.parametrize(
    ("table", "columns", "words"),
    [
        ("file,kind,part\n", COLUMNS, "rows.csv has no rows"),
        ("file,kind,part\n,cat,\n", COLUMNS, r"rows.csv:2 \(no path\): .*'file' is empty"),
        ("file,kind,part\n1.png,,\n", COLUMNS, "'kind' is empty"),
        ("file,kind,part\n../1.png,cat,\n", COLUMNS, "lies outside the data set"),
        ("file,kind,part\n2.png,cat,\n", COLUMNS, "2.png does not exist"),
        ("file,kind,part\n1.png,cat,odd\n", COLUMNS | {"split": "rows/part"}, "'odd' is none of"),
        ("file,kind\n1.png,cat\n", COLUMNS | {"group": "rows/gone"}, "has no column 'gone'"),
        ("file,kind\n1.png,cat\n", {"path": "rows/file"}, "no field is named for label"),
    ],
)
def test_a_croissant_table_that_cannot_be_used_says_why(
    tmp_path: Path, table: str, columns: dict, words: str
) -> None:
    (tmp_path / "c.json").write_text(json.dumps(croissant(tmp_path, table)))
    with pytest.raises(DatasetError, match=words):
        imports.read_croissant(tmp_path / "c.json", columns)


def test_a_data_set_is_recognised_by_what_it_is(tmp_path: Path) -> None:
    content = croissant(tmp_path)
    for field, name in zip(content["recordSet"][0]["field"], ("path", "label"), strict=False):
        field["name"] = name
    (tmp_path / "c.json").write_text(json.dumps(content))
    (tmp_path / "other.json").write_text("{}")

    assert imports.read_data(tmp_path / "c.json")[0].label == "cat"
    assert imports.read_data(coco(tmp_path / "coco"))[0].path.parent.name == "images"
    with pytest.raises(DatasetError, match="neither a COCO file nor a Croissant"):
        imports.read_data(tmp_path / "other.json")
    with pytest.raises(DatasetError, match="neither manifest"):
        imports.read_data(tmp_path / "nowhere")


def test_a_croissant_file_elsewhere_is_not_fetched(tmp_path: Path) -> None:
    content = croissant(tmp_path)
    content["distribution"][1]["contentUrl"] = "https://example.org/rows.csv"
    (tmp_path / "c.json").write_text(json.dumps(content))
    with pytest.raises(DatasetError, match="download it beside the file"):
        imports.read_croissant(tmp_path / "c.json", COLUMNS)


@pytest.mark.data
@pytest.mark.parametrize("name", ["isic2017", "cxr", "objects"])
def test_the_real_sets_are_read_without_leakage(name: str) -> None:
    root = Path(os.environ.get("RIGHTLY_DATA", "../shared/data")) / name
    if not root.is_dir():
        pytest.skip(f"{root} does not exist: set RIGHTLY_DATA to the folder of real images")
    entries = datasets.read_folder(root)
    few = [e for split in SPLITS for e in [x for x in entries if x.split == split][:15]]
    splits = datasets.load_splits(few, Preprocessing(64, 64, (0.5,) * 3, (0.5,) * 3))

    assert all(rows.known.all() for rows in splits.values())
