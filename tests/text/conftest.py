"""Sentences in four languages, and a tokenizer of each kind trained on them."""

from __future__ import annotations

import pytest

from captioning.text import Tokenizer, train_bpe, train_byte_bpe, train_characters, train_words

SENTENCES = (
    "A man's dog, 3.5 years old, doesn't run: it sleeps (\"again\"!).",
    "Two well-dressed women are running to the station; the newest train waits there.",
    "Ein Mädchen läuft über die nasse Straße, während zwei Männer „Fußball“ spielen.",
    "Die Männer laufen, das Mädchen läuft nicht.",
    "L'homme est assis à côté d'une fenêtre ; où est-il allé ?",
    "Une femme et l'enfant sont allés à l'école.",
    "Žena v červeném kabátě běží přes nejnovější most.",
    "Muž stojí u řeky a žena běží k němu.",
)


@pytest.fixture(scope="session")
def sentences() -> list[str]:
    """Sentences in English, German, French and Czech, with case and punctuation."""
    return list(SENTENCES)


@pytest.fixture(scope="session", params=["words", "bpe", "byte_bpe", "characters"])
def any_tokenizer(request: pytest.FixtureRequest, sentences: list[str]) -> Tokenizer:
    """Train a tokenizer of each kind."""
    train = {
        "words": lambda: train_words(sentences, min_count=1),
        "bpe": lambda: train_bpe(sentences, vocab_size=300),
        "byte_bpe": lambda: train_byte_bpe(sentences, vocab_size=300),
        "characters": lambda: train_characters(sentences, min_count=2),
    }
    return train[request.param]()
