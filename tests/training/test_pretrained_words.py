"""Decoders and encoders of sentences whose words start from vectors."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from captioning.data.batch import CaptionBatch
from captioning.decoders import LanguageModel, ShowAndTell
from captioning.encoders import TextEncoder, TextTransform
from captioning.encoders.blind import Blind
from captioning.encoders.features import ImageFeatures
from captioning.errors import InputError
from captioning.model.captioner import Captioner
from captioning.objectives import CrossEntropy
from captioning.recurrent import GRU
from captioning.text import Tokenizer, train_bpe, train_byte_bpe, train_characters
from captioning.text.word_vectors import WordVectors
from captioning.training.captioning import CaptioningModule
from captioning.training.module import FineTuning
from captioning.training.pretrained_words import start_embeddings

KNOWN = ["cat", "dog", "runs", "zebra"]  # one that no caption has


def write(path: Path, size: int, words: list[str] = KNOWN) -> WordVectors:
    """A file of vectors that are much longer than any decoder's, and not centred."""
    random = np.random.default_rng(0)
    vectors = WordVectors(words, random.normal(3, 20, (len(words), size)).astype(np.float32))
    vectors.write(path)
    return vectors


def table_of(decoder: nn.Module) -> Tensor:
    (table,) = (part for part in decoder.embedding.modules() if isinstance(part, nn.Embedding))  # type: ignore[union-attr]
    return table.weight


