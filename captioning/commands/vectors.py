"""captioning vectors: learn word vectors from captions or other text."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING

from captioning.commands import natural, parse_arguments, positive
from captioning.errors import InputError, shown

if TYPE_CHECKING:
    from captioning.text.cbow import Corpus
    from captioning.text.word_vectors import WordVectors

DESCRIPTION = """Learn word vectors by CBOW, and print the nearest neighbours of ten words.
To initialize a decoder with them: captioning train embeddings=OUT decoder.embedding_size=300 ...

CAPTIONS  one or more of:
          - a text file with one sentence per line (also .gz)
          - Flickr8k's folder or Karpathy's JSON; only the training split is read
          - COCO's captions JSON, a JSON such as {"42": ["a dog", "the dog"], ...}, JSON lines, .csv or .tsv
OUT       the file of the vectors: NAME.npz (NumPy), NAME.vec or NAME.vec.gz (word2vec's text format)"""
EPILOG = "example: captioning vectors PATH/OF/flickr8k vectors.npz --neighbours dog,red,running"


def main(arguments: Sequence[str]) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(
        prog="captioning vectors",
        usage="captioning vectors CAPTIONS [CAPTIONS ...] OUT [options]",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=partial(argparse.RawDescriptionHelpFormatter, max_help_position=40, width=120),
    )
    add = parser.add_argument
    add("captions", nargs="+", type=Path, help=argparse.SUPPRESS)
    add("out", type=Path, help=argparse.SUPPRESS)
    add(
        "--objective",
        choices=("negative", "softmax"),
        default="negative",
        help="loss: negative sampling or the full softmax (default: negative)",
    )
    add("--size", type=positive, default=300, metavar="E", help="width of a vector (default: 300)")
    add("--window", type=positive, default=4, metavar="N", help="words of context on each side (default: 4)")
    add("--epochs", type=positive, default=5, metavar="N", help="passes over the text (default: 5)")
    add("--min-count", type=positive, default=5, metavar="N", help="rarer words get no vector (default: 5)")
    add(
        "--neighbours",
        metavar="WORDS",
        help="print the neighbours of these words, separated by commas (default: ten frequent words)",
    )
    add("--seed", type=natural, default=0, metavar="N", help="random seed (default: 0)")
    learn(parse_arguments(parser, arguments))
    return 0


def learn(options: argparse.Namespace) -> None:
    """Learn vectors from `options.captions`, write them, and print neighbours."""
    from captioning.text.cbow import NegativeSampling, Softmax, train_cbow

    _check_out(options.out)
    corpus = _corpus(options.captions, options.min_count)
    words = _words(options.neighbours, corpus)
    print(f"{len(corpus.words):,} words in {len(corpus.sentences):,} sentences", flush=True)
    vectors = train_cbow(
        corpus,
        {"negative": NegativeSampling, "softmax": Softmax}[options.objective],
        size=options.size,
        window=options.window,
        epochs=options.epochs,
        seed=options.seed,
        on_epoch=lambda epoch, loss: print(f"epoch {epoch} of {options.epochs}: loss {loss:.3f}", flush=True),
    )
    vectors.write(options.out)
    _print(vectors, words)
    print(f"written to {options.out}")


def _check_out(out: Path) -> None:
    if not out.name.endswith((".npz", ".vec", ".vec.gz")):  # so that a file of captions given last is not overwritten
        raise InputError(f"{out}: expected the output file last, with a name that ends in .npz, .vec or .vec.gz")
    if not out.parent.is_dir():
        raise InputError(f"{out.parent}: no such folder to write {out.name} to; create it or give another")


def _corpus(files: Sequence[Path], min_count: int) -> Corpus:
    from captioning.text.cbow import Corpus

    sentences = [sentence for file in files for sentence in read_sentences(file)]
    try:
        return Corpus.from_sentences(sentences, min_count=min_count)
    except InputError as error:
        raise InputError(
            f"no word occurs {min_count} times in the {len(sentences):,} sentences of {', '.join(map(str, files))}; "
            "lower --min-count or give more text"
        ) from error


def read_sentences(path: Path) -> Iterator[str]:
    """Read sentences from a text file or a data set; of a data set with splits, only the training split.

    Raises:
        InputError: the file is missing or damaged, or is Flickr8k's file of all splits.
    """
    from captioning.data.readers.flickr8k import read_flickr8k

    if path.is_dir():
        images = read_flickr8k(path, "train", check_files=False)
        return (caption for image in images for caption in image.captions)
    from captioning.metrics.formats import is_text

    return _of_text(path) if is_text(path) else _of_records(path)


def _of_records(path: Path) -> Iterator[str]:
    from captioning.data.readers.karpathy import read_karpathy
    from captioning.metrics.files import has_splits, read_references

    if has_splits(path):
        return (c for image in read_karpathy(path, path.parent, "train", check_files=False) for c in image.captions)
    return (caption for captions in read_references(path).values() for caption in captions)


def _of_text(path: Path) -> Iterator[str]:
    from captioning.metrics.formats import check_captions
    from captioning.text.lines import read_lines

    numbered = read_lines(path)
    first = [line for _, line in islice(numbered, 100)]
    if first and re.match(r"image,caption$|[^\t]+#\d+\t", first[0]):
        raise InputError(
            f"{shown(path, 300)}: this file has the captions of all splits of Flickr8k ('{shown(first[0], 60)}'); give "
            f"its folder {shown(path.parent, 300)}, so that only the training split is read"
        )
    check_captions(first, shown(path, 300))
    yield from (line for line in chain(first, (line for _, line in numbered)) if line.strip())


def _words(text: str | None, corpus: Corpus) -> list[str]:
    """Return the words whose neighbours are printed."""
    if text is None:
        long = (word for word in corpus.words if len(word) > 4)  # short words are mostly articles and prepositions
        return list(islice(long, 10))
    words = [word.strip() for word in text.split(",") if word.strip()]
    if missing := [word for word in words if word not in set(corpus.words)]:
        raise InputError(
            f"--neighbours {shown(','.join(missing))}: not among the {len(corpus.words):,} frequent words; "
            "use lower case, or lower --min-count"
        )
    return words


def _print(vectors: WordVectors, words: Sequence[str]) -> None:
    from rich.table import Table

    from captioning.reports.tables import console

    table = Table("word", "nearest words, with cosine similarity", title="neighbours")
    for word in words:
        table.add_row(word, ", ".join(f"{other} {cosine:.2f}" for other, cosine in vectors.neighbours(word, 8)))
    console().print(table)
