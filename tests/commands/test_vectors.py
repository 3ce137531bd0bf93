"""captioning vectors learns from text and training captions, and training starts from its vectors."""

from __future__ import annotations

import gzip
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from captioning import Captioner
from captioning.commands.vectors import read_sentences
from captioning.text.word_vectors import WordVectors

Command = Callable[..., Any]
TEXT = "A dog runs.\nA cat sleeps!\n\nthe dog sleeps\nthe cat runs\n" * 3
FAST = ("--size", "6", "--epochs", "2", "--min-count", "2")


@pytest.fixture
def text(tmp_path: Path) -> Path:
    (tmp_path / "text.txt").write_text(TEXT)
    return tmp_path / "text.txt"


# ---- reading ------------------------------------------------------------------------------------------------------


def write_flickr8k(root: Path) -> None:
    captions = {"a.jpg": ["a dog", "the dog"], "b.jpg": ["a cat", "no peeking"]}
    lines = [f"{name}#{i}\t{caption}\n" for name, group in captions.items() for i, caption in enumerate(group)]
    (root / "Flickr8k.token.txt").write_text("".join(lines))
    (root / "Flickr_8k.trainImages.txt").write_text("a.jpg\n")
    (root / "Flickr_8k.devImages.txt").write_text("b.jpg\n")


def write_karpathy(path: Path) -> None:
    splits = {"train": "a dog", "restval": "the dog", "val": "no", "test": "peeking"}
    images = [
        {"filename": f"{split}.jpg", "split": split, "sentences": [{"raw": text, "tokens": []}]}
        for split, text in splits.items()
    ]
    path.write_text(json.dumps({"images": images}))


def test_only_the_training_split_of_a_data_set_is_read(tmp_path: Path) -> None:
    write_flickr8k(tmp_path)
    write_karpathy(tmp_path / "dataset.json")
    for path in (tmp_path, tmp_path / "dataset.json"):
        assert list(read_sentences(path)) == ["a dog", "the dog"]


def test_coco_s_captions_and_plain_mappings_are_read(tmp_path: Path, scenes: Path) -> None:
    (tmp_path / "own.json").write_text(json.dumps({"1": ["a dog", "the dog"], "2": ["a cat"]}))
    assert list(read_sentences(tmp_path / "own.json")) == ["a dog", "the dog", "a cat"]
    assert len(list(read_sentences(scenes / "annotations" / "captions_train2017.json"))) == 24 * 5


def test_text_may_be_gzipped(tmp_path: Path, text: Path) -> None:
    (tmp_path / "text.txt.gz").write_bytes(gzip.compress(TEXT.encode()))
    assert list(read_sentences(tmp_path / "text.txt.gz")) == list(read_sentences(text))
    assert len(list(read_sentences(text))) == 4 * 3


# ---- the command ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("objective", "loss", "name"), [("negative", 6 * math.log(2), "v.npz"), ("softmax", math.log(6), "v.vec")]
)
def test_vectors_are_learned_written_and_printed(
    command: Command, text: Path, tmp_path: Path, objective: str, loss: float, name: str
) -> None:
    options = (*FAST, "--objective", objective, "--neighbours", "dog, cat")
    ran = command("vectors", text, tmp_path / name, *options)
    assert (ran.status, ran.err) == (0, "")
    found = WordVectors.read(tmp_path / name)
    assert found.words == ["a", "cat", "dog", "runs", "sleeps", "the"]
    assert found.vectors.shape == (6, 6)
    assert "6 words in 12 sentences" in ran.out
    assert f"epoch 1 of 2: loss {loss:.3f}" in ran.out  # untrained: a word and five negatives, or six words
    assert "epoch 2 of 2: loss" in ran.out
    nearest, cosine = found.neighbours("dog", 1)[0]
    assert f"{nearest} {cosine:.2f}, " in ran.out
    assert command("vectors", text, tmp_path / f"again-{name}", *options).status == 0
    assert (tmp_path / f"again-{name}").read_bytes() == (tmp_path / name).read_bytes()
    assert command("vectors", text, tmp_path / f"other-{name}", *options, "--seed", "1").status == 0
    assert (tmp_path / f"other-{name}").read_bytes() != (tmp_path / name).read_bytes()


