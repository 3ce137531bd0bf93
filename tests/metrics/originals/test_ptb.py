from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pycocoevalcap.tokenizer import ptbtokenizer

from captioning.errors import InputError
from captioning.metrics.originals import java
from captioning.metrics.originals.ptb import tokenize

LINE_ENDS = ["\n", "\r", "\r\n", "\v", "\f", "\u2028", "\u2029", "\u0085", "\x1c", "\x1d", "\x1e"]


def reference_tokenize(captions: dict[int, list[str]]) -> dict[int, list[str]]:
    annotations = {key: [{"caption": caption} for caption in group] for key, group in captions.items()}
    tokens: dict[int, list[str]] = ptbtokenizer.PTBTokenizer().tokenize(annotations)
    return tokens


@pytest.mark.usefixtures("reference_java")
def test_tokens_equal_pycocoevalcaps(hard_captions: list[str]):
    captions = {1: hard_captions[:5], 2: hard_captions[5:6], 3: [*hard_captions[6:], ""]}
    assert tokenize(captions) == reference_tokenize(captions)


def test_tokens_are_lower_case_without_punctuation():
    assert tokenize({"a": ['A dog\'s "Frisbee", (red).']}) == {"a": ["a dog 's frisbee -lrb- red -rrb-"]}


def test_each_caption_keeps_its_position_with_any_line_ends():
    captions = {end: [f"A dog{end}runs", f"{end}", "a cat"] for end in LINE_ENDS}
    assert tokenize(captions) == {end: ["a dog runs", "", "a cat"] for end in LINE_ENDS}


def test_empty_captions_and_groups_stay():
    assert tokenize({1: ["", "a"], 2: [], 3: ["."], 4: [""]}) == {1: ["", "a"], 2: [], 3: [""], 4: [""]}
    assert tokenize({5: []}) == {5: []}


# Without shrinking, which would start Java hundreds of times.
@settings(max_examples=3, suppress_health_check=list(HealthCheck), phases=[Phase.generate])
@given(st.lists(st.text(max_size=20), min_size=50, max_size=200))
def test_any_text_gives_one_line_per_caption(texts: list[str]):
    captions = {index: [text, "mark"] for index, text in enumerate(texts)}
    tokens = tokenize(captions)
    assert list(tokens) == list(captions)
    assert {mark for _, mark in tokens.values()} == {"mark"}


def test_deleted_characters_are_reported(caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.WARNING):
        assert tokenize({1: ["a 😀 dog"]}) == {1: ["a dog"]}
    assert "deleted unknown characters, the first:" in caplog.text


def test_half_a_surrogate_pair_is_refused():
    with pytest.raises(InputError, match=r"half of a surrogate pair \('\\ud83d'\) in the caption 'a \\ud83d dog'"):
        tokenize({1: ["a cat"], 2: ["a \ud83d dog"]})


def test_another_number_of_lines_is_an_error_and_not_a_shift(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(java, "one_line", lambda text: text)
    with pytest.raises(InputError, match="expected 2 lines from the PTB tokenizer, found 3 and exit code 0"):
        tokenize({1: ["a\rdog", "a cat"]})


def test_damaged_jar_is_reported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    (tmp_path / ptbtokenizer.STANFORD_CORENLP_3_4_1_JAR).write_text("not a jar")
    monkeypatch.setattr(ptbtokenizer, "__file__", str(tmp_path / "ptbtokenizer.py"))
    with pytest.raises(InputError, match=r"exit code 1; if .* is damaged.*Java said: .*PTBTokenizer"):
        tokenize({1: ["a dog"]})


def test_missing_jar_is_reported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(ptbtokenizer, "__file__", str(tmp_path / "ptbtokenizer.py"))
    with pytest.raises(InputError, match=r"expected pycocoevalcap's stanford-corenlp-3.4.1.jar"):
        tokenize({1: ["a dog"]})


@pytest.mark.shared
@pytest.mark.usefixtures("reference_java")
def test_tokens_equal_pycocoevalcaps_on_coco(shared: Path):
    path = shared / "data" / "coco_captions" / "captions_val2017.json"
    captions: dict[int, list[str]] = {}
    for annotation in json.loads(path.read_text(encoding="utf-8"))["annotations"]:
        captions.setdefault(annotation["image_id"], []).append(annotation["caption"])
    tokens = tokenize(captions)
    assert sum(map(len, tokens.values())) == 25_014
    assert tokens == reference_tokenize(captions)
