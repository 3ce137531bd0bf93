"""Word embeddings of decoders and of encoders of sentences that start from pretrained word vectors."""

from __future__ import annotations

import logging
from pathlib import Path

import torch
from torch import Tensor, nn

from captioning.encoders.encoder import Encoder
from captioning.errors import InputError
from captioning.text.tokenizer import Tokenizer
from captioning.text.word_vectors import WordVectors

log = logging.getLogger(__name__)


def start_embeddings(model: nn.Module, tokenizer: Tokenizer, path: str | Path, *, frozen: bool = False) -> None:
    """Initialise word embeddings from a file of vectors. Words without a vector keep their random initialisation.

    All vectors are multiplied by one factor, so that their root mean square is that of the rows that they replace.
    This keeps the model's own scale of inputs, and words with and without a vector stay comparable.

    Args:
        model: a new model, whose `embedding` is, or contains, the word embeddings (V, E).
        tokenizer: the model's.
        path: a file that `WordVectors.read` reads, from `captioning vectors` or elsewhere.
        frozen: do not train the embeddings, nor a softmax that is tied to them.

    Raises:
        InputError: the file holds no word vectors, vectors of another width, or no vector of any of the words; or the
            model has no word embeddings, or embeddings of subwords.
    """
    part, side = ("encoder", "source_") if isinstance(model, Encoder) else ("decoder", "")
    table = _table(model, f"{side}embeddings")
    if not tokenizer.is_word_level:
        text = "text@source_text" if side else "text"
        raise InputError(
            f"{side}embeddings={path}: vectors are of words, and the {part}'s tokens are subwords; set "
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
        ", frozen" if frozen else "",
        f"; not in it: {', '.join(missing[:10])}{', ...' if len(missing) > 10 else ''}" if missing else "",
    )


def _table(model: nn.Module, setting: str) -> nn.Embedding:
    """Return the word embeddings: the model's `embedding`, or the one inside it, as in m-RNN."""
    embedding = getattr(model, "embedding", None)
    tables = [part for part in embedding.modules() if isinstance(part, nn.Embedding)] if embedding is not None else []
    if len(tables) != 1:
        raise InputError(
            f"{setting}=FILE: {type(model).__name__} has no word embeddings (its `embedding`) to initialise; set "
            f"{setting}=null, or choose another model"
        )
    return tables[0]


def _freeze(table: nn.Embedding) -> None:
    # A buffer, not a parameter without gradient: fine-tuning an encoder trains all of its parameters.
    weight = table.weight.detach()
    del table.weight
    table.register_buffer("weight", weight)


def _root_mean_square(values: Tensor) -> Tensor:
    return values.square().mean().sqrt().clamp(min=torch.finfo(values.dtype).tiny)
