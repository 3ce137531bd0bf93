"""captioning nbest: write the M best captions of each image of a split, with the features that re-rank them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from captioning.commands._bundles import load, load_as, trust_as_override
from captioning.commands.evaluate import check_languages, chosen_search, models_of
from captioning.errors import InputError, shown

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from captioning.data.module import CaptionDataModule
    from captioning.evaluation.nbest import Found
    from captioning.model.aligner import Aligner
    from captioning.model.image_model import ImageModel
    from captioning.reranking import NBest
    from captioning.search.hypotheses import Search

HELP = """usage: captioning nbest bundle=DIR data=NAME data.root=DIR [data.split=val] [KEY=VALUE ...]

Write the M best captions of each image of a split, with the features by which `captioning rerank` chooses among them:
log-likelihood, length, both together, rank, the number of detected words, and the score of a matcher (arXiv:1411.4952).
Writes nbest.json, and references.json with the references of the same images.

examples:
  captioning nbest bundle=BUNDLE data=flickr8k data.root=PATH search.beam_size=20 matcher_bundle=MATCHER output=lists
  captioning nbest bundle=BUNDLE data=coco data.root=PATH search.num_best=10 consensus=cider output=lists

settings:
  bundle=WHERE           the captioner (required); --trust PACKAGE runs a package's code that a bundle needs
  data=..., search=...   as for `captioning evaluate`; data.features=DIR holds the captioner's features
  search.num_best=M      captions of each image; by default the bundle's, or all beams of a beam search that keeps one
  matcher_bundle=DIR     a matcher, such as a dmsm
  matcher_features=DIR   the matcher's cached features; by default data.features if they fit, else images are encoded
  consensus=cider        or bleu: also score captions by those of similar training images (m-RNN, arXiv:1412.6632);
                         consensus_images=60 of them, and consensus_captions=125 (for bleu 175), the most similar
  device=cuda            by default cuda if there is a GPU, else cpu
  output=DIR             the folder for the files
"""


def main(arguments: Sequence[str]) -> int:
    """Run the command."""
    if {"-h", "--help"} & set(arguments):
        print(HELP, end="")
        return 0
    from captioning.commands._hydra import run

    if given := [argument for argument in arguments if argument.startswith("matcher=")]:
        raise InputError(
            f"{shown(given[0], 200)}: this group is for training; name a trained matcher as matcher_bundle=DIR"
        )
    return run("nbest", nbest, trust_as_override(arguments))


def nbest(config: DictConfig, output: Path) -> None:
    """Write the M-best lists of `config.bundle` on `config.data`, and their references, into `output`."""
    import torch

    from captioning.data.readers import ParallelText
    from captioning.evaluation import nbest as lists
    from captioning.files.atomic import write_json
    from captioning.model.aligner import Aligner
    from captioning.model.where import locate
    from captioning.reranking import write_nbest
    from captioning.training.detected import search_arguments, words_of

    device = config.device or ("cuda" if torch.cuda.is_available() else "cpu")
    bundles = models_of(config)
    captioner = load(bundles, device, config.trust, option="device=").pack()
    data = _data(captioner, config, config.data.features)
    if isinstance(data.splits.reader, ParallelText):
        for bundle in bundles:
            check_languages(locate(Path(bundle)), data.splits.reader, translates=captioner.encoder.reads == "texts")
    if config.consensus is not None:
        lists.check_consensus(captioner, data, config.consensus)
        data.evaluation_dataloader("train")  # as for the split itself
    words = words_of(captioner.encoder, captioner.tokenizer)
    arguments = search_arguments(captioner.encoder, captioner.tokenizer)
    chosen = chosen_search(config.search, captioner.search, captioner.tokenizer, arguments)
    search = with_all_beams(chosen, config.search.num_best)
    matched, consensus, matcher = None, None, None
    if config.matcher_bundle is not None:  # is read before the search, which may take hours
        aligner = load_as(Aligner, config.matcher_bundle, device, config.trust, option="device=")
        matcher = aligner, _matcher_data(aligner, config)
    found = lists.find(captioner, search, data, words.get("concepts", ()))
    if matcher is not None:
        matched = lists.similarities(*matcher, found)
    if config.consensus is not None:
        consensus = lists.consensus_scores(
            captioner,
            data,
            found,
            similarity=config.consensus,
            num_images=config.consensus_images,
            num_captions=config.consensus_captions,
        )
    written = lists.as_nbest(found, matched, consensus)
    write_json(output / "references.json", data.splits.references(data.split), indent=None)
    write_nbest(output / "nbest.json", written)
    _report(written, found, data)
    print(f"written to {output}; re-rank with\n  captioning rerank {output}/nbest.json {output}/references.json")


def with_all_beams(search: Search, num_best: int | None) -> Search:
    """Let a beam search that keeps one caption of each image keep all its beams, unless `num_best` is given."""
    from captioning.search import BeamSearch

    if isinstance(search, BeamSearch) and num_best is None and search.num_best == 1:
        return replace(search, num_best=search.beam_size)
    return search


def _data(model: ImageModel, config: DictConfig, features: str | None) -> CaptionDataModule:
    """Open the data for a model, with cached features or, if `features` is None, with images."""
    from omegaconf import OmegaConf

    from captioning.data.module import CaptionDataModule
    from captioning.training.assemble import open_data

    settings = OmegaConf.merge(config.data, {"features": features})
    splits, loading = open_data(settings, reads=model.encoder.reads)  # type: ignore[arg-type]
    data = CaptionDataModule(
        splits,
        loading,
        encoder=model.encoder,
        transform=model.transform,
        tokenizer=model.tokenizer,
        categories=getattr(model.head, "categories", None),
    )
    data.evaluation_dataloader(data.split)  # what is missing is found before any work
    return data


def _matcher_data(aligner: Aligner, config: DictConfig) -> CaptionDataModule:
    """Open the data for a matcher: with its own features if there are any, else with images."""
    from captioning.data.features.store import FeatureStore
    from captioning.data.splits import split_name

    if config.matcher_features is not None:
        return _data(aligner, config, config.matcher_features)
    if config.data.features is not None and aligner.encoder.reads != "nothing":
        store = FeatureStore(Path(config.data.features) / split_name(config.data.split))
        if store.is_of(aligner.encoder.identity(aligner.transform)):
            return _data(aligner, config, config.data.features)
        print("data.features are of another encoder than the matcher's, which encodes the images")
    return _data(aligner, config, None)


def _report(lists: NBest, found: Sequence[Found], data: CaptionDataModule) -> None:
    """Print how many captions there are, what was left out, and which features they have."""
    counts = [len(own.captions) for own in found]
    each = f"{min(counts)} to {max(counts)}" if min(counts) < max(counts) else f"{max(counts)}"
    print(f"{data.splits.name} {data.split}: {sum(counts):,} captions of {len(counts):,} images, {each} of each")
    if num_equal := sum(own.num_equal for own in found):
        print(f"{num_equal:,} captions with the text of an earlier one of their image were left out")
    if num_unfinished := sum(own.num_unfinished for own in found):
        print(f"{num_unfinished:,} captions were truncated at the maximum length")
    print(f"features: {', '.join(lists.names)}")
    if found[0].said is None:
        print("no detected words (says_0 to says_10): the encoder is not encoder=detected_words")
    if "similarity" not in lists.names:
        print("no similarity: there is no matcher_bundle=")
    if max(counts) == 1:
        print("each image has one caption, so there is nothing to choose: use search=beam search.beam_size=10")