def test_several_texts_are_joined(command: Command, text: Path, tmp_path: Path) -> None:
    (tmp_path / "own.json").write_text(json.dumps({"1": ["zebras sleep", "zebras run"]}))
    assert command("vectors", text, tmp_path / "own.json", tmp_path / "v.npz", *FAST).status == 0
    assert "zebras" in WordVectors.read(tmp_path / "v.npz").words


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("text.txt", "nowhere.txt", "v.npz"), "nowhere.txt: cannot be read (No such file"),
        (("nowhere.json", "v.npz"), "nowhere.json: cannot be read (No such file"),
        (("empty", "v.npz"), "no Flickr8k captions in this folder"),
        (("list.json", "v.npz"), "expected references"),
        (("latin.txt", "v.npz"), "latin.txt:1: byte 0xe9 is not UTF-8"),
        (("Flickr8k.token.txt", "v.npz"), "all splits of Flickr8k ('a.jpg#0\\ta dog'); give its folder"),
        (("captions.txt", "v.npz"), "all splits of Flickr8k ('image,caption'); give its folder"),
        (("text.txt", "text.txt"), "expected the output file last, with a name that ends in .npz, .vec or .vec.gz"),
        (("text.txt", "no/v.npz"), "no such folder to write v.npz to"),
        (("text.txt", "v.npz", "--min-count", "99"), "no word occurs 99 times in the 12 sentences of text.txt; lower"),
        (("text.txt", "v.npz", "--neighbours", "dog,Cow"), "--neighbours Cow: not among the 6 frequent words"),
        (("words.txt", "v.npz", "--min-count", "1"), "no sentence has two frequent words"),
    ],
)
def test_a_mistake_gives_one_message_before_any_work(
    command: Command, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "list.json").write_text("[]")
    (tmp_path / "latin.txt").write_bytes("café\n".encode("latin-1"))
    (tmp_path / "Flickr8k.token.txt").write_text("a.jpg#0\ta dog\n")
    (tmp_path / "captions.txt").write_text("image,caption\na.jpg,a dog\n")
    (tmp_path / "words.txt").write_text("dog\ncat\n")
    ran = command("vectors", *arguments, *(() if "--min-count" in arguments else FAST))
    assert message in ran.message
    assert text.read_text() == TEXT
    assert not list(tmp_path.glob("*.npz"))


@pytest.mark.shared
def test_neighbours_on_flickr8k_are_similar_words(command: Command, shared: Path, tmp_path: Path) -> None:
    assert command("vectors", shared / "data" / "flickr8k", tmp_path / "v.npz", "--epochs", "3").status == 0
    vectors = WordVectors.read(tmp_path / "v.npz")
    assert len(vectors) == 2538  # the vocabulary of a captioner with the default min_count
    for word, kind in {
        "two": {"three", "four", "five", "several"},
        "red": {"blue", "yellow", "purple", "green", "pink"},
        "dog": {"puppy", "poodle", "lab", "retriever", "labrador"},
    }.items():
        assert {other for other, _ in vectors.neighbours(word, 3)} <= kind


# ---- training -------------------------------------------------------------------------------------------------


def test_a_run_starts_from_vectors_and_its_bundle_does_not_need_them(
    command: Command, train: Command, scenes: Path, tmp_path: Path
) -> None:
    vectors, run = tmp_path / "the_vectors.npz", tmp_path / "run"
    captions = scenes / "annotations" / "captions_train2017.json"
    assert command("vectors", captions, vectors, "--size", "10", "--epochs", "1").status == 0
    settings = ("finetuning=whole", f"embeddings={vectors}", "freeze_embeddings=true")
    assert train(run, *settings).status == 0
    assert f"words start from {vectors}, frozen" in (run / "train.log").read_text()
    given, vocabulary = WordVectors.read(vectors), Captioner.from_pretrained(run / "bundle").tokenizer.vocabulary
    start = load_file(run / "bundle" / "model.safetensors")["decoder.embedding.weight"]
    rows = start[[vocabulary.index(word) for word in given.words]]
    cosines = torch.nn.functional.cosine_similarity(rows, torch.from_numpy(given.vectors))
    torch.testing.assert_close(cosines, torch.ones(len(given)))
    for file in (run / "bundle").iterdir():
        assert b"the_vectors" not in file.read_bytes()

    shutil.rmtree(run / "bundle")  # as after an interruption
    resumed = train(run, *settings, "trainer.max_epochs=2", f"checkpoint={run}/checkpoints/last.ckpt")
    assert resumed.status == 0, resumed.err
    assert torch.equal(load_file(run / "bundle" / "model.safetensors")["decoder.embedding.weight"], start)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["embeddings=nowhere.npz"], "nowhere.npz: cannot be read (No such file"),
        (["embeddings=6"], "6: cannot be read (No such file"),
        (["embeddings=v.vec"], "v.vec: the vectors are 2 wide and the decoder's embeddings 10; set"),
        (["freeze_embeddings=true"], "freeze_embeddings=True: expected false, or true beside embeddings=FILE"),
        (["embeddings=v.vec", "freeze_embeddings=3"], "freeze_embeddings=3: expected false, or true"),
    ],
)
def test_unusable_vectors_are_reported_before_training(
    train: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overrides: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "v.vec").write_text("the 1 2\na 3 4\n")
    assert message in train(tmp_path / "run", "finetuning=whole", *overrides).message
