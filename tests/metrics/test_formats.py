"""Captions are read as JSON, JSON lines, tables and lines of text, and nothing else is scored as a caption."""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path

import pytest

from captioning.errors import InputError
from captioning.metrics.files import read_references, read_results, read_some_references
from captioning.metrics.image_names import match_ids

CAPTIONS = {"a.jpg": 'a "big" dog, running', "b.jpg": "two cats\tsleep", "c.jpg": "日本 Straße"}
REFERENCES = {"a.jpg": ["a dog", "the dog, running"], "b.jpg": ["a cat"]}
JSON_LINES = "".join(
    json.dumps({"image": f"photos/{name}", "caption": text, "score": -2.5, "finished": True}) + "\n"
    for name, text in CAPTIONS.items()
)
TABLE = 'image_id,caption\na.jpg,"a ""big"" dog, running"\nb.jpg,two cats\tsleep\nc.jpg,日本 Straße\n'


def write(folder: Path, name: str, content: str | bytes) -> Path:
    data = content.encode() if isinstance(content, str) else content
    (folder / name).write_bytes(gzip.compress(data, mtime=0) if name.endswith(".gz") else data)
    return folder / name


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("c.jsonl", JSON_LINES),
        ("c.ndjson", JSON_LINES.replace("\n", "\r\n\r\n")),
        ("c.jsonl.gz", JSON_LINES),
        ("C.JSONL.gz", JSON_LINES),
        ("c.json", JSON_LINES),  # `captioning caption --json > c.json`
        ("pipe", JSON_LINES),
        ("c.csv", TABLE),
        ("c.csv.gz", "\ufeff" + TABLE.replace("\n", "\r\n") + "\r\n"),
        ("c.csv", TABLE.replace("image_id,caption", " Image , Caption ")),
        ("c.tsv", TABLE.replace(",", "\t", 1).replace("jpg,", "jpg\t").replace("two cats\tsleep", '"two cats\tsleep"')),
        ("c.csv", TABLE.replace(",c", ";c").replace("jpg,", "jpg;")),
        ("c.csv", TABLE.replace("image_id,caption", "image_name| comment").replace("jpg,", "jpg| ")),
        ("c.json", json.dumps([{"filename": name, "caption": text} for name, text in CAPTIONS.items()])),
        ("c.json.gz", json.dumps(CAPTIONS)),
        ("c.json", gzip.compress(json.dumps(CAPTIONS).encode(), mtime=0)),
    ],
)  # fmt: skip
def test_captions_are_read_in_each_format(tmp_path: Path, name: str, content: str | bytes) -> None:
    path = write(tmp_path, name, content)
    found = match_ids("none", {name: ["a"] for name in CAPTIONS}, read_results(path))
    assert found == CAPTIONS


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("r.csv", 'image,caption\na.jpg,a dog\nb.jpg,a cat\na.jpg,"the dog, running"\n'),
        ("r.tsv.gz", "image_id\tid\tcaption\na.jpg\t1\ta dog\nb.jpg\t2\ta cat\na.jpg\t3\tthe dog, running\n"),
        ("r.jsonl", '{"id": "a.jpg", "captions": ["a dog", "the dog, running"]}\n{"id": "b.jpg", "caption": "a cat"}'),
        ("r.json.gz", json.dumps(REFERENCES)),
    ],
)  # fmt: skip
def test_references_of_an_image_are_collected_from_its_lines(tmp_path: Path, name: str, content: str) -> None:
    assert read_references(write(tmp_path, name, content)) == REFERENCES


def test_the_only_line_of_json_lines_is_a_caption(tmp_path: Path) -> None:
    assert read_results(write(tmp_path, "c.json", '{"image": "a.jpg", "caption": "a dog"}')) == {"a.jpg": "a dog"}


