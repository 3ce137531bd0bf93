import errno
import json
import logging
import os
import pickle
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader, Dataset

from captioning.data.features import rows as rows_
from captioning.data.features.blocks import digest
from captioning.data.features.precision import with_precision
from captioning.data.features.store import FeatureStore, FeatureWriter
from captioning.encoders.features import ImageFeatures
from captioning.errors import InputError

IDENTITY = {"class": "SmallCNN", "model": "small_cnn", "transform": {"size": [4, 4]}, "weights": "0" * 64}
IDS = ["a.jpg", 13, "b.jpg", 7, "13"]


def features(count: int = len(IDS), *, grid: bool = True) -> ImageFeatures:
    generator = torch.Generator().manual_seed(0)
    pooled = torch.randn(count, 3, generator=generator)
    if not grid:
        return ImageFeatures(pooled)
    places = torch.randn(count, 2, 3, generator=generator)
    words = torch.rand(count, 5, generator=generator)
    return ImageFeatures(pooled, places, torch.arange(count * 2).view(count, 2) % 3 > 0, words=words)


def write(
    folder: Path, *, ids=IDS, dtype: str = "float32", rows: ImageFeatures | None = None, identity=IDENTITY
) -> Path:
    with FeatureWriter(folder, identity, ids, dtype=dtype) as writer:
        writer.write(features() if rows is None else rows)
    return folder


def assert_equal(found: ImageFeatures, expected: ImageFeatures, **tolerance: float) -> None:
    for name in ("pooled", "grid", "mask", "words"):
        a, b = getattr(found, name), getattr(expected, name)
        assert (a is None) == (b is None)
        if a is not None:
            torch.testing.assert_close(a, b, **tolerance or {"rtol": 0, "atol": 0})


# ---- writing and reading ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("grid", [False, True])
def test_what_is_written_is_read_in_the_order_of_the_ids(tmp_path, grid):
    rows = features(grid=grid)
    store = FeatureStore(write(tmp_path / "new" / "train", rows=rows))
    assert_equal(store.features(IDS), rows)
    assert_equal(store.features(["13", 13, 13]), rows.rows(torch.tensor([4, 1, 1])))
    assert_equal(store.rows([2, 0]), rows.rows(torch.tensor([2, 0])))
    assert len(store) == len(IDS)
    assert store.image_ids == IDS
    assert store.identity == IDENTITY


def test_float16_is_read_as_float32(tmp_path):
    store = FeatureStore(write(tmp_path, dtype="float16"))
    found = store.features(IDS)
    assert found.pooled.dtype == found.grid.dtype == torch.float32
    assert_equal(found, features(), rtol=1e-3, atol=1e-4)
    assert np.load(tmp_path / "pooled.npy").dtype == np.float16


def test_no_images_is_no_rows(tmp_path):
    assert FeatureStore(write(tmp_path)).features([]).grid.shape == (0, 2, 3)


@settings(max_examples=10)
@given(
    runs=st.lists(st.lists(st.integers(1, 5), max_size=3), max_size=3),  # batch sizes until it is killed
    flush_every=st.integers(1, 9),
)
def test_batches_and_interruptions_change_nothing(tmp_path_factory, runs, flush_every):
    folder, rows, ids, done = tmp_path_factory.mktemp("store"), features(11), list(range(100, 111)), 0
    for run in [*runs, [11]]:
        writer = FeatureWriter(folder, IDENTITY, ids, dtype="float32", flush_every=flush_every)
        assert 0 <= done - writer.rows_done < flush_every
        assert writer.remaining == ids[writer.rows_done :]
        for batch in run:
            at = torch.arange(11)[writer.rows_done : writer.rows_done + batch]
            writer.write(rows.rows(at))
        done = writer.rows_done
    assert_equal(FeatureStore(folder).features(ids), rows)


def test_finished_store_has_nothing_left_to_write(tmp_path, caplog):
    write(tmp_path)
    with caplog.at_level(logging.INFO), FeatureWriter(tmp_path, IDENTITY, IDS, dtype="float32") as writer:
        assert writer.remaining == []
    assert "5 of 5 images are done" in caplog.text


def test_leaving_the_writer_records_what_was_written(tmp_path):
    with pytest.raises(KeyboardInterrupt), FeatureWriter(tmp_path, IDENTITY, IDS) as writer:
        writer.write(features(2))
        raise KeyboardInterrupt
    assert FeatureWriter(tmp_path, IDENTITY, IDS).rows_done == 2


