import json

import pytest

from captioning.data.features.manifest import (
    Manifest,
    _digest,
    check_ids,
    id_differences,
    identity_differences,
)
from captioning.errors import InputError

MANIFEST = Manifest(
    identity={"model": "small", "transform": {"size": [4, 4]}},
    image_ids=[7, "b.jpg", 3],
    arrays={"pooled": ("float16", (3, 5)), "grid": ("float16", (3, 2, 5))},
    rows_done=2,
    digests={"pooled": ["a" * 64], "grid": ["b" * 64]},
)


def test_what_is_written_is_read(tmp_path):
    MANIFEST.write(tmp_path)
    assert Manifest.read(tmp_path) == MANIFEST
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.json"]


def test_failed_write_leaves_the_old_manifest(tmp_path, monkeypatch):
    MANIFEST.write(tmp_path)
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError("power cut")))
    with pytest.raises(InputError, match=r"manifest.json cannot be written: power cut"):
        Manifest({}, [1], {}, 0, {}).write(tmp_path)
    assert Manifest.read(tmp_path) == MANIFEST


def test_missing_manifest_tells_the_command(tmp_path):
    folder = tmp_path / "features" / "train"
    with pytest.raises(InputError) as error:
        Manifest.read(folder)
    assert str(error.value) == (
        f"{folder} is no feature store; make it with `captioning extract features={folder.parent}` "
        "and the settings of data and encoder"
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.pop("identity"), "missing required field `identity`"),
        (lambda m: m.update(identity=[1]), "damaged"),
        (lambda m: m.update(image_ids=[1, 1, 2]), "image_ids are not 3 different ids"),
        (lambda m: m.update(image_ids=[1, 2]), "image_ids are not 3 different ids"),
        (lambda m: m.update(image_ids="abc"), "Expected `array`, got `str`"),
        (lambda m: m.update(image_ids=[[1], [2], [3]]), "Expected `int | str`, got `array`"),
        (lambda m: m.update(rows_done=4), "rows_done is 4 of 3"),
        (lambda m: m.update(rows_done=None), "damaged"),
        (lambda m: m["arrays"].pop("pooled"), "arrays are grid"),
        (lambda m: m["arrays"].update({"../elsewhere": m["arrays"]["grid"]}), "Invalid enum value"),
        (lambda m: m["arrays"]["grid"].update(shape="x"), "Expected `array`, got `str`"),
        (lambda m: m.update(arrays=3), "Expected `object`, got `int`"),
        (lambda m: m["arrays"]["grid"].update(shape=[3, 2**63, 5]), "Expected `int` <= 9223372036854775807"),
        (lambda m: m["arrays"]["grid"].update(shape=[3, 0, 5]), "Expected `int` >= 1"),
        (lambda m: m["arrays"]["grid"].update(shape=[4, 2, 5]), "grid is float16 .4, 2, 5."),
        (lambda m: m["arrays"]["grid"].update(shape=[3, 2, 7]), "grid is float16 .3, 2, 7., beside"),
        (lambda m: m["arrays"].update(files={"dtype": "uint64", "shape": [3, 5]}), "files is uint64 .3, 5."),
        (lambda m: m["arrays"].update(mask={"dtype": "bool", "shape": [3, 3]}), "mask is bool .3, 3., beside"),
        (lambda m: m["arrays"]["grid"].update(dtype="bool"), "grid is bool"),
        (lambda m: m["digests"].pop("grid"), "expected the digests of 1 blocks of grid"),
        (lambda m: m["digests"].update(grid=["b" * 64] * 2), "expected the digests of 1 blocks of grid"),
        (lambda m: m.update(later="?"), "unknown field `later`"),
    ],
)
def test_damaged_manifest_is_refused(tmp_path, change, message):
    MANIFEST.write(tmp_path)
    path = tmp_path / "manifest.json"
    content = json.loads(path.read_text())
    change(content)
    content["sha256"] = _digest(content)
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=rf"manifest.json is damaged \(.*{message}|{message}.*delete {tmp_path}"):
        Manifest.read(tmp_path)


def test_a_changed_value_is_noticed(tmp_path):
    MANIFEST.write(tmp_path)
    path = tmp_path / "manifest.json"
    path.write_text(path.read_text().replace("b.jpg", "c.jpg"))
    with pytest.raises(InputError, match=r"manifest.json is damaged \(its content has another SHA-256\); delete"):
        Manifest.read(tmp_path)


@pytest.mark.parametrize("content", [b"", b'{"format_version": 1', b"\xff\xfe", b"[1]", b"null"])
def test_manifest_that_is_no_json_object_is_refused(tmp_path, content):
    (tmp_path / "manifest.json").write_bytes(content)
    with pytest.raises(InputError, match=r"manifest.json is damaged"):
        Manifest.read(tmp_path)


def test_other_format_version_is_refused(tmp_path):
    (tmp_path / "manifest.json").write_text('{"format_version": 3}')
    with pytest.raises(InputError, match=r"manifest.json has format 3, expected 1 or 2; make it with"):
        Manifest.read(tmp_path)


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([], "no images to store features of; expected at least one"),
        ([1, 2.5, None, True], "3 of 4 image ids are no int or str: 2.5, None, True"),
        ([1, 2, 1, 2, 3], "2 of 5 image ids are there more than once: 1, 2"),
    ],
)
def test_impossible_ids_are_refused(ids, message):
    with pytest.raises(InputError, match=message):
        check_ids(ids)
    check_ids([1, "1"])


def test_identities_differ_by_nested_keys():
    there = {"model": "a", "weights": "0" * 64, "transform": {"size": [4, 4], "mode": "crop"}}
    here = {"model": "a", "weights": "0" * 63 + "1", "transform": {"size": [4, 5], "mode": "crop"}, "x": 1}
    assert identity_differences(there, there) == []
    assert identity_differences(there, here) == [
        "weights is '00000000000... there and '00000000000... here",
        "transform.size is [4, 4] there and [4, 5] here",
        "x is None there and 1 here",
    ]


def test_ids_differ_by_number_or_order():
    assert id_differences([1, 2], (1, 2)) == []
    assert id_differences([1, 2], [2, 1]) == ["the images are in another order"]
    assert id_differences([1, 2], [2, 3, 4, 5, 6]) == [
        "it is for 2 images, not these 5: 4 new (3, 4, 5, ...), 1 gone (1)"
    ]
