"""Words that start from vectors that were learned elsewhere: a decoder's, and those of an encoder of sentences."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from captioning.decoders.decoder import Decoder
from captioning.encoders.encoder import Encoder
from captioning.errors import InputError
from captioning.text.tokenizer import Tokenizer
from captioning.text.word_vectors import WordVectors

log = logging.getLogger(__name__)


def start_embeddings(
    model: Decoder[Any] | Encoder, tokenizer: Tokenizer, path: str | Path, *, frozen: bool = False
) -> None:
    """Copy the vectors of a file over the rows of the words that have one.

    All are scaled by one factor, to the root mean square of the rows they replace: how large its inputs are is the
    model's choice, and words with and without a vector stay alike. Those without keep their random start.

    Args:
        model: newly built; its `embedding` is, or holds, the table of words (V, E).
        tokenizer: of its vocabulary.
        path: a file that `WordVectors.read` reads, `captioning vectors`' or others'.
        frozen: the table is no parameter any more and does not learn; a softmax that is tied to it neither.

    Raises:
        InputError: the file is none of word vectors, has none of the words, or is of another width; or the model has no
            table of words, or one of parts of words.
    """
    part, side = ("encoder", "source_") if isinstance(model, Encoder) else ("decoder", "")
    table = _table(model, f"{side}embeddings")
    if not tokenizer.is_word_level:
        text = "text@source_text" if side else "text"
        raise InputError(
            f"{side}embeddings={path}: vectors are of words, and the {part}'s tokens are parts of words; set "
            f"{text}=words, or {side}embeddings=null"
        )
    special = vars(tokenizer.special).values()
    id_of = {word: i for i, word in enumerate(tokenizer.vocabulary) if i not in special}
    vectors = WordVectors.read(str(path), only=id_of)
    if vectors.size != table.embedding_dim:
        raise InputError(
            f"{path}: the vectors are {vectors.size} wide and the {part}'s embeddings {table.embedding_dim}; set "
            f"{part}.embedding_size={vectors.size}"
        )
    rows, given = torch.tensor([id_of[word] for word in vectors.words]), torch.from_numpy(vectors.vectors)
    with torch.no_grad():
        table.weight[rows] = given * (_root_mean_square(table.weight[rows]) / _root_mean_square(given))
    if frozen:
        _freeze(table)
    missing = [word for word in id_of if word not in vectors.row_of]  # the most frequent first, as the vocabulary is
    log.info(
        "%sembeddings: %s of the vocabulary's %s words start from %s%s%s",
        side,
        f"{len(vectors):,}",
        f"{len(id_of):,}",
        path,
        ", and stay so" if frozen else "",
        f"; not in it: {', '.join(missing[:10])}{', ...' if len(missing) > 10 else ''}" if missing else "",
    )


def _table(model: nn.Module, setting: str) -> nn.Embedding:
    """The words' table: the model's `embedding`, or the first of its layers, as m-RNN's."""
    embedding = getattr(model, "embedding", None)
    tables = [part for part in embedding.modules() if isinstance(part, nn.Embedding)] if embedding is not None else []
    if len(tables) != 1:
        raise InputError(
            f"{setting}=FILE: {type(model).__name__} has no single table of words (its `embedding`) that vectors could "
            f"start; set {setting}=null, or choose another model"
        )
    return tables[0]


def _freeze(table: nn.Embedding) -> None:
    # A buffer, not a parameter without a gradient: an encoder that learns makes every parameter of it learn.
    weight = table.weight.detach()
    del table.weight
    table.register_buffer("weight", weight)


def _root_mean_square(values: Tensor) -> Tensor:
    return values.square().mean().sqrt().clamp(min=torch.finfo(values.dtype).tiny)
