"""The files of an evaluation."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from captioning.errors import InputError
from captioning.evaluation.predictions import Evaluation, Prediction
from captioning.metrics import CocoScorer, Scores
from captioning.metrics.diversity import summary
from captioning.reports.result import Result, describe, describe_decoder
from captioning.search import BeamSearch, Forbid, Gnmt, GreedySearch, MinimumBayesRisk, RepetitionPenalty
from captioning.search.hypotheses import Search
from captioning.search.processors import Processor


class Own(Processor):
    """A processor of a user's own, which is no dataclass."""

    def __init__(self, strength: int) -> None:
        self.strength = strength

    def __call__(self, _step: int, _tokens: Any, log_probs: Any, /) -> Any:
        return log_probs


CAPTIONS = {7: 'a café, "open"', 3: "", 5: "two dogs"}


@pytest.fixture
def result() -> Result:
    """The result of a validated captioner."""
    predictions = tuple(
        Prediction(image_id, caption, -0.5, image_id != 3, loss=2.0, num_tokens=4, num_unknown=int(image_id == 7))
        for image_id, caption in CAPTIONS.items()
    )
    per_image = {image_id: {"BLEU-1": 0.5, "CIDEr": image_id / 10} for image_id in CAPTIONS}
    scores = Scores({"BLEU-1": 0.4, "CIDEr": 0.94}, per_image)
    evaluation = Evaluation(
        predictions,
        scores,
        loss=0.0,
        bits_per_character=0.5,
        tokens_per_caption=4.0,
        signature={"num_images": 3, "tokenizer": "x"},
    )
    return Result.of_evaluation(evaluation, data="tiny", split="val", search=GreedySearch(max_length=9))


def test_metrics_json_has_scores_and_what_determines_them(result: Result, tmp_path: Path) -> None:
    result.write(tmp_path / "out")
    assert result.content == {
        "metrics": {"BLEU-1": 0.4, "CIDEr": 0.94},
        "intervals": {},
        "language_model": {
            "loss": 0.0,
            "perplexity": 1.0,
            "bits_per_character": 0.5,
            "unknown_share": 1 / 12,
            "tokens_per_caption": 4.0,
        },
        "captions": {"unfinished": 1, **summary([])},
        "signature": {
            "data": "tiny",
            "split": "val",
            "num_images": 3,
            "tokenizer": "x",
            "search": {"name": "GreedySearch", "max_length": 9, "allow_unknown": False, "processors": []},
        },
    }
    assert json.loads((tmp_path / "out" / "metrics.json").read_text()) == result.content


def test_several_captions_of_an_image_are_described(result: Result, capsys: pytest.CaptureFixture[str]) -> None:
    several = replace(result, alternatives={"per_image": 2.5, "oracle CIDEr": 1.25})
    assert several.content["alternatives"] == {"per_image": 2.5, "oracle CIDEr": 1.25}
    several.print()
    assert "captions of an image: per_image 2.5, oracle CIDEr 1.25" in capsys.readouterr().out


def test_time_and_size_of_training_have_a_file_of_their_own(result: Result, tmp_path: Path) -> None:
    result.write(tmp_path, training={"seconds": 1.5})
    assert json.loads((tmp_path / "training.json").read_text()) == {"seconds": 1.5}
    result.write(tmp_path / "evaluation")
    assert (tmp_path / "metrics.json").read_text() == (tmp_path / "evaluation" / "metrics.json").read_text()
    assert not (tmp_path / "evaluation" / "training.json").exists()


def test_captions_and_scores_of_each_image_are_in_the_split_s_order(result: Result, tmp_path: Path) -> None:
    result.write(tmp_path)
    captions = json.loads((tmp_path / "captions.json").read_text(encoding="utf-8"))
    assert captions == [{"image_id": image_id, "caption": caption} for image_id, caption in CAPTIONS.items()]
    with (tmp_path / "per_image.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["image_id", "caption", "log_probability", "finished", "BLEU-1", "CIDEr"]
    assert rows[1] == ["7", CAPTIONS[7], "-0.5", "True", "0.5", "0.7"]
    assert rows[2][3] == "False"


def test_a_search_s_description_is_plain_and_complete() -> None:
    described = describe(BeamSearch(beam_size=3, processors=[Forbid([1])]))
    assert json.loads(json.dumps(described)) == described
    assert (described["name"], described["beam_size"], described["processors"]) == (
        "BeamSearch",
        3,
        ["Forbid(ids=(1,))"],
    )


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (GreedySearch(processors=[RepetitionPenalty(1.2)]), GreedySearch(processors=[RepetitionPenalty(1.5)])),
        (
            MinimumBayesRisk(search=BeamSearch(num_best=5), processors=[RepetitionPenalty(1.2)]),
            MinimumBayesRisk(search=BeamSearch(num_best=5), processors=[RepetitionPenalty(1.5)]),
        ),
        (BeamSearch(length_normalization=Gnmt(0.6)), BeamSearch(length_normalization=Gnmt(0.7))),
        (
            MinimumBayesRisk(search=BeamSearch(num_best=5, length_normalization=Gnmt(0.6))),
            MinimumBayesRisk(search=BeamSearch(num_best=5, length_normalization=Gnmt(0.7))),
        ),
        (GreedySearch(processors=[Own(1)]), GreedySearch(processors=[Own(2)])),
    ],
)
def test_searches_that_differ_in_a_setting_of_a_part_are_described_differently(one: Search, other: Search) -> None:
    found = [json.loads(json.dumps(describe(search))) for search in (one, other)]
    assert found[0] != found[1]
    assert found[0] == describe(replace(one))
    assert "object at 0x" not in str(found)


