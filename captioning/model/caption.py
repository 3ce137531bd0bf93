"""What a captioner returns for one image or one sentence."""

from __future__ import annotations

from dataclasses import dataclass

from captioning.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class Word:
    """A token of a caption: a word, a part of one, a byte or a character, as the model writes them.

    Attributes:
        text: the token without the marks of subwords; ␣ stands for a space. The last token of a finished caption is
            `<eos>`.
        log_prob: its log-probability in nats, given the tokens before it. With processors that change log-probabilities
            it is what they made of it.
        runners_up: the most probable other tokens in its place, best first, with the decoder's own log-probabilities,
            whatever the search and its processors are. Tokens that no caption contains are left out. Empty unless they
            were asked for.
        confidence: the probability that one of the image's references has it; None for `<eos>`, in alternatives, and of
            models that are not calibrated.
    """

    text: str
    log_prob: float
    runners_up: tuple[Word, ...] = ()
    confidence: float | None = None


@dataclass(frozen=True)
class Caption:
    """A caption of one image, or a translation of one sentence.

    Attributes:
        text: the caption.
        score: its log-probability in nats, end word included.
        finished: False if it was truncated at the search's maximum length.
        words: its tokens. Their log-probabilities sum to the score.
        alternatives: what the search found besides, best first. Their texts differ from each other and from this one:
            of captions with the same text, the first is kept. They have no alternatives of their own.
        confidence: the probability that the caption is right; None in alternatives, and of models that are not
            calibrated.
        distance: of the image from the training images, as a multiple of the distance that counts as out of domain;
            None where there is no confidence.
        withheld: why the caption should not be shown; None if it can be. `Captioner.withhold` decides.
    """

    text: str
    score: float
    finished: bool
    words: tuple[Word, ...] = ()
    alternatives: tuple[Caption, ...] = ()
    confidence: float | None = None
    distance: float | None = None
    withheld: str | None = None

    @property
    def out_of_domain(self) -> bool:
        """Whether the image is unlike the training images, so that neither caption nor confidence can be trusted."""
        return self.distance is not None and self.distance > 1

    def __str__(self) -> str:
        return self.text


def readable(tokenizer: Tokenizer, i: int) -> str:
    """Return a token without the marks of subwords; ␣ stands for a space."""
    special = vars(tokenizer.special).values()
    return tokenizer.token(i) if i in special else tokenizer.decode([i]).strip() or "␣"