def test_every_decoder_s_words_start_from_the_vectors_and_the_others_where_they_were(
    decoder_to_train: Any, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    if not hasattr(decoder_to_train, "embedding"):
        pytest.skip("a decoder of n-grams has no word embeddings")
    weight = table_of(decoder_to_train)
    others = {name: value.clone() for name, value in decoder_to_train.state_dict().items()}
    before = weight.detach().clone()
    vectors = write(tmp_path / "v.npz", weight.shape[1])
    start_embeddings(decoder_to_train, tokenizer, tmp_path / "v.npz")
    found = {word: tokenizer.vocabulary.index(word) for word in KNOWN if word != "zebra"}
    rows = list(found.values())
    given = torch.from_numpy(vectors.vectors[[vectors.row_of[word] for word in found]])
    size_before, size_given = before[rows].square().mean().sqrt(), given.square().mean().sqrt()
    torch.testing.assert_close(weight.detach()[rows], given / size_given * size_before)
    untouched = [i for i in range(len(tokenizer)) if i not in rows]
    assert torch.equal(weight[untouched], before[untouched])
    changed = {name for name, value in decoder_to_train.state_dict().items() if not torch.equal(value, others[name])}
    assert len(changed) == 1
    assert weight.requires_grad


def show_and_tell(tokenizer: Tokenizer) -> ShowAndTell:
    torch.manual_seed(0)
    return ShowAndTell(
        feature_size=13, vocab_size=len(tokenizer), embedding_size=5, hidden_size=7, recurrent=lambda e, d: GRU(e, d)
    )


def tied_language_model(tokenizer: Tokenizer) -> LanguageModel:
    torch.manual_seed(0)
    return LanguageModel(
        feature_size=13, vocab_size=len(tokenizer), embedding_size=5, hidden_size=5, recurrent=GRU, tied=True
    )


Builder = Callable[[Tokenizer], Any]


@pytest.mark.parametrize("builder", [show_and_tell, tied_language_model])
@pytest.mark.parametrize("frozen", [False, True])
def test_a_frozen_table_does_not_learn_and_the_rest_does(
    builder: Builder, frozen: bool, tokenizer: Tokenizer, tmp_path: Path, features: ImageFeatures, batch: CaptionBatch
) -> None:
    decoder = builder(tokenizer)
    write(tmp_path / "v.vec", 5)
    start_embeddings(decoder, tokenizer, tmp_path / "v.vec", frozen=frozen)
    captioner = CaptioningModule(
        Captioner(Blind(), decoder, tokenizer), optimizer=lambda groups: torch.optim.Adam(groups, lr=0.1)
    )
    before = {name: value.clone() for name, value in decoder.state_dict().items()}
    optimizer = captioner.configure_optimizers()
    for _ in range(2):
        optimizer.zero_grad()
        CrossEntropy()(decoder, features, batch).backward()
        nn.utils.clip_grad_norm_(captioner.parameters(), 5.0)
        optimizer.step()
    same = {name for name, value in decoder.state_dict().items() if torch.equal(value, before[name])}
    assert same == ({"embedding.weight"} if frozen else set())
    again = captioner.configure_optimizers()
    again.load_state_dict(optimizer.state_dict())  # as a run that goes on does
    assert again.state_dict().keys() == optimizer.state_dict().keys()


def text_encoder(tokenizer: Tokenizer) -> TextEncoder:
    torch.manual_seed(0)
    return TextEncoder(vocab_size=len(tokenizer), recurrent=GRU, embedding_size=5, hidden_size=13)


@pytest.mark.parametrize("frozen", [False, True])
def test_an_encoder_s_words_start_from_vectors_and_stay_so_where_frozen_though_the_rest_learns(
    frozen: bool, tokenizer: Tokenizer, tmp_path: Path, batch: CaptionBatch
) -> None:
    encoder = text_encoder(tokenizer)
    vectors = write(tmp_path / "v.npz", 5)
    start_embeddings(encoder, tokenizer, tmp_path / "v.npz", frozen=frozen)
    rows = [tokenizer.vocabulary.index(word) for word in KNOWN[:3]]
    ratio = encoder.embedding.weight.detach()[rows] / torch.from_numpy(vectors.vectors[:3])
    torch.testing.assert_close(ratio, ratio[0, 0].expand(3, 5))
    captioner = CaptioningModule(
        Captioner(encoder, show_and_tell(tokenizer), tokenizer, transform=TextTransform(tokenizer)),
        finetuning=FineTuning(),
        optimizer=lambda groups: torch.optim.Adam(groups, lr=0.1, weight_decay=0.1),
    )
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    optimizer = captioner.configure_optimizers()
    features = encoder(TextTransform(tokenizer)(["a dog runs", "a cat", "sleeps"]))
    CrossEntropy()(captioner.captioner.decoder, features, batch).backward()
    optimizer.step()
    same = {name for name, value in encoder.state_dict().items() if torch.equal(value, before[name])}
    assert same == ({"embedding.weight"} if frozen else set())
    text_encoder(tokenizer).load_state_dict(encoder.state_dict())  # as a bundle is read


def test_errors_of_an_encoder_s_vectors_name_its_own_settings(tokenizer: Tokenizer, tmp_path: Path) -> None:
    write(tmp_path / "v.npz", 6)
    with pytest.raises(InputError, match=r"the encoder's embeddings 5; set encoder\.embedding_size=6"):
        start_embeddings(text_encoder(tokenizer), tokenizer, tmp_path / "v.npz")
    parts = train_characters(["a dog"], min_count=1)
    with pytest.raises(InputError, match=r"source_embeddings=.*v\.npz: .* set text@source_text=words, or source_emb"):
        start_embeddings(text_encoder(parts), parts, tmp_path / "v.npz")
    with pytest.raises(InputError, match=r"source_embeddings=FILE: Blind has no word embeddings"):
        start_embeddings(Blind(), tokenizer, tmp_path / "v.npz")


@pytest.mark.parametrize("train", [train_bpe, train_byte_bpe, train_characters])
def test_parts_of_words_have_no_vectors(train: Callable[[list[str]], Tokenizer], tmp_path: Path) -> None:
    parts = train(["a dog and a cat"] * 5)
    write(tmp_path / "v.npz", 5, ["a", "dog"])
    with pytest.raises(
        InputError, match=r"embeddings=.*v\.npz: vectors are of words, .* set text=words, or embeddings="
    ):
        start_embeddings(show_and_tell(parts), parts, tmp_path / "v.npz")


def test_the_number_of_words_found_and_the_most_frequent_missing_ones_are_logged(
    tokenizer: Tokenizer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path / "v.npz", 5)
    with caplog.at_level(logging.INFO):
        start_embeddings(show_and_tell(tokenizer), tokenizer, tmp_path / "v.npz", frozen=True)
    assert f"3 of the vocabulary's 7 words start from {tmp_path}/v.npz, frozen; not in it: a, " in caplog.text
    assert "<unk>" not in caplog.text


def test_special_tokens_keep_their_random_start(tokenizer: Tokenizer, tmp_path: Path) -> None:
    write(tmp_path / "v.npz", 5, ["<unk>", "<eos>", "cat"])
    decoder = show_and_tell(tokenizer)
    before = table_of(decoder).detach().clone()
    start_embeddings(decoder, tokenizer, tmp_path / "v.npz")
    special = list(vars(tokenizer.special).values())
    assert torch.equal(table_of(decoder)[special], before[special])


def test_vectors_of_zeros_are_no_numbers_that_break(tokenizer: Tokenizer, tmp_path: Path) -> None:
    WordVectors(["cat"], np.zeros((1, 5), np.float32)).write(tmp_path / "v.npz")
    decoder = show_and_tell(tokenizer)
    start_embeddings(decoder, tokenizer, tmp_path / "v.npz")
    assert not table_of(decoder)[tokenizer.vocabulary.index("cat")].any()


def test_a_width_that_does_not_fit_is_reported_with_the_setting(tokenizer: Tokenizer, tmp_path: Path) -> None:
    write(tmp_path / "v.npz", 6)
    with pytest.raises(InputError, match=r"v\.npz: .* 6 wide and .* embeddings 5; set decoder\.embedding_size=6"):
        start_embeddings(show_and_tell(tokenizer), tokenizer, tmp_path / "v.npz")


def test_a_file_of_other_words_is_reported(tokenizer: Tokenizer, tmp_path: Path) -> None:
    write(tmp_path / "v.npz", 5, ["Hund", "Katze", "<unk>"])
    with pytest.raises(InputError, match=r"v\.npz: no vector for any of 7 words; check the language"):
        start_embeddings(show_and_tell(tokenizer), tokenizer, tmp_path / "v.npz")


@pytest.mark.parametrize("embedding", [None, nn.Linear(3, 5), nn.Sequential(nn.Embedding(3, 5), nn.Embedding(3, 5))])
def test_a_decoder_without_one_table_of_words_is_reported(
    tokenizer: Tokenizer, tmp_path: Path, embedding: nn.Module | None
) -> None:
    decoder = show_and_tell(tokenizer)
    decoder.embedding = embedding  # type: ignore[assignment]
    write(tmp_path / "v.npz", 5)
    with pytest.raises(InputError, match=r"ShowAndTell has no word embeddings.*set embeddings=null"):
        start_embeddings(decoder, tokenizer, tmp_path / "v.npz")
