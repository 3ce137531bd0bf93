"""captioning score: files of captions against files of references."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sacrebleu

from captioning.commands.score import FORMATS
from captioning.metrics import METRICS, CocoScorer
from captioning.reports.score_table import TEXTS

Command = Callable[..., Any]

REFERENCES = {
    "1": ["a dog runs on the grass", "the dog is running"],
    "2": ["two men wait for a bus", "men at a bus stop"],
    "3": ["a red bus on the street"],
}
RESULTS = {"1": "a dog running on the grass", "2": "two men at a bus stop", "3": "a red bus"}
FAST = ("--metrics", "bleu,rouge,cider", "--replicates", "50")


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    references, results = tmp_path / "references.json", tmp_path / "results.json"
    references.write_text(json.dumps(REFERENCES))
    results.write_text(json.dumps([{"image_id": int(i), "caption": text} for i, text in RESULTS.items()]))
    return references, results


def test_scores_are_the_scorer_s_in_all_files(command: Command, files: tuple[Path, Path], tmp_path: Path) -> None:
    ran = command("score", *files, *FAST, "--json", tmp_path / "out.json", "--per-image", tmp_path / "out.csv")
    assert ran.status == 0, ran.err
    scorer = CocoScorer({int(i): group for i, group in REFERENCES.items()}, metrics=["BLEU", "ROUGE-L", "CIDEr"])
    expected = scorer.score({int(i): text for i, text in RESULTS.items()})
    written = json.loads((tmp_path / "out.json").read_text())
    assert written["metrics"] == expected.corpus
    assert written["intervals"].keys() == expected.corpus.keys()
    assert written["signature"]["data"] == "references.json"
    assert written["signature"]["num_images"] == 3
    with (tmp_path / "out.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["caption"] for row in rows] == list(RESULTS.values())
    assert float(rows[0]["CIDEr"]) == expected.per_image[1]["CIDEr"]
    for name, score in expected.corpus.items():
        assert name in ran.out
        assert f"{score:.4f}" in ran.out


def test_another_model_s_captions_are_compared(command: Command, files: tuple[Path, Path], tmp_path: Path) -> None:
    other = tmp_path / "other.json"
    other.write_text(json.dumps(dict.fromkeys(RESULTS, "a cat")))
    ran = command("score", *files, *FAST, "--compare", other, "--json", tmp_path / "out.json")
    assert ran.status == 0, ran.err
    written = json.loads((tmp_path / "out.json").read_text())
    comparison = written["comparison"]
    assert comparison["with"] == str(other)
    for name, found in comparison["differences"].items():
        assert found["difference"] == pytest.approx(written["metrics"][name] - comparison["metrics"][name])
        assert 0 < found["p_value"] <= 1
    assert "difference" in ran.out


@pytest.mark.parametrize("form", FORMATS[1:])
def test_other_formats_print_the_scores_and_nothing_else(command: Command, files: tuple[Path, Path], form: str) -> None:
    ran = command("score", *files, *FAST, "--format", form)
    assert ran.status == 0, ran.err
    start, end = {
        "markdown": ("|", "|"),
        "latex": (r"\begin{tabular}", r"\end{tabular}"),
        "csv": ("metric,", ""),
        "json": ("{", "}"),
    }[form]
    assert ran.out.startswith(start) and ran.out.rstrip().endswith(end)
    assert "BLEU-4" in ran.out and "images (fractions)" not in ran.out


def test_every_format_but_the_table_has_a_function() -> None:
    assert ("table", *TEXTS) == FORMATS


def test_images_without_a_caption_are_an_error_without_subset(command: Command, files: tuple[Path, Path]) -> None:
    references, results = files
    results.write_text(json.dumps({"1": "a dog", "3": ""}))
    message = command("score", references, results, *FAST).message
    assert "results.json: expected one caption for each of the 3 images" in message
    assert "without a caption: 1 (2); captions without references: 0. --subset scores" in message
    ran = command("score", references, results, *FAST, "--subset")
    assert ran.status == 0
    assert "2 images" in ran.out


def test_a_subset_of_two_files_has_the_images_of_both(
    command: Command, files: tuple[Path, Path], tmp_path: Path
) -> None:
    references, results = files
    other, out = tmp_path / "other.json", tmp_path / "out.json"
    results.write_text(json.dumps({"1": RESULTS["1"], "3": RESULTS["3"]}))
    other.write_text(json.dumps({"2": "two men", "3": "a bus"}))
    given = (references, results, *FAST, "--compare", other, "--subset", "--json", out)
    assert command("score", *given).status == 0
    written = json.loads(out.read_text())
    scorer = CocoScorer({3: REFERENCES["3"]}, metrics=["BLEU", "ROUGE-L", "CIDEr"])
    assert written["metrics"] == scorer.score({3: RESULTS["3"]}).corpus
    assert written["comparison"]["metrics"] == scorer.score({3: "a bus"}).corpus
    for path in (results, other):
        kept = path.read_text()
        path.write_text(json.dumps({**json.loads(kept), "99": "a dog"}))
        assert "captions without references: 1 (99)" in command("score", *given).message
        path.write_text(kept)


def test_saved_document_frequencies_are_of_all_references_even_of_a_subset(
    command: Command, files: tuple[Path, Path], tmp_path: Path
) -> None:
    references, results = files
    results.write_text(json.dumps({"1": "a dog"}))
    saved = tmp_path / "frequencies.json"
    ran = command("score", references, results, *FAST, "--subset", "--save-document-frequencies", saved)
    assert ran.status == 0, ran.err
    assert json.loads(saved.read_text())["num_images"] == 3


def test_a_file_that_cannot_be_written_is_reported_before_any_work(
    command: Command, files: tuple[Path, Path], tmp_path: Path
) -> None:
    message = command("score", files[0], tmp_path / "missing", *FAST, "--json", tmp_path / "no" / "out.json").message
    assert "no such folder to write out.json to" in message


def test_an_empty_caption_is_scored_and_counted(command: Command, files: tuple[Path, Path], tmp_path: Path) -> None:
    references, results = files
    results.write_text(json.dumps({**RESULTS, "3": " "}))
    assert command("score", references, results, *FAST, "--json", tmp_path / "out.json").status == 0
    assert json.loads((tmp_path / "out.json").read_text())["captions"]["empty"] == 1


def test_a_signature_is_printed_in_one_line(command: Command, files: tuple[Path, Path]) -> None:
    line = command("score", *files, *FAST, "--signature").out.splitlines()[-1]
    assert line.startswith("data:references.json|captioning:")
    assert "|num_images:3|" in line


def test_translations_are_scored_and_compared_by_sacrebleu(
    command: Command, files: tuple[Path, Path], tmp_path: Path
) -> None:
    other, out, table = tmp_path / "other.json", tmp_path / "out.json", tmp_path / "out.csv"
    translations = {"1": "A dog runs on grass.", "2": "Two men wait for a bus, at a stop.", "3": "A red bus"}
    references = {n: [f"{text.capitalize()}." for text in REFERENCES[n][:1]] for n in REFERENCES}
    files[0].write_text(json.dumps(references))
    files[1].write_text(json.dumps(translations))
    other.write_text(json.dumps({n: text.lower() for n, text in translations.items()}))
    options = ("--metrics", "sacreBLEU", "--compare", other, "--signature", "--json", out, "--per-image", table)
    ran = command("score", *files, *options)
    assert ran.status == 0, ran.err
    metric = sacrebleu.BLEU()
    expected = metric.corpus_score(list(translations.values()), list(zip(*references.values(), strict=True)))
    written = json.loads(out.read_text())
    assert written["metrics"] == {"sacreBLEU": pytest.approx(expected.score / 100)}
    low, high = written["intervals"]["sacreBLEU"]
    assert low < expected.score / 100 < high
    found = written["comparison"]["differences"]["sacreBLEU"]
    assert found["difference"] > 0  # case counts
    assert 0 < found["p_value"] <= 1
    own, line = ran.out.splitlines()[-2:]
    assert own.startswith("data:references.json|captioning:")
    assert "smooth" not in own  # only in sacrebleu's own line
    assert line == f"sacreBLEU|{metric.get_signature()}"
    with table.open(newline="") as file:
        sentences = [float(row["sacreBLEU"]) for row in csv.DictReader(file)]
    alone = [sacrebleu.sentence_bleu(translations[n], references[n]).score / 100 for n in references]
    assert sentences == pytest.approx(alone)


def test_pycocoevalcap_s_scores_are_the_same_without_intervals(
    command: Command, files: tuple[Path, Path], tmp_path: Path
) -> None:
    own, reference = tmp_path / "own.json", tmp_path / "reference.json"
    assert command("score", *files, *FAST, "--json", own).status == 0
    assert command("score", *files, *FAST, "--json", reference, "--backend", "pycocoevalcap").status == 0
    found, expected = (json.loads(path.read_text()) for path in (own, reference))
    assert found["metrics"] == pytest.approx(expected["metrics"], abs=1e-6)
    assert expected["intervals"] == {}
    assert "bootstrap" not in expected["signature"]
    assert "pycocoevalcap" in expected["signature"]


def test_one_image_is_scored_with_saved_document_frequencies(
    command: Command, files: tuple[Path, Path], tmp_path: Path
) -> None:
    references, results = files
    saved, out = tmp_path / "frequencies.json", tmp_path / "out.json"
    assert command("score", *files, *FAST, "--save-document-frequencies", saved, "--json", out).status == 0
    references.write_text(json.dumps({"1": REFERENCES["1"]}))
    results.write_text(json.dumps({"1": RESULTS["1"]}))
    alone = tmp_path / "alone.json"
    options = ("--metrics", "cider-d", "--document-frequencies", saved, "--json", alone)
    assert command("score", references, results, *options).status == 0
    assert json.loads(alone.read_text())["metrics"]["CIDEr-D"] > 0


class LikeClip:
    """A substitute for CLIP: a text is close to an image whose name is its length."""

    def __init__(self, folder: Path, device: str) -> None:
        self.version = f"{folder.name} on {device}"

    def texts(self, texts: Sequence[str]) -> Any:
        return self._vectors([len(text.removeprefix("A photo depicts ")) for text in texts])

    def images(self, paths: Sequence[Path]) -> Any:
        return self._vectors([int(path.stem) for path in paths])

    def _vectors(self, lengths: Sequence[int]) -> Any:
        return np.array([(np.cos(length / 40), np.sin(length / 40)) for length in lengths])


@pytest.fixture
def with_clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str | Path, ...]:
    """Options for CLIPScore, with a file for each image."""
    monkeypatch.setattr("captioning.evaluation.clip.Clip", LikeClip)
    (tmp_path / "images").mkdir()
    for image in REFERENCES:
        (tmp_path / "images" / f"{image}.jpg").touch()
    return ("--clip", "vit-b-32", "--images", tmp_path / "images", "--device", "cuda:7")


def test_clip_score_is_reported_beside_the_other_metrics(
    command: Command, files: tuple[Path, Path], with_clip: tuple[str | Path, ...], tmp_path: Path
) -> None:
    other, out, table = tmp_path / "other.json", tmp_path / "out.json", tmp_path / "out.csv"
    other.write_text(json.dumps(dict.fromkeys(RESULTS, "")))
    ran = command("score", *files, *FAST, *with_clip, "--compare", other, "--json", out, "--per-image", table)
    assert ran.status == 0, ran.err
    written = json.loads(out.read_text())
    each = {image: 2.5 * np.cos((len(text) - int(image)) / 40) for image, text in RESULTS.items()}
    assert written["metrics"]["CLIP-S"] == pytest.approx(np.mean(list(each.values())))
    assert written["comparison"]["differences"]["CLIP-S"]["p_value"] > 0
    assert {"CLIP-S", "RefCLIP-S"} <= written["intervals"].keys()
    assert written["signature"]["CLIPScore"] == "vit-b-32 on cuda:7"
    with table.open(newline="") as file:
        assert [float(row["CLIP-S"]) for row in csv.DictReader(file)] == pytest.approx(list(each.values()))
    assert f"{written['metrics']['RefCLIP-S']:.4f}" in ran.out


def test_clip_score_has_intervals_beside_a_backend_without(
    command: Command, files: tuple[Path, Path], with_clip: tuple[str | Path, ...]
) -> None:
    ran = command("score", *files, *FAST, *with_clip, "--backend", "pycocoevalcap", "--compare", files[1])
    assert ran.status == 0, ran.err
    cells = {
        row[1].strip(): [cell.strip() for cell in row[2:-1]]
        for row in (x.split("│") for x in ran.out.split("\n"))
        if len(row) > 2
    }
    assert cells["CIDEr"] == [cells["CIDEr"][0], "", cells["CIDEr"][0], "", "", ""]
    assert cells["CLIP-S"][1] != ""
    assert cells["CLIP-S"][5] == "1.0000"


def test_clip_score_needs_every_image(
    command: Command, files: tuple[Path, Path], with_clip: tuple[str | Path, ...], tmp_path: Path
) -> None:
    (tmp_path / "images" / "2.jpg").unlink()
    message = command("score", *files, *FAST, *with_clip).message
    assert "of 3 images those without one: 1 (2); the first was looked for as 2 and 2.jpg and 2.png" in message


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ("--metrics", "wer"),
            "there is no metric 'wer'; choose among bleu, meteor, rouge-l, cider,",
        ),
        (("--metrics", "spice"), "SPICE needs stanford-corenlp-3.6.0.jar"),
        (("--metrics", "sacrebleu,cider"), "sacreBLEU and CIDEr count the tokens of different tokenizers"),
        (("--metrics", "sacrebleu", "--backend", "pycocoevalcap"), "the backend pycocoevalcap computes BLEU,"),
        (("--split", "test"), "only Karpathy's JSON has splits"),
        (("--document-frequencies", "nowhere.json"), "nowhere.json: cannot be read"),
        (("--compare", "nowhere.json"), "nowhere.json: cannot be read"),
        (("--clip", "clip"), "CLIPScore needs the images; expected"),
        (("--images", "images"), "CLIPScore needs a CLIP model; expected"),
        (
            ("--metrics", "clipscore"),
            "CLIPScore needs a CLIP model and the images; expected `captioning score --clip FOLDER",
        ),
        (("--clip", "clip", "--images", "nowhere"), "nowhere: no such folder of images"),
    ],
)
def test_options_that_are_impossible_are_refused(
    command: Command, files: tuple[Path, Path], options: tuple[str, ...], message: str
) -> None:
    assert message in command("score", *files, *options).message


def test_help_names_every_metric(command: Command) -> None:
    printed = command("score", "--help").out
    assert all(name.lower() in printed for name in METRICS)


def test_the_captions_that_the_command_caption_prints_are_scored(
    command: Command, files: tuple[Path, Path], tmp_path: Path
) -> None:
    lines = [json.dumps({"image": f"photos/{i}.jpg", "caption": text, "score": -1.5, "finished": True})
             for i, text in RESULTS.items()]  # fmt: skip
    (tmp_path / "captions.jsonl").write_text("\n".join(lines))
    for results, out in ((files[1], "json.json"), (tmp_path / "captions.jsonl", "lines.json")):
        ran = command("score", files[0], results, *FAST, "--json", tmp_path / out)
        assert ran.status == 0, ran.err
    assert json.loads((tmp_path / "lines.json").read_text()) == json.loads((tmp_path / "json.json").read_text())


def test_a_subset_needs_no_references_of_other_images(command: Command, tmp_path: Path) -> None:
    references, results = tmp_path / "references.json", tmp_path / "results.csv"
    annotations = [{"image_id": int(i), "caption": group[0]} for i, group in REFERENCES.items()]
    references.write_text(json.dumps({"images": [{"id": n} for n in (1, 2, 3, 4)], "annotations": annotations}))
    results.write_text("image_id,caption\n1,a dog\n2,two men\n")
    ran = command("score", references, results, *FAST, "--subset")
    assert (ran.status, "2 images" in ran.out) == (0, True), ran.err
    assert "images without a caption: 1 (4)" in command("score", references, results, *FAST).message
    results.write_text("image_id,caption\n1,a dog\n4,two men\n")
    message = command("score", references, results, *FAST, "--subset").message
    assert "captions without references: 1 (4); remove them" in message


def test_doubtful_scores_are_reported(
    command: Command, files: tuple[Path, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    files[0].write_text(json.dumps({"1": ["一只狗在草地上奔跑。"]}))
    files[1].write_text(json.dumps({"1": "一只狗在跑"}))
    ran = command("score", *files, *FAST, "--compare", files[1], "--json", tmp_path / "out.json")
    assert ran.status == 0
    assert "CIDEr of a single image is always 0" in caplog.text
    assert "have no spaces between words" in caplog.text
    assert "no intervals and no p-values: there is one image" in ran.out
    written = json.loads((tmp_path / "out.json").read_text())
    assert (written["intervals"], written["comparison"]["differences"]) == ({}, {})


@pytest.mark.parametrize("value", ["x" * 100_000, "\x1b[31m\n\u202ered"])
def test_long_values_and_control_characters_are_not_printed(command: Command, tmp_path: Path, value: str) -> None:
    references, results = tmp_path / "r.json", tmp_path / f"a{value[:9]}.json"
    references.write_text(json.dumps({value: ["a dog"]}))
    for wrong in ({f"{value}2": "a dog"}, [{value: 1}], {"images": value}, [{"image_id": [value], "caption": "a"}]):
        results.write_text(json.dumps(wrong))
        for options in ((), ("--metrics", value), ("--split", value)):
            message = command("score", references, results, *options).message.rstrip("\n")
            assert len(message) < 1000
            assert message.isprintable()
    results.write_text(json.dumps({value: "a dog"}))
    ran = command("score", references, results, *FAST)
    assert ran.status == 0, ran.err
    assert ran.out.replace("\n", "").isprintable()
