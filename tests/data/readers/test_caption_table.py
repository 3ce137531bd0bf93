"""Tables of captions as the mirrors of Flickr8k and Flickr30k write them."""

from __future__ import annotations

from pathlib import Path

import pytest

from captioning.data.readers.caption_table import read_caption_table
from captioning.errors import InputError

FILE = Path("captions.txt")
TWO = {"a.jpg": ("A dog runs", "A cat"), "b.jpg": ("A boat",)}


@pytest.mark.parametrize(
    "text",
    [
        "image,caption\na.jpg,A dog runs\na.jpg,A cat\nb.jpg,A boat\n",
        "image_id,Caption\r\na.jpg,A dog runs\r\na.jpg,A cat\r\nb.jpg,A boat\r\n",
        "image, caption\na.jpg, A dog runs\na.jpg, A cat\nb.jpg, A boat",
        'image, caption\na.jpg, "A dog runs"\na.jpg, A cat\n\nb.jpg, A boat',
        ",Image_Name,comment_number,comment\n0,a.jpg,0,A dog runs\n1,a.jpg,1,A cat\n2,b.jpg,0,A boat\n",
        "image_name| comment_number| comment\na.jpg| 0| A dog runs\na.jpg| 1| A cat\nb.jpg| 0| A boat\n",
        "image_name|comment_number|comment\na.jpg|0|A dog runs\na.jpg|1|A cat\nb.jpg|0|A boat\n",
        "image_name| comment_number| comment\na.jpg| 0| A dog runs\na.jpg| 1   A cat\nb.jpg| 0| A boat\n",
        "filename\ttext\na.jpg\tA dog runs\na.jpg\tA cat\nb.jpg\tA boat\n",
    ],
)
def test_every_form_gives_the_same_captions(text: str) -> None:
    assert read_caption_table(FILE, text) == TWO


def test_last_field_may_contain_the_separator() -> None:
    text = "image_name|comment_number|comment\na.jpg|0|A sign | with a bar"
    assert read_caption_table(FILE, text) == {"a.jpg": ("A sign | with a bar",)}


def test_quotes_are_letters_where_bars_separate() -> None:
    text = 'image|comment\na.jpg|"Stop" is written'
    assert read_caption_table(FILE, text) == {"a.jpg": ('"Stop" is written',)}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image_name| comment_number| comment\na.jpg| 0| A dog\na.jpg\n", r"captions\.txt:3: expected the 3 fields"),
        ("image_name|comment\na.jpg| 4 A dog| x\nb.jpg\n", r"captions\.txt:3: expected the 2 fields"),
        ('image,caption\na.jpg,"A dog\n', r"captions\.txt:2: broken CSV"),
        ("image,image_name,caption\n", r"captions\.txt:1: expected the header 'image,caption'"),
        ("x" * 100_000, r"captions\.txt:1: expected the header .{1,150}$"),
        ("image,caption\na.jpg,b," + "\x1b" * 100_000, r"^[ -~]{1,300}$"),
    ],
)
def test_broken_tables_are_reported_by_line(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_caption_table(FILE, text)
