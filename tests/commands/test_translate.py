"""captioning translate, and the whole way from parallel text to a bundle that translates."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from PIL import Image

from captioning import Captioner
from captioning.errors import InputError
from captioning.model.captioner import Caption

Command = Callable[..., Any]
UNSEEN = ("Größe", "Size")
GERMAN = ["Ein Hund rennt.", "Ein Hund schläft.", "Zwei Hunde rennen.", "Zwei Männer reden.", "Ein Mann rennt."] * 4
ENGLISH = ["A dog runs.", "A dog sleeps.", "Two dogs run.", "Two men talk.", "A man runs."] * 4
SMALL = (
    "encoder.embedding_size=8",
    "encoder.hidden_size=12",
    "decoder.embedding_size=8",
    "decoder.hidden_size=12",
    "text.min_count=1",
    "source_text.min_count=1",
    "search.max_length=6",
    "trainer.max_epochs=1",
    "trainer.accelerator=cpu",
    "trainer.precision=32-true",
    "trainer.log_every_n_steps=1",
    "+trainer.enable_progress_bar=false",
    "callbacks.progress=null",
    "logger=csv",
)


@pytest.fixture(scope="module")
def text_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("text")
    for split, count in (("train", 20), ("val", 5)):
        german, english = [*GERMAN[:count]], [*ENGLISH[:count]]
        if split == "val":  # letters that are not in the training split
            german, english = [*german, UNSEEN[0]], [*english, UNSEEN[1]]
        (root / f"{split}.de").write_text("\n".join(german) + "\n", encoding="utf-8")
        (root / f"{split}.en").write_text("\n".join(english) + "\n", encoding="utf-8")
    return root


@pytest.fixture(scope="module")
def translator(command: Command, text_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of a small Bahdanau."""
    folder = tmp_path_factory.mktemp("runs") / "de-en"
    ran = command(
        "train", "experiment=multi30k/bahdanau", f"data.root={text_root}", *SMALL, "decoder.attention_size=8",
        "decoder.maxout_size=8", f"output={folder}",
    )  # fmt: skip
    assert ran.status == 0, ran.err
    return folder


def test_a_run_is_scored_as_translations_are(translator: Path) -> None:
    metrics = json.loads((translator / "metrics.json").read_text())
    assert list(metrics["metrics"]) == ["sacreBLEU"]
    assert metrics["signature"]["sacrebleu"].startswith("nrefs:1|case:mixed")
    assert metrics["signature"]["data"] == "multi30k-de-en"
    config = yaml.safe_load((translator / ".hydra" / "config.yaml").read_text())
    assert config["callbacks"]["checkpoint"]["monitor"] == "val/${metrics.monitor}"


def test_a_bundle_translates_sentence_by_sentence_and_in_batches(command: Command, translator: Path) -> None:
    model = Captioner.from_pretrained(translator / "bundle")
    expected = [found.text for found in model.translate(GERMAN[:5])]
    assert [found.text for found in model.translate(GERMAN[:5], batch_size=2)] == expected
    ran = command("translate", "--model", translator / "bundle", *GERMAN[:5], "--batch-size", "3")
    assert (ran.status, ran.out.splitlines()) == (0, expected)
    captions = {row["image_id"]: row["caption"] for row in json.loads((translator / "captions.json").read_text())}
    assert list(captions.values())[:5] == expected
    assert model.translate(GERMAN[0]).text == expected[0]
    assert 'translate("A sentence.")' in (translator / "bundle" / "README.md").read_text()


def test_the_source_s_vocabulary_comes_from_the_training_split_alone(translator: Path) -> None:
    tokenizer = Captioner.from_pretrained(translator / "bundle").transform.tokenizer
    assert tokenizer.special.unk not in tokenizer.encode([GERMAN[1]])[0]
    assert {"ß", "G"}.isdisjoint("".join(tokenizer.vocabulary))


def test_a_run_resumes_with_its_own_source_vocabulary_alone(
    command: Command, translator: Path, text_root: Path, tmp_path: Path
) -> None:
    for language in ("de", "en"):
        lines = (text_root / f"train.{language}").read_text(encoding="utf-8")
        (tmp_path / f"train.{language}").write_text(lines.replace("Hund", "Wolf"), encoding="utf-8")
        (tmp_path / f"val.{language}").write_text("Wolf\n")
    last = translator / "checkpoints" / "last.ckpt"
    ran = command(
        "train", "experiment=multi30k/bahdanau", f"data.root={tmp_path}", *SMALL, "decoder.attention_size=8",
        "decoder.maxout_size=8", f"output={tmp_path / 'run'}", f"checkpoint={last}",
    )  # fmt: skip
    assert "the checkpoint is of another vocabulary" in ran.message


def test_the_standard_input_is_read_line_by_line(
    command: Command, translator: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given(monkeypatch, "\ufeffEin Hund rennt.\r\n\nEin\u2028Mann\x85\x0c\rrennt.\n".encode())
    ran = command("translate", "--model", translator / "bundle", "--json", "--beam-size", "1")
    rows = [json.loads(line) for line in ran.out.split("\n")[:-1]]
    assert [row["text"] for row in rows] == ["Ein Hund rennt.", "", "Ein\u2028Mann\x85\x0c\rrennt."]
    assert all(set(row) == {"text", "translation", "score", "finished", "words"} for row in rows)
    assert all(row["score"] < 0 for row in rows)


def given(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    """Bytes as the standard input, where the locale is not UTF-8."""
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content), encoding="latin-1"))


