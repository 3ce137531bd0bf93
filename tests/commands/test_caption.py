"""captioning caption: files, folders and globs, what cannot be read, and the model's own captions."""

from __future__ import annotations

import gc
import io
import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hydra.utils import instantiate
from PIL import Image
from safetensors.torch import load_file, save_file

from captioning import Captioner
from captioning.commands import main
from captioning.files.digests import write_digests
from captioning.search import BeamSearch, GreedySearch, Sampling
from captioning.search.hypotheses import Search
from captioning.text import Tokenizer

Command = Callable[..., Any]


@pytest.fixture
def image_files(scenes: Path, tmp_path: Path) -> list[Path]:
    """Three images in a folder, beside a file that is none."""
    (tmp_path / "photos").mkdir()
    found = [Path(shutil.copy(path, tmp_path / "photos")) for path in sorted((scenes / "test2017").glob("*.jpg"))[:3]]
    (tmp_path / "photos" / "notes.txt").write_text("not an image")
    return found


def lines(ran: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in ran.out.splitlines()]


def test_files_folders_and_globs_give_the_same_captions_as_python(
    command: Command, bundle: Path, image_files: list[Path]
) -> None:
    expected = [
        {
            "image": str(path),
            "caption": caption.text,
            "score": caption.score,
            "finished": caption.finished,
            "words": [{"text": word.text, "log_prob": word.log_prob} for word in caption.words],
        }
        for path, caption in zip(image_files, Captioner.from_pretrained(bundle).caption(image_files), strict=True)
    ]
    folder = image_files[0].parent
    for named in (image_files, [folder], [folder / "*.jpg"], [image_files[0], folder]):
        ran = command("caption", "--model", bundle, *named, "--json")
        assert (ran.status, lines(ran)) == (0, expected)
    plain = command("caption", "--model", bundle, folder, "--batch-size", "2")
    assert plain.out == "".join(f"{line['image']}: {line['caption']}\n" for line in expected)


