"""A decoder whose words start from vectors that were learned elsewhere."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from captioning.decoders.decoder import Decoder
from captioning.errors import InputError
from captioning.text.tokenizer import Tokenizer
from captioning.text.word_vectors import WordVectors

log = logging.getLogger(__name__)


def start_embeddings(
    decoder: Decoder[Any], tokenizer: Tokenizer, path: str | Path | None, *, frozen: bool = False
) -> None:
    """Copy the vectors of a file over the rows of the words that have one.

    All are scaled by one factor, to the root mean square of the rows they replace: how large its inputs are is the
    decoder's choice, and words with and without a vector stay alike. Those without keep their random start.

    Args:
        decoder: newly built; its `embedding` is, or holds, the table of words (V, E).
        tokenizer: of its vocabulary.
        path: a file that `WordVectors.read` reads, `captioning vectors`' or others'; None changes nothing.
        frozen: the table does not learn; a softmax that is tied to it neither.

    Raises:
        InputError: there is no file to freeze, the file is none of word vectors, has none of the words, or is of
            another width, or the decoder has no table of words.
    """
    if not isinstance(frozen, bool) or (frozen and path is None):
        raise InputError(f"freeze_embeddings={frozen}: expected false, or true beside embeddings=FILE of word vectors")
    if path is None:
        return
    table = _table(decoder)
    special = vars(tokenizer.special).values()
    id_of = {word: i for i, word in enumerate(tokenizer.vocabulary) if i not in special}
    vectors = WordVectors.read(str(path), only=id_of)
    if vectors.size != table.embedding_dim:
        raise InputError(
            f"{path}: the vectors are {vectors.size} wide and the decoder's embeddings {table.embedding_dim}; set "
            f"decoder.embedding_size={vectors.size}"
        )
    rows, given = torch.tensor([id_of[word] for word in vectors.words]), torch.from_numpy(vectors.vectors)
    with torch.no_grad():
        table.weight[rows] = given * (_root_mean_square(table.weight[rows]) / _root_mean_square(given))
    table.weight.requires_grad_(not frozen)
    missing = [word for word in id_of if word not in vectors.row_of]  # the most frequent first, as the vocabulary is
    log.info(
        "embeddings: %s of the vocabulary's %s words start from %s%s%s",
        f"{len(vectors):,}",
        f"{len(id_of):,}",
        path,
        ", and stay so" if frozen else "",
        f"; not in it: {', '.join(missing[:10])}{', ...' if len(missing) > 10 else ''}" if missing else "",
    )


def _table(decoder: Decoder[Any]) -> nn.Embedding:
    """The words' table: the decoder's `embedding`, or the first of its layers, as m-RNN's."""
    embedding = getattr(decoder, "embedding", None)
    tables = [part for part in embedding.modules() if isinstance(part, nn.Embedding)] if embedding is not None else []
    if len(tables) != 1:
        raise InputError(
            f"embeddings=FILE: {type(decoder).__name__} has no single table of words (decoder.embedding) that vectors "
            "could start; set embeddings=null, or choose another decoder"
        )
    return tables[0]


def _root_mean_square(values: Tensor) -> Tensor:
    return values.square().mean().sqrt().clamp(min=torch.finfo(values.dtype).tiny)
