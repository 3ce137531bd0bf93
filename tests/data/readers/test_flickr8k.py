"""Flickr8k is read in both of its layouts, and what is broken in it is named by file and line."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from PIL import Image

from captioning.data.images import load_image
from captioning.data.readers.flickr8k import images_folder, read_flickr8k
from captioning.errors import InputError

CAPTIONS = {
    "a.jpg": ["A dog , running .", 'A "dog" runs'],
    "b.jpg": ["Two cats", "Cats sleep .", "A third"],
    "c.jpg": ["A boat"],
    "d.jpg": ["In no list"],
}
LISTS = {"train": "b.jpg\na.jpg\n", "dev": "c.jpg\n", "test": "d.jpg\n"}
TOKENS = "".join(f"{name}#{i}\t{text}\n" for name, texts in CAPTIONS.items() for i, text in enumerate(texts))
MIRROR = "image,caption\n" + "".join(
    f'{name},"{text.replace(chr(34), 2 * chr(34))}"\n' if "," in text or '"' in text else f"{name},{text}\n"
    for name, texts in CAPTIONS.items()
    for text in texts
)


def make_images(folder: Path, names: list[str]) -> None:
    folder.mkdir(parents=True)
    for name in names:
        Image.new("RGB", (4, 3)).save(folder / name)


def make_lists(folder: Path, *splits: str) -> None:
    for split in splits:
        (folder / f"Flickr_8k.{split}Images.txt").write_text(LISTS[split])


@pytest.fixture
def official(tmp_path: Path) -> Path:
    (tmp_path / "Flickr8k.token.txt").write_text(TOKENS)
    make_lists(tmp_path, "train", "dev")
    make_images(tmp_path / "Images", list(CAPTIONS))
    return tmp_path


@pytest.fixture
def mirror(tmp_path: Path) -> Path:
    (tmp_path / "captions.txt").write_text(MIRROR)
    make_images(tmp_path / "Images", list(CAPTIONS))
    return tmp_path


def captions_of(root: Path, split: str, **settings: int | bool) -> dict[int | str, list[str]]:
    return {image.image_id: list(image.captions) for image in read_flickr8k(root, split, **settings)}


def test_split_is_read_in_the_order_of_its_list(official: Path) -> None:
    images = read_flickr8k(official, "train")
    assert [image.image_id for image in images] == ["b.jpg", "a.jpg"]
    assert [image.path for image in images] == [official / "Images" / "b.jpg", official / "Images" / "a.jpg"]
    assert [list(image.captions) for image in images] == [CAPTIONS["b.jpg"], CAPTIONS["a.jpg"]]
    assert load_image(images[0].path).size == (4, 3)
    assert images == read_flickr8k(str(official), "train")


def test_val_is_the_dev_list(official: Path) -> None:
    assert captions_of(official, "val") == captions_of(official, "dev") == {"c.jpg": ["A boat"]}


def test_only_the_asked_list_is_needed(official: Path) -> None:
    (official / "Flickr_8k.trainImages.txt").unlink()
    assert list(captions_of(official, "val")) == ["c.jpg"]


def test_unknown_split_is_reported(official: Path) -> None:
    with pytest.raises(InputError, match="split='restval': Flickr8k has the splits train, val"):
        read_flickr8k(official, "restval")


def test_captions_stand_in_the_order_of_their_numbers(official: Path) -> None:
    lines = [f"c.jpg#{k}\tnumber {k}\n" for k in (10, 2, 0, 1)]
    (official / "Flickr8k.token.txt").write_text("".join(lines))
    assert captions_of(official, "val") == {"c.jpg": ["number 0", "number 1", "number 2", "number 10"]}


@pytest.mark.parametrize("name", ["Images", "Flicker8k_Dataset", "Flickr8k_Dataset"])
def test_images_are_found_by_each_of_the_folders_names(official: Path, name: str) -> None:
    (official / "Images").rename(official / name)
    assert images_folder(official) == official / name
    assert read_flickr8k(official, "val")[0].path == official / name / "c.jpg"


def test_text_files_may_lie_in_a_folder_of_their_own(official: Path) -> None:
    (official / "Flickr8k_text").mkdir()
    for file in list(official.glob("*.txt")):
        file.rename(official / "Flickr8k_text" / file.name)
    assert list(captions_of(official, "train")) == ["b.jpg", "a.jpg"]


@pytest.mark.parametrize("layout", ["official", "mirror"])
def test_byte_order_mark_crlf_and_blank_lines_change_nothing(layout: str, request: pytest.FixtureRequest) -> None:
    root: Path = request.getfixturevalue(layout)
    make_lists(root, "train")
    before = read_flickr8k(root, "train")
    for file in root.glob("*.txt"):
        text = file.read_text() + "\n"
        file.write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    assert read_flickr8k(root, "train") == before


def test_rare_line_separators_inside_a_caption_do_not_end_it(official: Path) -> None:
    (official / "Flickr8k.token.txt").write_text("c.jpg#0\tone\u2028two\x0bthree\n", encoding="utf-8")
    assert captions_of(official, "val") == {"c.jpg": ["one\u2028two\x0bthree"]}


def test_captions_of_an_image_that_does_not_exist_are_counted(official: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "captioning.data.readers.flickr8k")
    ghost = "".join(f"2258277193_586949ec62.jpg.1#{k}\tA ghost\n" for k in range(5))
    (official / "Flickr8k.token.txt").write_text(TOKENS + ghost)
    assert list(captions_of(official, "train")) == ["b.jpg", "a.jpg"]
    assert "captions of 1 images without a file are ignored (2258277193_586949ec62.jpg.1)" in caplog.text


def test_images_in_no_list_and_without_captions_do_no_harm(official: Path) -> None:
    Image.new("RGB", (4, 3)).save(official / "Images" / "uncaptioned.jpg")
    assert list(captions_of(official, "val")) == ["c.jpg"]


def test_mirror_uses_the_official_lists_beside_it(mirror: Path) -> None:
    make_lists(mirror, "train")
    assert captions_of(mirror, "train") == {name: CAPTIONS[name] for name in ("b.jpg", "a.jpg")}


def test_mirror_without_lists_asks_for_them_or_a_seed(mirror: Path) -> None:
    with pytest.raises(InputError, match=r"no list Flickr_8k\.trainImages\.txt.*official lists.*split_seed"):
        read_flickr8k(mirror, "train")


def write_mirror(root: Path, names: list[str]) -> None:
    (root / "captions.txt").write_text("image,caption\n" + "".join(f"{name},one\n{name},two\n" for name in names))


@pytest.mark.parametrize("number", [8, 16, 8091])
def test_made_splits_are_disjoint_whole_and_six_to_one_to_one(tmp_path: Path, number: int) -> None:
    names = [f"{i}.jpg" for i in range(number)]
    write_mirror(tmp_path, names)
    splits = [list(captions_of(tmp_path, split, split_seed=7, check_files=False)) for split in ("train", "val", "test")]
    assert sorted(name for split in splits for name in split) == sorted(names)
    assert [len(split) for split in splits[1:]] == [number // 8, number // 8]


def test_random_splits_are_the_same_everywhere(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "captioning.data.readers.flickr8k")
    names = [f"{i}.jpg" for i in range(16)]
    write_mirror(tmp_path, names)
    made = list(captions_of(tmp_path, "val", split_seed=7, check_files=False))
    # The two lowest sha256 sums of "7/0.jpg" to "7/15.jpg", by sha256sum of coreutils 9.1.
    assert made == ["9.jpg", "1.jpg"]
    assert "no official lists; val from split_seed=7 has 2 of 16 images" in caplog.text
    write_mirror(tmp_path, names[::-1])
    assert list(captions_of(tmp_path, "val", split_seed=7, check_files=False)) == made
    assert list(captions_of(tmp_path, "val", split_seed=8, check_files=False)) != made


def test_random_split_leaves_out_names_without_jpg(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "captioning.data.readers.flickr8k")
    names = [f"{i}.jpg" for i in range(8)]
    write_mirror(tmp_path, [*names, "2258277193_586949ec62.jpg.1"])
    splits = [captions_of(tmp_path, split, split_seed=0, check_files=False) for split in ("train", "val", "test")]
    assert sorted(name for split in splits for name in split) == names
    assert "1 names with another suffix than an image's are left out" in caplog.text


@pytest.mark.parametrize("layout", ["official", "mirror"])
@pytest.mark.parametrize("end", ["\r", "\r\n"])
def test_lines_may_end_as_on_any_machine(request: pytest.FixtureRequest, layout: str, end: str) -> None:
    root = request.getfixturevalue(layout)
    make_lists(root, "train", "dev", "test")
    expected = captions_of(root, "train")
    for file in root.glob("*.txt"):
        file.write_bytes(file.read_bytes().replace(b"\n", end.encode()))
    assert captions_of(root, "train") == expected


def test_too_few_images_for_made_splits_are_reported(mirror: Path) -> None:
    with pytest.raises(InputError, match=r"captions\.txt: 4 images, expected at least 8"):
        read_flickr8k(mirror, "train", split_seed=0)


def test_lists_take_precedence_over_a_seed_with_a_warning(official: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert list(captions_of(official, "val", split_seed=3)) == ["c.jpg"]
    assert "is used, and split_seed=3 is ignored" in caplog.text


def test_no_split_is_made_beside_official_lists(official: Path) -> None:
    with pytest.raises(
        InputError, match=r"no list Flickr_8k\.testImages\.txt, only .*train.*dev.*put the official list"
    ):
        read_flickr8k(official, "test", split_seed=3)


def test_folder_without_captions_is_reported_with_where_to_get_them(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"no Flickr8k captions in this folder; expected Flickr8k\.token\.txt.*unpack https://"
    ):
        read_flickr8k(tmp_path, "train")
    with pytest.raises(InputError, match="no such folder; expected"):
        read_flickr8k(tmp_path / "nowhere", "train")


@pytest.mark.parametrize("line", ["a.jpg A dog", "a.jpg\tA dog", "a.jpg#x\tA dog", "a.jpg#0 A dog", "#0\tA dog"])
def test_broken_token_line_is_reported(official: Path, line: str) -> None:
    (official / "Flickr8k.token.txt").write_text(f"b.jpg#0\tfine\n{line}\n")
    with pytest.raises(InputError, match=r"token\.txt:2: expected 'name\.jpg#number<TAB>caption', found '"):
        read_flickr8k(official, "val")


def test_doubled_caption_number_is_reported(official: Path) -> None:
    (official / "Flickr8k.token.txt").write_text("b.jpg#0\tone\nc.jpg#0\tone\nb.jpg#0\ttwo\n")
    with pytest.raises(InputError, match=r"token\.txt:3: a second caption b\.jpg#0; keep one"):
        read_flickr8k(official, "val")


def test_byte_that_is_not_utf8_is_reported(official: Path) -> None:
    (official / "Flickr8k.token.txt").write_bytes(b"a.jpg#0\tfine\nc.jpg#0\tA caf\xe9\n")
    with pytest.raises(InputError, match=r"token\.txt:2: byte 0xe9 is not UTF-8; save the file as UTF-8"):
        read_flickr8k(official, "val")


@pytest.mark.parametrize("text", ["", "a.jpg,A dog\n", "image|picture\na.jpg|A dog\n", "image,file,caption\n"])
def test_mirror_without_header_is_reported(mirror: Path, text: str) -> None:
    (mirror / "captions.txt").write_text(text)
    with pytest.raises(InputError, match=r"captions\.txt:1: expected the header 'image,caption', found '"):
        read_flickr8k(mirror, "train")


def test_unquoted_comma_is_reported(mirror: Path) -> None:
    (mirror / "captions.txt").write_text('image,caption\na.jpg,"one,\ntwo"\nb.jpg,three, four\n')
    with pytest.raises(InputError, match=r"captions\.txt:4: expected the 2 fields .* found 3: .*quotes"):
        read_flickr8k(mirror, "train")


def test_unbalanced_quote_is_reported(mirror: Path) -> None:
    (mirror / "captions.txt").write_text('image,caption\na.jpg,"one\nb.jpg,two\n')
    with pytest.raises(InputError, match=r"captions\.txt:3: broken CSV \(unexpected end of data\)"):
        read_flickr8k(mirror, "train")


def test_doubled_list_entry_is_reported(official: Path) -> None:
    (official / "Flickr_8k.devImages.txt").write_text("a.jpg\nc.jpg\na.jpg\n")
    with pytest.raises(InputError, match=r"devImages\.txt:3: a\.jpg is also in line 1; remove one"):
        read_flickr8k(official, "val")


def test_empty_list_is_reported(official: Path) -> None:
    (official / "Flickr_8k.devImages.txt").write_text("\n")
    with pytest.raises(InputError, match=r"devImages\.txt: empty, expected an image name in each line"):
        read_flickr8k(official, "val")


def test_listed_image_without_caption_is_reported(official: Path) -> None:
    (official / "Flickr_8k.devImages.txt").write_text("a.jpg\nx.jpg\ny.jpg\n")
    with pytest.raises(
        InputError,
        match=r"devImages\.txt:2: x\.jpg has no caption in .*token\.txt \(2 of the 3 listed have none\)",
    ):
        read_flickr8k(official, "val")


def test_empty_caption_is_reported_for_images_of_the_split_only(official: Path) -> None:
    (official / "Flickr8k.token.txt").write_text(TOKENS.replace("A boat", " "))
    assert len(read_flickr8k(official, "train")) == 2
    with pytest.raises(InputError, match=r"token\.txt: 1 of 1 images of val have an empty caption, .*c\.jpg"):
        read_flickr8k(official, "val")


def test_missing_image_is_reported_unless_images_are_not_needed(official: Path) -> None:
    (official / "Images" / "c.jpg").unlink()
    with pytest.raises(InputError, match=r"names 1 images, of which 1 have no file: .*c\.jpg"):
        read_flickr8k(official, "val")
    assert captions_of(official, "val", check_files=False) == {"c.jpg": ["A boat"]}
    assert len(read_flickr8k(official, "train")) == 2  # the other split is whole


@pytest.mark.shared
@pytest.mark.parametrize(("split", "number"), [("train", 6000), ("val", 1000)])
def test_real_data_has_its_published_size(shared: Path, split: str, number: int) -> None:
    images = read_flickr8k(shared / "data" / "flickr8k", split)
    assert len(images) == len({image.image_id for image in images}) == number
    assert all(len(image.captions) == 5 for image in images)
    assert load_image(images[-1].path).size == (224, 224)


@pytest.mark.shared
def test_real_data_says_that_its_test_list_is_not_there(shared: Path) -> None:
    with pytest.raises(InputError, match=r"no list Flickr_8k\.testImages\.txt"):
        read_flickr8k(shared / "data" / "flickr8k", "test")


@pytest.mark.parametrize(
    ("captions", "folder"),
    [
        ("captions.txt", "images"),
        ("Captions.csv", "Images"),
        ("results.csv", "flickr30k_images"),
        ("results.csv", "flickr30k_images/flickr30k_images"),
        ("flickr30k_images/results.csv", "flickr30k_images/flickr30k_images"),
        ("captions.txt", "FLICKER8K_DATASET"),
        ("captions.txt", "Flicker8k_Dataset/Flicker8k_Dataset"),
        ("captions.txt", "."),
    ],
)
def test_mirrors_with_other_names_of_files_and_folders_are_read(tmp_path: Path, captions: str, folder: str) -> None:
    (tmp_path / folder).mkdir(parents=True, exist_ok=True)
    for name in CAPTIONS:
        Image.new("RGB", (4, 3)).save(tmp_path / folder / name)
    (tmp_path / captions).write_text(MIRROR)
    make_lists(tmp_path, "train")
    images = read_flickr8k(tmp_path, "train")
    assert [image.path for image in images] == [tmp_path / folder / name for name in ("b.jpg", "a.jpg")]


def test_suffix_may_be_missing_or_in_another_case(mirror: Path) -> None:
    text = (mirror / "captions.txt").read_text()
    (mirror / "captions.txt").write_text(text.replace("a.jpg", "a").replace("b.jpg", "b.JPG"))
    make_lists(mirror, "train")
    (mirror / "Images" / "a.jpg").rename(mirror / "Images" / "a.JPEG")
    images = read_flickr8k(mirror, "train")
    assert [(image.image_id, image.path.name) for image in images] == [("b.JPG", "b.jpg"), ("a", "a.JPEG")]


def test_captions_of_one_name_with_two_suffixes_stay_apart(tmp_path: Path) -> None:
    (tmp_path / "captions.txt").write_text("image,caption\na.jpg,one\na.png,two\n")
    (tmp_path / "Flickr_8k.trainImages.txt").write_text("a.png\na.jpg\n")
    assert captions_of(tmp_path, "train", check_files=False) == {"a.png": ["two"], "a.jpg": ["one"]}


def test_official_captions_under_the_mirrors_name_are_read(official: Path) -> None:
    (official / "Flickr8k.token.txt").rename(official / "captions.txt")
    assert captions_of(official, "val") == {"c.jpg": ["A boat"]}


@pytest.mark.parametrize("name", ["../secret.png", "/etc/secret.png", "x/../../secret.png"])
def test_names_outside_the_image_folder_are_refused(official: Path, name: str) -> None:
    Image.new("RGB", (4, 3)).save(official / "secret.png")
    (official / "Flickr8k.token.txt").write_text(f"{TOKENS}{name}#0\tA secret\n")
    for check_files in (True, False):
        with pytest.raises(InputError, match="which is not inside"):
            read_flickr8k(official, "val", check_files=check_files)
