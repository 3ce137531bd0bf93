"""The options of searches, and --model, in every command that searches; on models of an earlier version."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from captioning import Captioner
from captioning.model.caption import Caption
from captioning.search import BeamSearch, GreedySearch, Sampling
from captioning.search.options import with_options

Command = Callable[..., Any]
FIXTURES = Path(__file__).parents[1] / "fixtures"
IMAGES = sorted((FIXTURES / "images").glob("*.png"))
MODEL, TRANSLATOR, LANGUAGE = (FIXTURES / kind / "bundle" for kind in ("finetuned", "translator", "language_model"))
TEXT = "Ein Hund rennt."


@pytest.fixture(scope="module")
def captioner() -> Captioner:
    return Captioner.from_pretrained(MODEL).pack()  # as the command does


def lines(ran: Any) -> list[dict[str, Any]]:
    assert ran.status == 0, ran.err
    return [json.loads(line) for line in ran.out.splitlines()]


def words_of(caption: Caption) -> list[dict[str, Any]]:
    found = []
    for word in caption.words:
        others = [{"text": other.text, "log_prob": other.log_prob} for other in word.runners_up]
        found.append({"text": word.text, "log_prob": word.log_prob} | ({"runners_up": others} if others else {}))
    return found


def test_json_holds_alternatives_words_and_runners_up_as_python_does(command: Command, captioner: Captioner) -> None:
    ran = command("caption", *IMAGES, "--model", MODEL, "--num-best", 3, "--runners-up", 2, "--json")
    expected = captioner.caption(IMAGES, num_best=3, runners_up=2)
    for line, caption in zip(lines(ran), expected, strict=True):
        assert (line["caption"], line["score"], line["finished"]) == (caption.text, caption.score, caption.finished)
        assert line["words"] == words_of(caption)
        assert line["alternatives"] == [
            {"text": own.text, "score": own.score, "finished": own.finished, "words": words_of(own)}
            for own in caption.alternatives
        ]


def test_alternatives_and_runners_up_are_printed_with_scores(command: Command, captioner: Captioner) -> None:
    plain = command("caption", IMAGES[0], "--model", MODEL, "--num-best", 2)
    caption = captioner.caption(IMAGES[0], num_best=2, runners_up=1)
    every = (caption, *caption.alternatives)
    assert plain.out == "".join(f"{IMAGES[0]}: {own.text} ({own.score:.2f})\n" for own in every)
    ran = command("caption", IMAGES[0], "--model", MODEL, "--runners-up", 1).out.splitlines()
    first = caption.words[0]
    assert (
        ran[1]
        == f"  {first.text} {first.log_prob:.2f}  ({first.runners_up[0].text} {first.runners_up[0].log_prob:.2f})"
    )
    assert len(ran) == 1 + len(caption.words)


def test_fewer_captions_than_asked_for_are_reported(command: Command) -> None:
    ran = command(
        "caption", *IMAGES, "--model", MODEL, "--num-samples", 9, "--temperature", 0.01, "--max-length", 2, "--json"
    )
    assert len(lines(ran)[0]["alternatives"]) < 8
    assert f"{len(IMAGES)} of {len(IMAGES)} images have fewer than 9 different captions\n" in ran.err


@pytest.mark.parametrize(
    ("options", "changes"),
    [
        (["--beam-size", 2], {"beam_size": 2}),
        (["--temperature", 0.5, "--seed", 3, "--top-k", 9], {"temperature": 0.5, "seed": 3, "top_k": 9}),
        (["--top-p", 0.8, "--num-samples", 2], {"top_p": 0.8, "num_samples": 2}),
        (["--min-length", 9, "--max-length", 13], {"min_length": 9, "max_length": 13}),
        (["--allow-unknown"], {"allow_unknown": True}),
        (["--banned", "tree", "grass", "--banned", "a"], {"banned": ["tree", "grass", "a"]}),
        (["--length-normalization", 1.0], {"length_normalization": 1.0}),
    ],
)  # fmt: skip
def test_options_are_those_of_python(
    command: Command, captioner: Captioner, options: list[Any], changes: dict[str, Any]
) -> None:
    ran = command("caption", *IMAGES, "--model", MODEL, "--json", *options)
    found = captioner.caption(IMAGES, **changes)
    assert [(line["caption"], line["score"]) for line in lines(ran)] == [(c.text, c.score) for c in found]


@pytest.mark.parametrize(
    ("given", "search"),
    [
        (["greedy"], GreedySearch(max_length=12)),
        (["sampling", "temperature=0.5", "seed=3"], Sampling(temperature=0.5, seed=3, max_length=12)),
        (["beam", "beam_size=2", "max_length=4"], BeamSearch(beam_size=2, max_length=4)),
    ],
)
def test_every_search_can_be_named_with_its_settings(
    command: Command, captioner: Captioner, given: list[str], search: Any
) -> None:
    ran = command("caption", *IMAGES, "--model", MODEL, "--json", "--search", *given)
    assert captioner.search.max_length == 12
    assert [line["score"] for line in lines(ran)] == [c.score for c in captioner.caption(IMAGES, search=search)]


def test_translate_and_generate_take_the_same_options(command: Command) -> None:
    translator, language = Captioner.from_pretrained(TRANSLATOR), Captioner.from_pretrained(LANGUAGE)
    ran = command("translate", TEXT, "--model", TRANSLATOR, "--num-best", 2, "--json")
    found = translator.translate(TEXT, num_best=2)
    assert lines(ran)[0]["words"] == words_of(found)
    assert [own["text"] for own in lines(ran)[0]["alternatives"]] == [own.text for own in found.alternatives]
    plain = command("translate", TEXT, "--model", TRANSLATOR, "--num-best", 2)
    assert plain.out == "".join(f"{own.text} ({own.score:.2f})\n" for own in (found, *found.alternatives))

    three = command("generate", "--model", LANGUAGE, "--num-best", 3)
    assert three.out == command("generate", "--model", LANGUAGE, "--num-samples", 3).out
    assert len(three.out.splitlines()) == 3
    searched = command("generate", "--model", LANGUAGE, "--beam-size", 4, "--num-best", 2).out.splitlines()
    search = with_options(language.search, language.tokenizer, beam_size=4, num_best=2)
    assert isinstance(search, BeamSearch)
    assert len(searched) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--num-beams", "3"], "--num-beams is called --beam-size here"),
        (["--num_return_sequences=3"], "--num_return_sequences is called --num-best here"),
        (["--beam_size", "3"], "--beam_size is called --beam-size here"),
        (["--max-new-tokens", "3"], "--max-new-tokens is called --max-length here"),
        (["--checkpoint", "x"], "--checkpoint is called --model here"),
        (["--beam-sise", "3"], "did you mean --beam-size?"),
        (["--beam", "3"], "--beam is called --beam-size here"),
    ],
)
@pytest.mark.parametrize("name", ["caption", "translate", "generate"])
def test_names_of_other_libraries_are_answered(command: Command, name: str, options: list[str], message: str) -> None:
    ran = command(name, *options)
    assert ran.status == 2
    assert message in ran.err.splitlines()[-1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--beam-size", "3", "--temperature", "1"], "--beam-size and --temperature exclude each other"),
        (["--min-length", "9", "--max-length", "9"], "--min-length=9 must be below --max-length=9"),
        (["--num-best", "5", "--beam-size", "2"], "--num-best=5 is above --beam-size=2"),
        (["--banned", "tre"], "--banned: 'tre' is not among the"),
        (["--search", "beem"], "did you mean 'beam'?"),
        (["--search", "beam", "num_beams=3"], "search.num_beams is called search.beam_size here"),
        (["--search", "beam", "cat.jpg"], "found 'cat.jpg'; give --search last"),
        (["--search", "greedy", "--beam-size", "3"], "--beam-size: GreedySearch has no such setting"),
        (["--search", "greedy", "--num-best", "3"], "--num-best=3: GreedySearch finds one caption of each image"),
    ],
)
def test_options_that_do_not_fit_are_named(command: Command, options: list[str], message: str) -> None:
    assert message in command("caption", IMAGES[0], "--model", MODEL, *options).message


@pytest.mark.parametrize("where", ["bundle", "run", "checkpoint"])
def test_a_bundle_a_run_and_a_checkpoint_are_models(command: Command, where: str, tmp_path: Path) -> None:
    shutil.copytree(MODEL, tmp_path / "bundle")
    places = {"bundle": tmp_path / "bundle", "run": tmp_path, "checkpoint": FIXTURES / "finetuned" / "last.ckpt"}
    ran = command("caption", IMAGES[0], "--model", places[where])
    assert (ran.status, ran.err) == (0, "")
    assert ran.out.startswith(f"{IMAGES[0]}: ")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (["caption", MODEL, "a b.jpg", "--json"], f"captioning caption 'a b.jpg' --json --model {MODEL}"),
        (["translate", TRANSLATOR, "Hallo"], f"captioning translate Hallo --model {TRANSLATOR}"),
        (["generate", LANGUAGE, "--seed", "3"], f"captioning generate --seed 3 --model {LANGUAGE}"),
        (["caption", "runs/x.ckpt", "a.jpg"], "captioning caption a.jpg --model runs/x.ckpt"),
    ],
)
def test_an_old_call_is_answered_with_the_new_one(command: Command, old: list[Any], new: str) -> None:
    ran = command(*old)
    assert ran.status == 2
    assert ran.err.splitlines()[-1].endswith(f"error: the model has its own option now: {new}")


@pytest.mark.parametrize("arguments", [["translate"], ["generate"]])
def test_a_call_without_a_model_says_what_it_is(command: Command, arguments: list[str]) -> None:
    ran = command(*arguments)
    assert ran.status == 2
    assert "--model WHERE is missing: a bundle, the folder of a run, or a run's checkpoint" in ran.err


def stdin(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))


def test_an_image_is_read_from_standard_input(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = [line["caption"] for line in lines(command("caption", *IMAGES[:2], "--model", MODEL, "--json"))]
    stdin(monkeypatch, IMAGES[0].read_bytes())
    found = lines(command("caption", "-", IMAGES[1], "--model", MODEL, "--json"))
    assert [line["image"] for line in found] == ["-", str(IMAGES[1])]
    assert [line["caption"] for line in found] == expected


def test_a_standard_input_that_is_no_image_is_reported(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    stdin(monkeypatch, b"no image")
    message = command("caption", "-", "--model", MODEL).message
    assert message.startswith("captioning caption: standard input: not an image")