@pytest.mark.slow
def test_kill_9_loses_no_recorded_row(tmp_path):
    program = f"""
        import os, signal, torch
        from captioning.data.features.store import FeatureWriter
        from captioning.encoders.features import ImageFeatures
        writer = FeatureWriter({str(tmp_path)!r}, {IDENTITY!r}, list(range(100)), dtype="float32", flush_every=10)
        for row in range(25):
            writer.write(ImageFeatures(torch.full((1, 3), float(row))))
        os.kill(os.getpid(), signal.SIGKILL)
    """
    killed = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], check=False)
    assert killed.returncode == -signal.SIGKILL
    with FeatureWriter(tmp_path, IDENTITY, list(range(100)), dtype="float32") as writer:
        assert writer.rows_done == 20
        writer.write(ImageFeatures(torch.arange(20.0, 100.0)[:, None].expand(-1, 3)))
    assert torch.equal(FeatureStore(tmp_path).rows(range(100)).pooled[:, 0], torch.arange(100.0))


def test_rows_are_recorded_after_they_are_safe(tmp_path, monkeypatch):
    order = []
    flush, replace = np.memmap.flush, Path.replace
    monkeypatch.setattr(np.memmap, "flush", lambda self: (order.append("flush"), flush(self)))
    monkeypatch.setattr(Path, "replace", lambda self, to: (order.append("record"), replace(self, to)))
    write(tmp_path, rows=features(grid=False))
    assert order == ["record", "flush", "record"]


# ---- what is refused --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"identity": IDENTITY | {"weights": "1" * 64}}, "weights is '00000.* there and '1111.* here"),
        ({"identity": IDENTITY | {"transform": {"size": [5, 4]}}}, r"transform.size is \[4, 4\] there and \[5, 4\]"),
        ({"image_ids": [*IDS, "c.jpg"]}, r"it is for 5 images, not these 6: 1 new \('c.jpg'\), 0 gone \(none\)"),
        ({"image_ids": IDS[::-1]}, "the images are in another order"),
        ({"dtype": "float16"}, "dtype is float32 there and float16 here"),
    ],
)
def test_other_settings_do_not_continue_a_store(tmp_path, change, message):
    settings = {"identity": IDENTITY, "image_ids": IDS, "dtype": "float32"}
    with FeatureWriter(tmp_path, **settings) as writer:
        writer.write(features(2))
    with pytest.raises(InputError, match=rf"holds other features: {message}.*Choose another folder, or delete"):
        FeatureWriter(tmp_path, **settings | change)


def test_tuples_in_an_identity_are_lists(tmp_path):
    write(tmp_path)
    same = IDENTITY | {"transform": {"size": (4, 4)}}
    assert FeatureWriter(tmp_path, same, IDS, dtype="float32").remaining == []
    FeatureStore(tmp_path).check(same, IDS)


def test_files_of_something_else_are_not_overwritten(tmp_path):
    np.save(tmp_path / "pooled.npy", np.zeros(3))
    with pytest.raises(InputError, match=r"holds .npy files and no manifest.json; choose an empty folder"):
        FeatureWriter(tmp_path, IDENTITY, IDS)


def test_unknown_dtype_is_refused(tmp_path):
    with pytest.raises(InputError, match="dtype='int8' of features, expected float16 or float32"):
        FeatureWriter(tmp_path, IDENTITY, IDS, dtype="int8")


@pytest.mark.parametrize(
    ("value", "message"),
    [(1e5, "are too large for float16; use dtype=float32"), (float("nan"), "are not finite")],
)
def test_values_that_do_not_fit_are_refused(tmp_path, value, message):
    rows = features(4)
    rows.grid[2:, 1, 1] = value
    with (
        FeatureWriter(tmp_path, IDENTITY, IDS, dtype="float16") as writer,
        pytest.raises(InputError, match=f"features of 2 of a batch of 4 images, the first 'b.jpg', {message}"),
    ):
        writer.write(rows)


def test_wrong_use_of_a_writer_is_reported(tmp_path):
    writer = FeatureWriter(tmp_path, IDENTITY, IDS)
    with pytest.raises(ValueError, match="features of 6 images for a store of 5"):
        writer.write(features(6))
    writer.write(features(1))
    with pytest.raises(ValueError, match="features of other shapes than before"):
        writer.write(features(1, grid=False))


