from __future__ import annotations

import gzip
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pycocoevalcap.meteor import meteor as reference_meteor

from captioning.errors import InputError
from captioning.metrics.originals.meteor_jar import MeteorJar
from captioning.metrics.originals.ptb import tokenize

CANDIDATES = ["a dog runs", "a large dog sits", "two men", "a red bus"]
REFERENCES = [["the dog is running", "a dog runs"], ["the big hound sat"], ["a man", "some men"], ["a bus"]]


@pytest.fixture(scope="module")
def meteor(meteor_folder: Path) -> Iterator[MeteorJar]:
    """One for all tests: it takes half a second to start."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reference_meteor, "__file__", str(meteor_folder / "meteor.py"))
        scorer = MeteorJar()
    with scorer:
        yield scorer


def is_running(pid: int) -> bool:
    """A zombie has no command line."""
    try:
        return bool(Path(f"/proc/{pid}/cmdline").read_bytes())
    except (FileNotFoundError, ProcessLookupError):
        return False


def reference_score(candidates: list[str], references: list[list[str]]) -> tuple[float, list[float]]:
    scorer = reference_meteor.Meteor()
    corpus, scores = scorer.compute_score(
        dict(enumerate(references)), {index: [candidate] for index, candidate in enumerate(candidates)}
    )
    scorer.meteor_p.stdout.close()  # its destructor forgets these
    scorer.meteor_p.stderr.close()
    return corpus, scores


@pytest.mark.usefixtures("quick_meteor", "reference_java")
def test_scores_equal_pycocoevalcaps(meteor: MeteorJar, hard_captions: list[str]):
    tokens = [caption for (caption,) in tokenize({c: [c] for c in hard_captions}).values()]
    references = [[tokens[index - 1], tokens[index - 2], candidate[:-2]] for index, candidate in enumerate(tokens)]
    assert meteor.score(tokens, references) == reference_score(tokens, references)


def test_paraphrases_count(meteor: MeteorJar):
    corpus, (score,) = meteor.score(["large dog"], [["big hound"]])
    assert corpus == score > 0


def test_same_caption_scores_1(meteor: MeteorJar):
    assert meteor.score(["a dog runs"], [["a dog runs"]]) == (1.0, [1.0])


def test_corpus_is_not_the_mean(meteor: MeteorJar):
    corpus, scores = meteor.score(CANDIDATES, REFERENCES)
    assert corpus != pytest.approx(sum(scores) / len(scores))


def test_empty_captions_get_their_own_answers(meteor: MeteorJar):
    _, scores = meteor.score(CANDIDATES, REFERENCES)
    candidates = ["", CANDIDATES[0], "", CANDIDATES[1], CANDIDATES[2], "a dog", CANDIDATES[3], "", ""]
    references = [
        [""],
        REFERENCES[0],
        ["a dog"],
        REFERENCES[1],
        REFERENCES[2],
        [""],
        REFERENCES[3],
        ["", ""],
        [""],
    ]
    _, found = meteor.score(candidates, references)
    assert found == [0, scores[0], 0, scores[1], scores[2], 0, scores[3], 0, 0]


def test_captions_with_separators_and_line_ends_get_their_own_answers(meteor: MeteorJar):
    plain = meteor.score(CANDIDATES, REFERENCES)
    candidates = [candidate.replace(" ", " |||\r\n") for candidate in CANDIDATES]
    references = [[reference.replace(" ", "\r||| ") for reference in group] for group in REFERENCES]
    assert meteor.score(candidates, references) == plain


def test_more_text_than_a_pipe_holds_passes_both_ways(meteor: MeteorJar):
    _, scores = meteor.score(["a dog runs"] * 1500, [["a dog " + 300 * "x"]] * 1500)  # 500 kB there, 140 kB back
    assert len(scores) == 1500
    assert len(set(scores)) == 1


@pytest.mark.usefixtures("quick_meteor")
def test_killed_java_is_replaced(meteor: MeteorJar, caplog: pytest.LogCaptureFixture):
    before = meteor.score(CANDIDATES, REFERENCES)
    killed = meteor._process
    os.kill(killed.pid, signal.SIGKILL)
    with caplog.at_level(logging.WARNING):
        assert meteor.score(CANDIDATES, REFERENCES) == before
    assert "METEOR's Java ended with code -9 before it answered" in caplog.text
    assert killed.returncode == -9
    assert meteor.score(CANDIDATES, REFERENCES) == before


@pytest.mark.usefixtures("quick_meteor")
def test_interrupted_call_leaves_no_answers_for_the_next(meteor: MeteorJar, monkeypatch: pytest.MonkeyPatch):
    before = meteor.score(CANDIDATES, REFERENCES)

    class Interrupting:
        def readline(self) -> bytes:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(meteor._process, "stdout", Interrupting())
        with pytest.raises(KeyboardInterrupt):
            meteor.score(["other words"], [["entirely"]])
    assert meteor.score(CANDIDATES, REFERENCES) == before


@pytest.mark.usefixtures("quick_meteor")
def test_closed_meteor_leaves_no_process():
    with MeteorJar() as scorer:
        pass
    scorer.close()
    with pytest.raises(ChildProcessError):  # neither running nor a zombie
        os.waitpid(scorer._process.pid, os.WNOHANG)
    with pytest.raises(ValueError, match="closed Meteor"):
        scorer.score(CANDIDATES, REFERENCES)


@pytest.mark.usefixtures("quick_meteor")
def test_deleted_meteor_leaves_no_process():
    scorer = MeteorJar()
    pid = scorer._process.pid
    del scorer
    with pytest.raises(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


@pytest.mark.skipif(sys.platform != "linux", reason="looks processes up in /proc")
def test_killed_python_leaves_no_process(meteor_folder: Path):
    program = f"""
