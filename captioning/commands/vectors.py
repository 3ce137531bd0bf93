"""captioning vectors: learn word vectors from captions or any text."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from captioning.commands import natural, positive
from captioning.errors import InputError

if TYPE_CHECKING:
    from captioning.text.cbow import Corpus
    from captioning.text.word_vectors import WordVectors

DESCRIPTION = """Learn word vectors by CBOW, and print the nearest neighbours of ten words.
`captioning train embeddings=OUT decoder.embedding_size=300 ...` starts a decoder from them.

CAPTIONS  a text file, one sentence a line (.gz too); Flickr8k's folder or Karpathy's JSON, of which the training
          split alone is read; COCO's captions JSON, or {"42": ["a dog", "the dog"], ...}; several are joined
OUT       the vectors' file: NAME.npz is NumPy's, NAME.vec or NAME.vec.gz word2vec's text"""
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
    add("--objective", choices=("negative", "softmax"), default="negative", help="negative sampling, or all words")
    add("--size", type=positive, default=300, metavar="E", help="width of a vector (default: 300)")
    add("--window", type=positive, default=4, metavar="N", help="neighbours to either side (default: 4)")
    add("--epochs", type=positive, default=5, metavar="N", help="passes over the text (default: 5)")
    add("--min-count", type=positive, default=5, metavar="N", help="rarer words get no vector (default: 5)")
    add("--neighbours", metavar="WORDS", help="print those of these (default: ten frequent long words)")
    add("--seed", type=natural, default=0, metavar="N", help="of everything random (default: 0)")
    learn(parser.parse_args(arguments))
    return 0


def learn(options: argparse.Namespace) -> None:
    """Learn vectors from `options.captions`, write them, and print neighbours."""
    from captioning.text.cbow import NegativeSampling, Softmax, train_cbow

    _check_out(options.out)
    corpus = _corpus(options.captions, options.min_count)
    shown = _shown(options.neighbours, corpus)
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
    _print(vectors, shown)
    print(f"written to {options.out}")


def _check_out(out: Path) -> None:
    if not out.name.endswith((".npz", ".vec", ".vec.gz")):  # and so never a file of captions that stands last
        raise InputError(
            f"{out}: expected a name for the vectors that ends in .npz, .vec or .vec.gz, after the captions"
        )
    if not out.parent.is_dir():
        raise InputError(f"{out.parent}: no such folder to write {out.name} to; make it, or name another")


def _corpus(files: Sequence[Path], min_count: int) -> Corpus:
    from captioning.text.cbow import Corpus

    sentences = [sentence for file in files for sentence in read_sentences(file)]
    try:
        return Corpus.from_sentences(sentences, min_count=min_count)
    except InputError as error:
        raise InputError(
            f"no word occurs {min_count} times in the {len(sentences):,} sentences of {', '.join(map(str, files))}; "
            "lower --min-count, or give more text"
        ) from error


def read_sentences(path: Path) -> Iterator[str]:
    """Sentences of a text file or of captions; of what has splits, those of the training split alone.

    Raises:
        InputError: the file is missing, broken, or all splits of Flickr8k in one.
    """
    from captioning.data.readers.flickr8k import read_flickr8k

    if path.is_dir():
        images = read_flickr8k(path, "train", check_files=False)
        return (caption for image in images for caption in image.captions)
    return _of_json(path) if path.suffix == ".json" else _of_text(path)


def _of_json(path: Path) -> Iterator[str]:
    from captioning.data.readers.karpathy import read_karpathy
    from captioning.json_files import read_any_json
    from captioning.metrics.files import read_references

    data = read_any_json(path, drop=("tokens", "sentids", "licenses"))
    if isinstance(data, dict) and "images" in data and "annotations" not in data:
        return (c for image in read_karpathy(path, path.parent, "train", check_files=False) for c in image.captions)
    return (caption for captions in read_references(path).values() for caption in captions)


def _of_text(path: Path) -> Iterator[str]:
    from captioning.text.lines import read_lines

    for number, line in read_lines(path):
        if number == 1 and re.match(r"image,caption$|[^\t]+#\d+\t", line):
            raise InputError(
                f"{path} holds the captions of every split of Flickr8k, found {line[:60]!r}; name its folder, "
                f"{path.parent}, of which the training split is read"
            )
        if line.strip():
            yield line


def _shown(text: str | None, corpus: Corpus) -> list[str]:
    """The words whose neighbours are printed."""
    if text is None:
        return [word for word in corpus.words if len(word) > 4][
            :10
        ]  # the shortest are mostly articles and prepositions
    words = [word.strip() for word in text.split(",") if word.strip()]
    if missing := [word for word in words if word not in set(corpus.words)]:
        raise InputError(
            f"--neighbours {','.join(missing)}: no such word among the {len(corpus.words):,} that are frequent enough; "
            "words are in lower case, and --min-count says which are left out"
        )
    return words


def _print(vectors: WordVectors, words: Sequence[str]) -> None:
    from rich.table import Table

    from captioning.reports.tables import console

    table = Table("word", "nearest, with cosines", title="neighbours")
    for word in words:
        table.add_row(word, ", ".join(f"{other} {cosine:.2f}" for other, cosine in vectors.neighbours(word, 8)))
    console().print(table)