def test_full_disk_is_reported_and_leaves_no_half_store(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(InputError, match=r"cannot be written: No space left on device \(\d+.\d GB are left\). Choose"):
        write(tmp_path)
    assert not list(tmp_path.glob("*.npy"))
    monkeypatch.undo()
    assert len(FeatureStore(write(tmp_path, dtype="float16"))) == len(IDS)  # another dtype may be tried at once


def test_room_is_claimed_before_it_is_needed(tmp_path):
    with FeatureWriter(tmp_path, IDENTITY, list(range(100_000)), dtype="float32") as writer:
        writer.write(features(1, grid=False))
    assert (tmp_path / "pooled.npy").stat().st_blocks * 512 >= 100_000 * 3 * 4


def test_folder_that_cannot_be_made_is_reported(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="file/train cannot be written: Not a directory"):
        write(tmp_path / "file" / "train")


def test_folder_that_is_not_ours_is_reported(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(InputError, match=r"cannot be written: Permission denied. Choose a writable folder"):
        write(tmp_path / "train")


def test_unfinished_store_is_not_read(tmp_path):
    with FeatureWriter(tmp_path, IDENTITY, IDS) as writer:
        writer.write(features(2))
    with pytest.raises(InputError, match=r"features of 2 of 5 images: `captioning extract` was interrupted. Run it"):
        FeatureStore(tmp_path)


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


def lengthen(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"x")


def replace_by_objects(path: Path) -> None:
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (Path.unlink, ": cannot be read .*No such file"),
        (cut, r" is damaged: it has 247 bytes, and its header says float32 \(5, 2, 3\), 248 bytes"),
        (lengthen, r" is damaged: it has 249 bytes, and its header says float32 \(5, 2, 3\), 248 bytes"),
        (lambda path: path.write_bytes(b"not numpy"), " is damaged: expected an .npy file"),
        (lambda path: path.write_bytes(b""), " is damaged: expected an .npy file"),
        (replace_by_objects, r" holds object \(1,\), expected float32 of 3 dimensions"),
        (lambda path: np.save(path, np.zeros((5, 2, 3), np.float16)), r" holds float16 \(5, 2, 3\), expected float32"),
        (lambda path: np.save(path, np.zeros((5, 2, 3), ">f4")), r" is damaged: it holds >f4 \(5, 2, 3\), and"),
        (
            lambda path: np.save(path, np.zeros((4, 2, 3), np.float32)),
            r" is damaged: it holds float32 \(4, 2, 3\), and",
        ),
    ],
)
def test_damaged_array_is_refused(tmp_path, damage, message):
    write(tmp_path)
    damage(tmp_path / "grid.npy")
    with pytest.raises(InputError, match=rf"grid.npy{message}.*delete {tmp_path} and make it with"):
        FeatureStore(tmp_path)


# ---- digests ----------------------------------------------------------------------------------------------------