def test_numbers_of_a_table_are_ids_as_those_of_json_are(tmp_path: Path) -> None:
    assert read_results(write(tmp_path, "c.csv", "image_id,caption\n42,a dog\n007,a cat\n")) == {
        42: "a dog",
        "007": "a cat",
    }


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("c.csv", "", r"c.csv:1: expected one of the columns image_id.* found none"),
        ("c.csv", "image_id,caption\n", "expected the caption of at least one image"),
        ("c.csv", "a dog\na cat\n", r"c.csv:1: expected one of the columns image_id.* found a dog; rename one"),
        ("c.csv", "name,caption\n1,a\n", "for an image's id or file, found name, caption; rename one"),
        ("c.csv", "image,image_id,caption\nx,1,a\n", "found 2 of them: image, image_id; keep one"),
        ("c.csv", "image,caption,comment\nx,a,b\n", "found 2 of them: caption, comment; keep one"),
        ("c.csv", "image,caption,caption\nx,a,b\n", "found 2 of them: caption, caption; keep one"),
        ("c.csv", "image,caption,a,a\nx,a,b,c\n", "the columns a are repeated"),
        ("c.csv", "image,caption\nx,a dog, running\n", r"c.csv:2: expected 2 columns \(image, caption\), found 3; put"),
        ("c.csv", "image,caption\nx\n", r"c.csv:2: expected 2 columns \(image, caption\), found 1"),
        ("c.csv", 'image,caption\nx,"a dog\ny,a cat\n', r"c.csv:\d: not a table"),
        ("c.csv", 'image,caption\nx,"a" dog\n', r"c.csv:2: not a table"),
        ("c.csv", "image,caption\n,a dog\n", r"c.csv:2: expected the image, .* found ''"),
        ("c.csv", "image,caption\nx,a\nx,b\n", r"images with two captions: 1 \('x'\)"),
        ("c.csv", "image,caption\nx," + "a" * 140_000, r"c.csv:2: not a table \(field larger"),
        ("c.jsonl", "\n\n", "expected the caption of at least one image"),
        ("c.jsonl", '{"image": 1, "caption": "a"}\n{"image": 2, "cap', r"c.jsonl:2:1: broken JSON at column"),
        ("c.jsonl", '[{"image": 1, "caption": "a"}]\n', r"c.jsonl:1: expected an object in each line, found a list"),
        ("c.jsonl", '{"image": 1.5, "caption": "a"}', r"c.jsonl:1: expected the image, .* found 1.5"),
        ("c.jsonl", '{"image": 1, "caption": ["a"]}', r"one string as the caption of each image; not so for 1 \(1\)"),
        ("c.jsonl", '{"image": 1, "image": 2, "caption": "a"}', r"c.jsonl:1: 1 keys are repeated"),
        ("c.jsonl", '{"1": "a dog"}', r"c.jsonl:1: expected one of the keys image_id.* found 1; rename one"),
        ("c.txt", json.dumps(CAPTIONS), "found JSON; name it .json, or .jsonl"),
        ("c.txt", json.dumps([CAPTIONS], indent=2), "found JSON"),
        ("c.en", JSON_LINES, "found JSON"),
        ("c.txt", TABLE, "found a table with a header; name it .csv"),
        ("c.dat", "image_name| comment_number| comment\n", "found a table with a header"),
        ("c.txt", "1\ta dog\n2\ta cat\n", "found tabs in every line"),
        ("c.txt", "a.jpg#0\ta dog\n", "found the name of an image first"),
        ("c.txt", "photos/a.jpg: a dog\n", "found the name of an image first"),
        ("c.sgm", '<refset setid="a">\n', "found XML or HTML"),
        ("c.txt", TABLE.encode("utf-16"), "this text is UTF-16; save it as UTF-8"),
        ("c.csv", "image,caption".encode("utf-16-le"), r"c.csv:1: the character '\\x00' does not occur in texts"),
        ("c.txt", b"a dog\n\x93\xe9", r"c.txt:2: byte 0x93 is not UTF-8"),
        ("c.txt", b"a dog\n\x1b[31m", r"c.txt:2: the character '\\x1b' does not occur"),
        ("c.json", b"\x1f\x8b broken", "cannot be read"),
        ("c.csv", gzip.compress(TABLE.encode(), mtime=0)[:-12], "cannot be read"),
    ],
)  # fmt: skip
def test_what_is_no_file_of_captions_is_refused_with_the_line(
    tmp_path: Path, name: str, content: str | bytes, message: str
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        read_results(write(tmp_path, name, content))
    assert len(str(caught.value)) < 500
    assert "\n" not in str(caught.value)


def test_a_small_file_that_unzips_to_gigabytes_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("captioning.metrics.formats._LARGEST", 1000)
    with pytest.raises(InputError, match="larger than 1,000 bytes when unzipped"):
        read_results(write(tmp_path, "c.txt.gz", "a" * 1001))


@pytest.mark.parametrize(
    "text", ["a dog: b\n", "two\tdogs\na cat\n", "<unk> dog\n", "a dog, a caption\n", "[a dog]\n", "{\n"]
)
def test_unusual_lines_are_still_captions(tmp_path: Path, text: str) -> None:
    assert list(read_results(write(tmp_path, "c.txt", text)).values()) == text.splitlines()


NAMED = {
    "images": [{"id": 139, "file_name": "000000000139.jpg"}, {"id": 285, "file_name": "val/000000000285.jpg"}],
    "annotations": [{"image_id": 139, "caption": "a dog"}, {"image_id": 285, "caption": "a cat"}],
}


def test_images_without_references_are_left_out_only_on_request(tmp_path: Path) -> None:
    path = write(tmp_path, "r.json", json.dumps({**NAMED, "images": [*NAMED["images"], {"id": 7}]}))
    assert list(read_some_references(path)) == [139, 285]
    with pytest.raises(InputError, match=r"images without a caption: 1 \(7\)"):
        read_references(path)


SEEDS = {
    "c.json": json.dumps(CAPTIONS).encode(),
    "r.json": json.dumps(NAMED).encode(),
    "list.json": json.dumps([{"image_id": i, "caption": text} for i, text in CAPTIONS.items()]).encode(),
    "k.json": json.dumps({"images": [{"filename": "a", "split": "test", "sentences": [{"raw": "a dog"}]}]}).encode(),
    "c.jsonl": JSON_LINES.encode(),
    "c.csv": TABLE.encode(),
    "c.tsv": TABLE.replace(",", "\t").encode(),
    "c.txt": b"a dog\ntwo cats\n",
    "c.json.gz": gzip.compress(json.dumps(CAPTIONS).encode(), mtime=0),
    "c.csv.gz": gzip.compress(TABLE.encode(), mtime=0),
}
PIECES = [b"\0", b"\n", b"\r\n", b'"', b",", b"\t", b"{", b"[", b"}", b"]", b"null", b"1e999", b"9" * 5000, b"\xff\xfe",
          b"\xed\xa0\x80", b"\\ud800", b"[" * 3000, b"image_id", b"caption", b"a" * 10_000, b"NaN"]  # fmt: skip


def mutated(data: bytes, generator: random.Random) -> bytes:
    """Change some bytes: flip, cut, repeat, or insert a piece that means something to a format."""
    for _ in range(generator.randint(1, 4)):
        start = generator.randint(0, len(data))
        end = min(len(data), start + generator.randint(0, 20))
        match generator.randrange(5):
            case 0:
                data = data[:start] + bytes([generator.randrange(256)]) + data[start + 1 :]
            case 1:
                data = data[:start] + data[end:]
            case 2:
                data = data[:end] + data[start:end] + data[end:]
            case 3:
                data = data[:start] + generator.choice(PIECES) + data[start:]
            case _:
                data = data[:start]
    return data


@pytest.mark.slow
@pytest.mark.parametrize("name", SEEDS)
def test_a_mutated_file_is_read_or_refused_in_one_line(tmp_path: Path, name: str) -> None:
    generator = random.Random(name)
    for n in range(1500):
        path = tmp_path / name
        path.write_bytes(mutated(SEEDS[name], generator))
        for read in (read_results, read_references):
            try:
                found = read(path)
            except InputError as error:
                assert len(str(error)) < 2000, n
                assert str(error).isprintable(), n
                continue
            assert found, n
            for image_id, captions in found.items():
                assert isinstance(image_id, int | str)
                assert all(isinstance(caption, str) for caption in ([captions] if read is read_results else captions))