def test_only_a_decoder_that_consists_of_others_is_described_by_its_settings() -> None:
    plain = {"_target_": "captioning.decoders.ShowAndTell", "feature_size": 3, "vocab_size": 5}
    language = {"_target_": "captioning.decoders.LanguageModel", "feature_size": 1, "vocab_size": 5}
    blind = {"_target_": "captioning.decoders.WithoutImage", "decoder": language, "zero_size": 1}
    distractors = {"_target_": "captioning.decoders.Distractors", "num_images": 7, "feature_size": 3}
    against = {"_target_": "captioning.decoders.AgainstLanguageModel", "decoder": plain, "language_model": blind}
    images = {"_target_": "captioning.decoders.AgainstImages", "decoder": plain, "distractors": distractors}
    members = [
        {"_target_": "captioning.decoders.Member", "decoder": own} for own in (plain, images | {"strength": 1.0})
    ]
    both = {
        "_target_": "captioning.decoders.Ensemble",
        "members": members,
        "weights": [2, 1],
        "average": "probabilities",
    }
    assert describe_decoder(plain) == "ShowAndTell"
    assert describe_decoder(against | {"strength": 0.3}) == {
        "name": "AgainstLanguageModel", "decoder": "ShowAndTell", "language_model": "LanguageModel", "strength": 0.3
    }  # fmt: skip
    assert describe_decoder(both) == {
        "name": "Ensemble",
        "members": [
            "ShowAndTell",
            {"name": "AgainstImages", "decoder": "ShowAndTell", "distractors": 7, "strength": 1.0},
        ],
        "weights": [2, 1],
        "average": "probabilities",
    }


def test_a_folder_that_cannot_be_written_is_reported(result: Result, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"the evaluation could not be written to .*file"):
        result.write(tmp_path / "file" / "out")


def test_a_printed_table_says_that_scores_are_fractions(
    result: Result, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result.print()
    printed = capsys.readouterr().out
    assert "tiny val, 3 images (fractions)" in printed
    assert "0.9400" in printed
    assert printed.splitlines()[-1] == "perplexity 1.00, 0.500 bits per character"


def test_a_translation_s_scores_are_above_sacrebleu_s_signature_in_one_line(
    result: Result, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("captioning.reports.result.console", lambda: Console(width=40, markup=False))
    signature = "nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:2.6.0"
    result = replace(result, signature={**result.signature, "sacrebleu": signature})
    result.print()
    assert capsys.readouterr().out.splitlines()[-1] == f"sacreBLEU|{signature}"


@pytest.fixture(scope="module")
def scored() -> tuple[Scores, Scores, dict[str, Any]]:
    """The scores of two sets of captions without a model, and their signature."""
    scorer = CocoScorer({7: ["a cafe"], 3: ["a cat"], 5: ["two dogs run"]}, metrics=["ROUGE-L"])
    return scorer.score(CAPTIONS), scorer.score({**CAPTIONS, 3: "a cat"}), {"data": "x.json", **scorer.signature()}


def test_a_result_without_a_model_has_no_numbers_of_one(
    scored: tuple[Scores, Scores, dict[str, Any]], tmp_path: Path
) -> None:
    result = Result(scored[0], CAPTIONS, scored[2], bootstrap={"num_replicates": 20, "seed": 1, "confidence": 0.9})
    assert list(result.content) == ["metrics", "intervals", "captions", "signature"]
    assert result.content["signature"]["bootstrap"] == {"num_replicates": 20, "seed": 1, "confidence": 0.9}
    assert "unfinished" not in result.content["captions"]
    result.write_per_image(tmp_path / "out.csv")
    with (tmp_path / "out.csv").open(newline="", encoding="utf-8") as file:
        assert next(csv.reader(file)) == ["image_id", "caption", "ROUGE-L"]


def test_a_comparison_has_the_other_scores_and_the_tested_differences(
    scored: tuple[Scores, Scores, dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    result = Result(scored[0], CAPTIONS, scored[2], compared_with=("folder/other.json", scored[1]))
    comparison = result.content["comparison"]
    assert comparison["with"] == "folder/other.json"
    assert comparison["metrics"] == scored[1].corpus
    assert comparison["differences"]["ROUGE-L"]["difference"] < 0
    result.print(title="these beside those")
    printed = capsys.readouterr().out
    assert "these beside those, 3 images (fractions)" in printed
    assert "other.json" in printed


def test_intervals_of_the_result_are_printed_with_their_confidence(
    scored: tuple[Scores, Scores, dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    bootstrap = {"num_replicates": 20, "seed": 0, "confidence": 0.9}
    Result(scored[0], CAPTIONS, scored[2], bootstrap=bootstrap).print(title="x")
    assert "90 % interval" in capsys.readouterr().out