import os, signal
from pycocoevalcap.meteor import meteor
meteor.__file__ = {str(meteor_folder / "meteor.py")!r}
from captioning.metrics.originals.meteor_jar import MeteorJar
scorer = MeteorJar()
scorer.score(["a"], [["a"]])
print(scorer._process.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert run.returncode == -signal.SIGKILL, run.stderr
    deadline = time.monotonic() + 10
    while is_running(int(run.stdout)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not is_running(int(run.stdout))


def test_jar_that_fails_again_is_reported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "paraphrase-en.gz").touch()
    (tmp_path / "meteor-1.5.jar").write_text("not a jar")
    monkeypatch.setattr(reference_meteor, "__file__", str(tmp_path / "meteor.py"))
    with (
        MeteorJar() as scorer,
        pytest.raises(InputError, match=r"ended with code 1 .*Java said: .*corrupt jarfile"),
    ):
        scorer.score(CANDIDATES, REFERENCES)


def test_missing_paraphrases_are_reported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    (tmp_path / "meteor-1.5.jar").touch()
    monkeypatch.setattr(reference_meteor, "__file__", str(tmp_path / "meteor.py"))
    with pytest.raises(InputError, match=r"expected pycocoevalcap's data/paraphrase-en.gz"):
        MeteorJar()


def test_damaged_paraphrases_are_reported(monkeypatch: pytest.MonkeyPatch, copy_meteor: Callable[[str], Path]):
    folder = copy_meteor("damaged")
    (folder / "data" / "paraphrase-en.gz").write_bytes(gzip.compress(b"0.5\nlarge dog\nbig hound\n")[:-12])
    monkeypatch.setattr(reference_meteor, "__file__", str(folder / "meteor.py"))
    with MeteorJar() as scorer, pytest.raises(InputError, match=r"scores cannot be trusted(.|\n)*EOFException"):
        scorer.score(CANDIDATES, REFERENCES)


def test_folder_with_a_space_and_an_umlaut_works(
    monkeypatch: pytest.MonkeyPatch, copy_meteor: Callable[[str], Path], meteor: MeteorJar
):
    monkeypatch.setenv("LC_ALL", "C")
    monkeypatch.setattr(reference_meteor, "__file__", str(copy_meteor("für metéor") / "meteor.py"))
    with MeteorJar() as scorer:
        assert scorer.score(CANDIDATES, REFERENCES) == meteor.score(CANDIDATES, REFERENCES)


def test_wrong_input_is_refused(meteor: MeteorJar):
    with pytest.raises(InputError, match="found 2 and 1"):
        meteor.score(["a", "b"], [["a"]])
    with pytest.raises(InputError, match="found 0 and 0"):
        meteor.score([], [])
    with pytest.raises(InputError, match="expected at least one reference for each candidate; 1 have none"):
        meteor.score(["a", "b"], [["a"], []])