def test_a_caption_with_line_ends_is_printed_in_one_line(
    command: Command, bundle: Path, image_files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "a dog\nand\r\na cat"
    monkeypatch.setattr(Tokenizer, "decode", lambda self, ids: text)
    path = image_files[0]
    assert command("caption", path, "--model", bundle).out == f"{path}: a dog and a cat\n"
    assert lines(command("caption", "--model", bundle, path, "--json"))[0]["caption"] == text


def test_truncated_captions_are_counted(
    command: Command, bundle: Path, image_files: list[Path], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(bundle, tmp_path / "ending"))
    weights = load_file(folder / "model.safetensors")
    eos = Captioner.from_pretrained(bundle).tokenizer.special.eos
    for bias, message in ((-1000, "captioning caption: 3 of 3 captions were truncated at 6 tokens\n"), (1000, "")):
        weights["decoder.head.bias"][eos] = bias
        save_file(weights, folder / "model.safetensors")
        write_digests(folder)
        ran = command("caption", "--model", folder, *image_files, "--json", "--batch-size", "2")
        assert (ran.status, ran.err) == (0, message)
        assert [line["finished"] for line in lines(ran)] == [not message] * 3


@pytest.fixture
def normalised(bundle: Path, image_files: list[Path], tmp_path: Path) -> Path:
    """The bundle with a decoder that soon ends, and a search that prefers long captions without its favourite words."""
    folder = Path(shutil.copytree(bundle, tmp_path / "normalised"))
    weights = load_file(folder / "model.safetensors")
    weights["decoder.head.bias"][Captioner.from_pretrained(bundle).tokenizer.special.eos] += 3
    save_file(weights, folder / "model.safetensors")
    config = json.loads((folder / "config.json").read_text())
    forbid: dict[str, Any] = {"_target_": "captioning.search.Forbid", "ids": []}
    config["search"] |= {"length_normalization": 3.0, "processors": [forbid]}
    (folder / "config.json").write_text(json.dumps(config))
    write_digests(folder)
    captioner = Captioner.from_pretrained(folder)
    texts = [caption.text for caption in captioner.caption(image_files)]
    words = {word for ids in captioner.tokenizer.encode(texts) for word in ids[1:-1]}
    config["search"]["processors"] = [forbid | {"ids": sorted(words)}]
    (folder / "config.json").write_text(json.dumps(config))
    write_digests(folder)
    return folder


def test_the_decoder_may_have_another_precision(command: Command, bundle: Path, image_files: list[Path]) -> None:
    expected = Captioner.from_pretrained(bundle).decode_in("bfloat16").caption(image_files)
    assert [caption.score for caption in expected] != [
        caption.score for caption in Captioner.from_pretrained(bundle).caption(image_files)
    ]
    ran = command("caption", *image_files, "--model", bundle, "--dtype", "bfloat16", "--json")
    assert [line["score"] for line in lines(ran)] == [caption.score for caption in expected]
    assert "dtype=int8 must be" in command("caption", *image_files, "--model", bundle, "--dtype", "int8").message


def test_beam_size_keeps_all_else_of_the_bundle_s_search_and_1_is_greedy(
    command: Command, normalised: Path, image_files: list[Path]
) -> None:
    captioner = Captioner.from_pretrained(normalised)
    kept: dict[str, Any] = {"max_length": captioner.search.max_length, "processors": captioner.search.processors}

    def scores(search: Search) -> list[float]:
        return [caption.score for caption in captioner.caption(image_files, search=search)]

    greedy, beam = GreedySearch(**kept), BeamSearch(beam_size=7, length_normalization=3.0, **kept)
    for size, search in ((1, greedy), (7, beam)):
        ran = command("caption", "--model", normalised, *image_files, "--beam-size", size, "--json")
        assert [line["score"] for line in lines(ran)] == scores(search)
    # Each of these shows in the scores.
    assert scores(beam) != scores(BeamSearch(beam_size=7, **kept))
    assert scores(greedy) != scores(BeamSearch(beam_size=1, length_normalization=3.0, **kept))
    assert scores(beam) != scores(BeamSearch(beam_size=7, length_normalization=3.0, max_length=kept["max_length"]))


def test_temperature_draws_and_keeps_all_else_of_the_bundle_s_search(
    command: Command, normalised: Path, image_files: list[Path]
) -> None:
    captioner = Captioner.from_pretrained(normalised)
    own = captioner.search
    for seed, options in ((1, []), (5, ["--seed", "5"])):
        search = Sampling(temperature=1.5, seed=seed, max_length=own.max_length, processors=own.processors)
        expected = [caption.score for caption in captioner.caption(image_files, search=search)]
        for size in (1, 3):
            given = ("--temperature", 1.5, *options, "--json", "--batch-size", size)
            drawn = command("caption", "--model", normalised, *image_files, *given)
            assert [line["score"] for line in lines(drawn)] == pytest.approx(expected, abs=1e-5)


def test_a_file_s_name_that_is_no_text_is_printed_escaped(
    bundle: Path, image_files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    odd = image_files[0].rename(os.fsdecode(os.fsencode(image_files[0].parent) + b"/\xff.jpg"))
    for options in ((), ("--json",)):
        out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
        monkeypatch.setattr(sys, "stdout", out)
        assert main(["caption", "--model", str(bundle), str(odd), *options]) == 0
        assert "/\\udcff.jpg" in out.buffer.getvalue().decode()  # type: ignore[attr-defined]
    assert json.loads(out.buffer.getvalue())["image"] == str(odd)  # type: ignore[attr-defined]


def test_what_cannot_be_read_is_reported_and_the_others_are_captioned(
    command: Command, bundle: Path, image_files: list[Path]
) -> None:
    image_files[1].write_bytes(image_files[1].read_bytes()[:200])
    missing = image_files[0].with_name("missing.jpg")
    ran = command("caption", "--model", bundle, missing, *image_files, "--json", "--batch-size", "1")
    assert ran.status == 1
    assert [line["image"] for line in lines(ran)] == [str(image_files[0]), str(image_files[2])]
    assert f"{missing}: no such file or folder" in ran.message
    assert image_files[1].name in ran.message


def test_no_image_at_all_is_reported_before_the_model_is_read(command: Command, tmp_path: Path) -> None:
    assert "no image in this folder" in command("caption", "--model", tmp_path / "no bundle", tmp_path).message


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (["--beam-size", "0"], "expected a whole number from 1, found '0'"),
        (["--batch-size", "many"], "'many'"),
    ],
)
def test_an_impossible_option_is_reported(
    command: Command, bundle: Path, image_files: list[Path], option: list[str], message: str
) -> None:
    ran = command("caption", "--model", bundle, *image_files, *option)
    assert ran.status == 2
    assert message in ran.err


def test_a_missing_bundle_an_impossible_device_and_no_temperature_are_reported(
    command: Command, bundle: Path, image_files: list[Path], tmp_path: Path
) -> None:
    assert "nowhere does not exist" in command("caption", "--model", tmp_path / "nowhere", *image_files).message
    assert "is no bundle" in command("caption", "--model", tmp_path, *image_files).message
    assert (
        "config.json is a file; expected a bundle"
        in command("caption", "--model", bundle / "config.json", *image_files).message
    )
    assert "use greedy search" in command("caption", "--model", bundle, *image_files, "--temperature", "0").message
    assert "--device abacus" in command("caption", "--model", bundle, *image_files, "--device", "abacus").message