def flip(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("name", ["pooled", "grid", "mask"])
def test_a_flipped_bit_of_a_row_is_noticed(tmp_path, name):
    write(tmp_path)
    assert FeatureStore(tmp_path).verify() is True
    flip(tmp_path / f"{name}.npy", -2)
    for read in (lambda store: store.rows([0]), FeatureStore.verify):
        with pytest.raises(InputError, match=rf"{name}.npy is damaged: rows 0 to 4 have another SHA-256 .*; delete"):
            read(FeatureStore(tmp_path))


def test_a_block_is_verified_when_it_is_first_read_and_only_then(tmp_path, monkeypatch):
    monkeypatch.setattr("captioning.data.features.blocks.BLOCK_BYTES", 24)  # two rows of pooled features
    write(tmp_path, rows=features(grid=False))
    flip(tmp_path / "pooled.npy", -1)  # in the third block
    store, digested = FeatureStore(tmp_path), []
    monkeypatch.setattr(rows_, "digest", lambda rows: digested.append(len(rows)) or digest(rows))
    store.rows([0, 1])
    store.rows([1, 0, -5])
    assert digested == [2]
    with pytest.raises(InputError, match="rows 4 to 4 have another SHA-256"):
        store.rows([2, 4])
    assert digested == [2, 2, 1]
    with pytest.raises(InputError, match="rows 4 to 4 have another SHA-256"):
        store.rows([4])  # damage is not forgotten


@settings(max_examples=10)
@given(batches=st.lists(st.integers(1, 4), min_size=6, max_size=6), flush_every=st.integers(1, 5))
def test_digests_do_not_depend_on_how_a_store_was_written(tmp_path_factory, batches, flush_every):
    folder, rows, ids = tmp_path_factory.mktemp("store"), features(11), list(range(11))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("captioning.data.features.blocks.BLOCK_BYTES", 50)
        with FeatureWriter(folder / "a", IDENTITY, ids, dtype="float32") as writer:
            writer.write(rows)
        for batch in [*batches, 11]:
            with FeatureWriter(folder / "b", IDENTITY, ids, dtype="float32", flush_every=flush_every) as writer:
                writer.write(rows.rows(torch.arange(11)[writer.rows_done : writer.rows_done + batch]))
        assert (folder / "a" / "manifest.json").read_bytes() == (folder / "b" / "manifest.json").read_bytes()
        assert FeatureStore(folder / "b").verify()


def test_a_damaged_part_is_not_continued(tmp_path):
    with FeatureWriter(tmp_path, IDENTITY, IDS, dtype="float32") as writer:
        writer.write(features().rows(torch.arange(2)))
    flip(tmp_path / "pooled.npy", 128)
    with pytest.raises(InputError, match=r"pooled\.npy is damaged: rows 0 to 1 have another SHA-256"):
        FeatureWriter(tmp_path, IDENTITY, IDS, dtype="float32")


def as_version_1(folder: Path) -> None:
    content = json.loads((folder / "manifest.json").read_text())
    del content["digests"], content["sha256"]
    (folder / "manifest.json").write_text(json.dumps(content | {"format_version": 1}))


def test_a_store_of_an_older_version_is_read_without_digests(tmp_path):
    as_version_1(write(tmp_path))
    store = FeatureStore(tmp_path)
    assert_equal(store.features(IDS), features())
    assert store.verify() is False


def test_a_store_of_an_older_version_is_finished_with_digests(tmp_path):
    with FeatureWriter(tmp_path, IDENTITY, IDS, dtype="float32") as writer:
        writer.write(features().rows(torch.arange(2)))
    as_version_1(tmp_path)
    with FeatureWriter(tmp_path, IDENTITY, IDS, dtype="float32") as writer:
        writer.write(features().rows(torch.arange(2, 5)))
    assert_equal(FeatureStore(tmp_path).features(IDS), features())
    assert FeatureStore(tmp_path).verify() is True


@pytest.mark.parametrize(("name", "value"), [("pooled", b"\0\0\xc0\x7f"), ("grid", b"\0\0\x80\x7f"), ("mask", b"\x02")])
def test_impossible_values_of_an_older_version_are_refused(tmp_path, name, value):
    as_version_1(write(tmp_path))
    path = tmp_path / f"{name}.npy"
    path.write_bytes(path.read_bytes()[: -len(value)] + value)
    with pytest.raises(InputError, match=f"{name}.npy is damaged: rows 0 to 4 are not (finite|0 and 1)"):
        FeatureStore(tmp_path).rows([0])


# ---- image files ------------------------------------------------------------------------------------------------


@pytest.fixture
def files(tmp_path) -> dict[int | str, Path]:
    (tmp_path / "images").mkdir()
    paths = {image_id: tmp_path / "images" / f"{row}.jpg" for row, image_id in enumerate(IDS)}
    for path in paths.values():
        path.write_text(f"pixels of {path.name}")
    return paths


def write_with(folder: Path, files: dict[int | str, Path], count: int = len(IDS)) -> Path:
    with FeatureWriter(folder, IDENTITY, IDS, dtype="float32", files=list(files.values())) as writer:
        writer.write(features().rows(torch.arange(writer.rows_done, count)))
    return folder


def test_the_same_image_files_are_accepted_wherever_they_are(tmp_path, files):
    store = FeatureStore(write_with(tmp_path / "store", files))
    assert_equal(store.features(IDS), features())
    store.check_files(files)
    copied = {image_id: Path(shutil.copy(path, tmp_path)) for image_id, path in files.items()}  # with another time
    copied[13].unlink()  # cached features need no images
    store.check_files(dict(reversed(copied.items())))
    assert store.verify(copied) is True


@pytest.mark.parametrize("content", ["other pixels", "PIXELS of 1.jpg"])
def test_a_replaced_image_is_noticed(tmp_path, files, content):
    store = FeatureStore(write_with(tmp_path / "store", files))
    files[13].write_text(content)
    for check in (store.check_files, store.verify):
        with pytest.raises(
            InputError, match=r"1 of 5 image files were replaced .*1.jpg'\); delete .*store and make it"
        ):
            check(files)
    store.check_files({image_id: path for image_id, path in files.items() if image_id != 13})


def test_a_replaced_image_with_its_old_size_and_time_is_noticed_by_verify(tmp_path, files):
    store = FeatureStore(write_with(tmp_path / "store", files))
    before = files[13].stat()
    files[13].write_text("PIXELS of 1.jpg")
    os.utime(files[13], ns=(before.st_atime_ns, before.st_mtime_ns))
    store.check_files(files)
    with pytest.raises(InputError, match="1 of 5 image files were replaced"):
        store.verify(files)


def test_a_part_of_replaced_images_is_not_continued(tmp_path, files):
    write_with(tmp_path / "store", files, count=2)
    files[7].write_text("not read yet")
    with FeatureWriter(tmp_path / "store", IDENTITY, IDS, dtype="float32", files=list(files.values())) as writer:
        assert writer.rows_done == 2
    files[13].write_text("replaced")
    with pytest.raises(InputError, match="1 of 2 image files were replaced after their features were cached"):
        write_with(tmp_path / "store", files)


def test_a_flipped_bit_in_the_states_of_files_is_noticed(tmp_path, files):
    write_with(tmp_path / "store", files)
    flip(tmp_path / "store" / "files.npy", -1)
    with pytest.raises(InputError, match=r"files\.npy is damaged"):
        FeatureStore(tmp_path / "store").check_files(files)


def test_a_store_that_does_not_know_the_files_accepts_any(tmp_path, files):
    store = FeatureStore(write(tmp_path / "store"))
    store.check_files(files)
    assert store.verify(files) is True


# ---- checking ---------------------------------------------------------------------------------------------------


def test_check_accepts_the_same_encoder_and_any_of_its_images(tmp_path):
    store = FeatureStore(write(tmp_path))
    store.check(IDENTITY, IDS)
    store.check(IDENTITY, ["b.jpg", 13])


def test_a_store_says_whose_features_it_holds(tmp_path):
    store = FeatureStore(write(tmp_path))
    assert store.is_of(IDENTITY | {"transform": {"size": (4, 4)}})
    assert not store.is_of(IDENTITY | {"transform": {"size": (4, 8)}})


def test_check_reports_all_differences_and_the_command(tmp_path):
    store = FeatureStore(write(tmp_path / "train"))
    other = IDENTITY | {"model": "resnet18", "weights": "1" * 64, "transform": {"size": [8, 8]}}
    with pytest.raises(InputError) as error:
        store.check(other, IDS)
    assert str(error.value) == (
        f"{tmp_path}/train holds features of another encoder: model is 'small_cnn' there and 'resnet18' here; "
        "transform.size is [4, 4] there and [8, 8] here; weights is '00000000000... there and '11111111111... here. "
        "Set the same encoder, or choose another folder and make it with "
        f"`captioning extract features={tmp_path}` and the settings of data and encoder"
    )


@pytest.mark.parametrize(("there", "here"), [("bfloat16", "float32"), ("float32", "bfloat16")])
def test_check_says_how_to_accept_another_precision(tmp_path, there, here):
    store = FeatureStore(write(tmp_path / "train", identity=with_precision(IDENTITY, there)))
    with pytest.raises(InputError, match=f"in {there}, not in {here}; accept them by data.features_precision={there}"):
        store.check(with_precision(IDENTITY, here), IDS)
    other = with_precision(IDENTITY | {"model": "resnet18"}, here)
    with pytest.raises(InputError, match="another encoder: model is 'small_cnn' there and 'resnet18' here"):
        store.check(other, IDS)


def test_missing_images_are_counted_and_a_few_given(tmp_path):
    store = FeatureStore(write(tmp_path))
    message = (
        r"lacks 4 of 6 images \('c', 8, 9, ...\); it holds 5 \('a.jpg', 13, 'b.jpg', ...\). Choose .* make it with"
    )
    for ask in (store.features, lambda ids: store.check(IDENTITY, ids)):
        with pytest.raises(InputError, match=message):
            ask(["c", 13, 8, 9, 10, "b.jpg"])


# ---- workers ----------------------------------------------------------------------------------------------------


def test_pickled_store_is_small_and_reads_the_same(tmp_path):
    ids = list(range(5000))
    store = FeatureStore(write(tmp_path, ids=ids, rows=features(5000)))
    store.features([1])
    pickled = pickle.dumps(store)
    assert len(pickled) < 500
    assert_equal(pickle.loads(pickled).features(ids[::7]), store.features(ids[::7]))


class Batches(Dataset[torch.Tensor]):
    def __init__(self, store: FeatureStore) -> None:
        self.store = store

    def __len__(self) -> int:
        return 2

    def __getitem__(self, row: int) -> torch.Tensor:
        return self.store.features(IDS[row::2]).pooled


@pytest.mark.slow
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_of_a_loader_read_the_store(tmp_path, method):
    loader = DataLoader(
        Batches(FeatureStore(write(tmp_path))), batch_size=None, num_workers=2, multiprocessing_context=method
    )
    first, second = loader
    assert torch.equal(first, features().pooled[0::2])
    assert torch.equal(second, features().pooled[1::2])
