"""Files of captions in every form, with columns of any usual name."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captioning.data.readers.caption_rows import CAPTIONS, IMAGES, SPLITS, Columns, read_caption_rows
from captioning.errors import InputError

ANY = Columns()
TWO = [("a.jpg", ("A dog, running", "A dog"), "train"), ("b.jpg", ("A boat",), "val")]
CELLS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r"), min_size=1).filter(
    lambda text: text == text.strip() and bool(text)
)


def rows(file: Path, columns: Columns = ANY) -> list[tuple[str, tuple[str, ...], str | None]]:
    return [(row.image, row.captions, row.split) for row in read_caption_rows(file, columns).rows]


def write(folder: Path, name: str, content: str | bytes) -> Path:
    file = folder / name
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return file


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", 'image,caption,split\na.jpg,"A dog, running",train\nb.jpg,A boat,val\n'),
        ("a.csv", '\ufeffimage,caption,split\r\na.jpg,"A dog, running",train\r\nb.jpg,A boat,val\r\n'),
        ("a.csv", "Split;File Name;Text\ntrain;a.jpg;A dog, running\nval;b.jpg;A boat\n\n"),
        ("a.csv", 'image, caption, split\na.jpg, "A dog, running", train\nb.jpg, A boat, val'),
        ("a.txt", 'image,caption,split\na.jpg,"A dog, running",train\nb.jpg,A boat,val\n'),
        ("a.tsv", "path\tsentence\tsubset\na.jpg\tA dog, running\ttrain\nb.jpg\tA boat\tval\n"),
        ("a.csv", '"id","image","caption","split"\n1,a.jpg,"A dog, running",train\n2,b.jpg,A boat,val\n'),
        ("A.CSV", "image|caption|split\na.jpg|A dog, running|train\nb.jpg|A boat|val\n"),
    ],
)
def test_every_table_gives_the_same_rows(tmp_path: Path, name: str, content: str) -> None:
    first, second = TWO
    assert rows(write(tmp_path, name, content)) == [(first[0], first[1][:1], first[2]), second]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.json", json.dumps([{"img": i, "captions": list(c), "split": s} for i, c, s in TWO])),
        ("a.jsonl", "\n".join(json.dumps({"split": s, "text": list(c), "file": i}) for i, c, s in TWO)),
        ("a.ndjson", "\ufeff" + "\r\n".join(json.dumps({"split": s, "text": list(c), "file": i}) for i, c, s in TWO)),
    ],
)
def test_every_json_gives_the_same_rows(tmp_path: Path, name: str, content: str) -> None:
    assert rows(write(tmp_path, name, content)) == TWO


def test_captions_by_image_and_coco_s_form_have_no_splits(tmp_path: Path) -> None:
    by_image = write(tmp_path, "a.json", json.dumps({"a.jpg": ["A dog", "A cat"], "b.jpg": "A boat"}))
    coco: dict[str, Any] = {"images": [{"id": 7, "file_name": "b.jpg"}, {"id": 3, "file_name": "a.jpg"}]}
    coco["annotations"] = [{"image_id": 3, "caption": "A dog"}, {"image_id": 7, "caption": "A boat"}]
    assert rows(by_image) == [("a.jpg", ("A dog", "A cat"), None), ("b.jpg", ("A boat",), None)]
    assert rows(write(tmp_path, "b.json", json.dumps(coco))) == [
        ("a.jpg", ("A dog",), None),
        ("b.jpg", ("A boat",), None),
    ]


@pytest.mark.parametrize("image", IMAGES)
@pytest.mark.parametrize("caption", CAPTIONS)
@pytest.mark.parametrize("split", SPLITS)
def test_every_usual_name_of_a_column_is_found(tmp_path: Path, image: str, caption: str, split: str) -> None:
    file = write(tmp_path, "a.csv", f"{split},{caption},{image}\nval,A dog,a.jpg\n")
    assert read_caption_rows(file, ANY).columns == (image, caption, split)


def test_names_of_columns_can_be_given(tmp_path: Path) -> None:
    file = write(tmp_path, "a.csv", "image,bild,text,satz\nx,a.jpg,y,Ein Hund\n")
    assert rows(file, Columns(image="bild", caption="satz")) == [("a.jpg", ("Ein Hund",), None)]


@given(
    table=st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=5),
    separator=st.sampled_from(",;\t|"),
    end=st.sampled_from(["\n", "\r\n"]),
)
def test_whatever_a_csv_writer_writes_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, table: list[tuple[str, str]], separator: str, end: str
) -> None:
    text = io.StringIO()
    csv.writer(text, delimiter=separator, lineterminator=end).writerows([("image", "caption"), *table])
    file = write(tmp_path_factory.mktemp("table"), "a.csv", "\ufeff" + text.getvalue())
    assert rows(file) == [(image, (caption,), None) for image, caption in table]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "", "no column for the image"),
        (
            "a.csv",
            "image,label\na.jpg,dog\n",
            "no column for the caption.*it has the columns image, label; set data.cap",
        ),
        ("a.csv", "name,caption\na.jpg,dog\n", "no column for the image, expected one of .*has the columns name, capt"),
        ("a.csv", "image,caption\n", "no captions, expected one in each row"),
        ("a.csv", "image,caption\na.jpg,A dog, running\n", r"a\.csv:2: expected the 2 fields.*in double quotes"),
        ("a.csv", 'image,caption\na.jpg,"A dog\n', r"a\.csv:2: broken CSV"),
        ("a.csv", "image,caption\n,A dog\n", r"a\.csv:2: image is '', expected the name of an image"),
        ("a.csv", "image,caption,split\na.jpg,A dog,\n", r"a\.csv:2: split is '', expected train, val or test"),
        ("a.csv", b"image,caption\na.jpg,caf\xe9\n", r"a\.csv:2: byte 0xe9 is not UTF-8"),
        ("a.xlsx", "PK", r"expected a file of captions that ends in \.csv, "),
        ("a.json", "[1]", r"a\.json\[0\]: expected an object such as"),
        ("a.json", "3", "expected a list of objects, or an object of captions by image"),
        ("a.json", '{"a.jpg": 3}', "caption is 3, expected a text or a list of texts"),
        ("a.json", '[{"image": 3, "caption": "x"}]', "image is 3, expected the name of an image"),
        ("a.jsonl", '{"image": "a.jpg", "caption": "x"}\n{', r"a\.jsonl:2:1: broken JSON"),
        ("a.json", '{"images": [], "annotations": [{"image_id": 1, "caption": "x"}]}', "no image has the id 1"),
    ],
)
def test_a_broken_file_is_reported_with_its_place(
    tmp_path: Path, name: str, content: str | bytes, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        read_caption_rows(write(tmp_path, name, content), ANY)


def test_a_given_column_that_is_missing_is_reported_with_those_that_there_are(tmp_path: Path) -> None:
    file = write(tmp_path, "a.csv", "image,caption\na.jpg,A dog\n")
    with pytest.raises(
        InputError, match=r"no column 'bild'; it has the columns image, caption; correct data\.image_column"
    ):
        read_caption_rows(file, Columns(image="bild"))