@pytest.fixture
def attentive_bundle(tmp_path: Path, tokenizer: Tokenizer) -> Path:
    """A bundle whose decoder attends, with random weights."""
    config: dict[str, Any] = {
        "encoder": {
            "_target_": "captioning.encoders.SmallCNN",
            "size": [32, 32],
            "channels": [8, 8],
            "grid": True,
        },
        "decoder": {
            "_target_": "captioning.decoders.ShowAttendAndTell",
            "feature_size": 8 + 8 + 5,
            "vocab_size": len(tokenizer),
            "phi": {"_target_": "captioning.decoders.Soft"},
            "hidden_size": 12,
            "embedding_size": 10,
            "attention_size": 8,
        },
        "search": {"_target_": "captioning.search.BeamSearch", "max_length": 6},
    }
    parts = {key: instantiate(part) for key, part in config.items()}
    captioner = Captioner(parts["encoder"], parts["decoder"], tokenizer, search=parts["search"], config=config)
    return captioner.save(tmp_path / "attentive")


def test_attention_is_drawn_for_each_image_and_overwrites_nothing(
    command: Command, attentive_bundle: Path, image_files: list[Path], tmp_path: Path
) -> None:
    plain = command("caption", "--model", attentive_bundle, *image_files)
    for _ in range(2):
        ran = command("caption", "--model", attentive_bundle, *image_files, "--attention", tmp_path / "maps")
        assert (ran.status, ran.out) == (0, plain.out)
    stems = [path.stem for path in image_files]
    assert sorted(path.stem for path in (tmp_path / "maps").iterdir()) == sorted([*stems, *(f"{s}-2" for s in stems)])


def test_a_model_without_attention_draws_nothing(
    command: Command, bundle: Path, image_files: list[Path], tmp_path: Path
) -> None:
    message = command("caption", "--model", bundle, *image_files, "--attention", tmp_path / "maps").message
    assert "need an attentive decoder" in message


def test_one_broken_image_alone_makes_the_command_fail(command: Command, bundle: Path, image_files: list[Path]) -> None:
    image_files[1].write_bytes(image_files[1].read_bytes()[:200])
    ran = command("caption", "--model", bundle, *image_files, "--batch-size", "2")
    assert ran.status == 1
    assert image_files[1].name in ran.err


def test_garbage_is_collected_again_once_the_model_is_loaded(
    command: Command, bundle: Path, image_files: list[Path]
) -> None:
    assert command("caption", "--model", bundle, image_files[0]).status == 0
    assert gc.isenabled()


def test_names_with_line_ends_and_escape_sequences_are_printed_in_one_harmless_line(
    command: Command, bundle: Path, image_files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Tokenizer, "decode", lambda self, ids: "a \x1b]0;dog\x07")
    odd = image_files[0].rename(image_files[0].with_name("a\x1b[2J\n\x9b31m.jpg"))
    broken = odd.with_name("b\x1b[2J\n.jpg")
    broken.write_bytes(b"no image")
    plain = command("caption", "--model", bundle, odd, broken)
    assert plain.out == f"{odd.parent}/a\\x1b[2J\\n\\x9b31m.jpg: a \\x1b]0;dog\\x07\n"
    assert "/b\\x1b[2J\\n.jpg: not an image" in plain.err
    assert all(line.isprintable() for line in plain.err.splitlines())
    ran = command("caption", "--model", bundle, odd, "--json")
    assert ran.out.removesuffix("\n").isprintable()
    assert lines(ran)[0]["image"] == str(odd)


def test_what_a_folder_holds_besides_images_is_counted(command: Command, bundle: Path, image_files: list[Path]) -> None:
    folder = image_files[0].parent
    os.mkfifo(folder / "pipe.jpg")
    (folder / "deeper").mkdir()
    (folder / "phone.HEIC").write_bytes(b"\0\0\0\x1cftypheic\0\0\0\0mif1heic")
    ran = command("caption", "--model", bundle, folder, "--json")
    assert ran.status == 1  # the HEIC file is broken
    assert len(lines(ran)) == 3
    assert "skipped 1 other files, 1 pipes, sockets or devices, 1 subfolders" in ran.err
    assert "phone.HEIC" in ran.err


def test_images_are_captioned_by_the_package_s_model_if_none_is_named(command: Command, tmp_path: Path) -> None:
    Image.new("RGB", (320, 200), "green").save(tmp_path / "green.png")
    named, unnamed = (command("caption", tmp_path / "green.png", *model) for model in (("--model", "flickr8k"), ()))
    assert (unnamed.status, unnamed.out) == (0, named.out)
    assert unnamed.out.startswith(f"{tmp_path / 'green.png'}: ")