def test_a_standard_input_that_is_no_text_is_reported(
    command: Command, translator: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given(monkeypatch, b"Gr\xf6\xdfe\n")
    assert "standard input is not UTF-8 text" in command("translate", "--model", translator / "bundle").message


def test_a_translation_is_one_line_whatever_it_holds(
    command: Command, translator: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = {"eins": "one\ntwo", "zwei": "three\u2028four\r\n", "drei": ""}
    monkeypatch.setattr(
        Captioner, "translate", lambda _, texts, **__: [Caption(said[text], -1.0, finished=True) for text in texts]
    )
    ran = command("translate", "--model", translator / "bundle", *said)
    assert ran.out == "one two\nthree four\n\n"
    rows = command("translate", "--model", translator / "bundle", *said, "--json").out.split("\n")[:-1]
    assert [json.loads(row)["translation"] for row in rows] == list(said.values())


def test_truncated_translations_are_counted(command: Command, translator: Path, tmp_path: Path) -> None:
    model = Captioner.from_pretrained(translator / "bundle")
    for bias, message in (
        (-1000, "captioning translate: 3 of 3 translations were truncated at 6 tokens\n"),
        (1000, ""),
    ):
        with torch.no_grad():
            model.decoder.head.bias[model.tokenizer.special.eos] = bias
        folder = model.save(tmp_path / f"eos {bias}")
        ran = command("translate", "--model", folder, *GERMAN[:3], "--json", "--batch-size", "2")
        assert (ran.status, ran.err) == (0, message)
        assert [json.loads(row)["finished"] for row in ran.out.splitlines()] == [not message] * 3


def test_alignments_are_drawn(command: Command, translator: Path, tmp_path: Path) -> None:
    ran = command(
        "translate",
        "--model",
        translator / "bundle",
        *GERMAN[:3],
        "--alignments",
        tmp_path / "maps",
        "--batch-size",
        "2",
    )
    assert ran.status == 0, ran.err
    assert sorted(path.name for path in (tmp_path / "maps").iterdir()) == ["1.png", "2.png", "3.png"]
    with Image.open(tmp_path / "maps" / "1.png") as drawn:
        assert min(drawn.size) > 100


def test_a_translator_evaluates_on_the_test_split(
    command: Command, translator: Path, text_root: Path, tmp_path: Path
) -> None:
    for language, lines in (("de", GERMAN[:3]), ("en", ENGLISH[:3])):
        (text_root / f"test_2016_flickr.{language}").write_text("\n".join(lines) + "\n", encoding="utf-8")
    ran = command(
        "evaluate", f"bundle={translator / 'bundle'}", "data=multi30k", f"data.root={text_root}", "data.split=test",
        "trainer.accelerator=cpu", f"output={tmp_path / 'out'}",
    )  # fmt: skip
    assert ran.status == 0, ran.err
    written = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert written["signature"]["num_images"] == 3
    assert list(written["metrics"]) == ["sacreBLEU"]
    assert f"\nsacreBLEU|{written['signature']['sacrebleu']}\n" in ran.out
    assert GERMAN[0] in (tmp_path / "out" / "page.html").read_text()


@pytest.mark.parametrize("override", ["data.source=en data.target=de", "data.source=null", "data.target=cs"])
def test_a_translator_is_not_scored_on_languages_that_it_did_not_learn(
    command: Command, translator: Path, text_root: Path, tmp_path: Path, override: str
) -> None:
    ran = command(
        "evaluate", f"bundle={translator / 'bundle'}", "data=multi30k", f"data.root={text_root}", *override.split(),
        "trainer.accelerator=cpu", f"output={tmp_path / 'out'}",
    )  # fmt: skip
    assert "was trained on multi30k-de-en and would translate multi30k-" in ran.message
    assert ran.message.endswith("set data.source=de data.target=en\n")


def test_images_and_sentences_are_not_confused(
    command: Command, translator: Path, bundle: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="translates sentences and reads no images; use translate"):
        Captioner.from_pretrained(translator / "bundle").caption(Image.new("RGB", (3, 3)))
    assert "captions images and reads no sentences" in command("translate", "--model", bundle, "Ein Hund.").message
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    assert "use translate" in command("caption", "--model", translator / "bundle", tmp_path / "a.png").message


@pytest.mark.parametrize(
    ("override", "complaint"),
    [
        ("finetuning=frozen", "an encoder of sentences is trained from scratch"),
        ("metrics.monitor=perplexity", "metrics.mode=max would choose the worst perplexity; set metrics.mode=min"),
        ("text@source_text=null", "choose text@source_text=words or bpe"),
        ("data.source=null", "multi30k-en has no sentences to translate"),
        ("data.source=xx", r"expected one of train.xx and train.xx.gz"),
        (
            "metrics.monitor=CIDEr",
            "metrics.monitor=CIDEr is not computed by",
        ),
    ],
)
def test_settings_that_do_not_fit_together_are_reported_before_training(
    command: Command, text_root: Path, tmp_path: Path, override: str, complaint: str
) -> None:
    ran = command(
        "train", "experiment=multi30k/cho", f"data.root={text_root}", "logger=csv", "text.min_count=1",
        "callbacks.progress=null", "+trainer.enable_progress_bar=false", "trainer.max_epochs=1",
        "trainer.accelerator=cpu", override, f"output={tmp_path / 'run'}",
    )  # fmt: skip
    assert complaint in ran.message


def test_an_encoder_of_images_is_refused(command: Command, text_root: Path, tmp_path: Path) -> None:
    ran = command(
        "train", "data=multi30k", f"data.root={text_root}", *SMALL[4:5], "logger=csv", f"output={tmp_path / 'r'}"
    )
    assert "the data set has sentences, and the encoder small_cnn reads images" in ran.message
