"""captioning snippets: make a data set of regions and the snippets that describe them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from captioning.commands._bundles import load_as, trust_as_override

if TYPE_CHECKING:
    from omegaconf import DictConfig

HELP = """usage: captioning snippets bundle=DIR data=NAME data.root=DIR output=DIR [KEY=VALUE ...]

Align every caption with its image, and make a data set of regions: each grid cell that got a run of words counts as an
image, and these runs are its captions. A captioner that is trained on it describes regions (`captioning regions`).

examples:
  captioning snippets bundle=alignment/bundle data=flickr8k data.root=PATH data.features=features/grid output=regions
  captioning train experiment=flickr8k/region_captions data.root=regions encoder.weights=alignment/bundle

settings:
  bundle=WHERE         the aligner (required), from experiment=flickr8k/alignment; --trust PACKAGE runs a package's code
  data=NAME            the data set on which it was trained; data.features=DIR reads cached features instead of images
  beta=0.1             how strongly neighbouring words share a region; a larger value gives longer snippets
  min_words=2          shorter snippets are left out, and counted
  splits=[train,val]   which splits
  dtype=float16        of the regions' features, or float32
  output=DIR           the new data set's folder; -m beta=0.05,0.1 makes one data set for each value
"""


def main(arguments: Sequence[str]) -> int:
    """Run the command."""
    if {"-h", "--help"} & set(arguments):
        print(HELP, end="")
        return 0
    from captioning.commands._hydra import run
    from captioning.evaluation.region_snippets import check_new

    return run("snippets", snippets, trust_as_override(arguments), check=lambda _, output: check_new(output))


def snippets(config: DictConfig, output: Path) -> None:
    """Write the data set into `output`."""
    import torch

    from captioning.data.module import CaptionDataModule
    from captioning.data.splits import split_name
    from captioning.encoders.grid_cells import GridCells
    from captioning.evaluation.region_snippets import find_snippets, write_regions
    from captioning.model.aligner import Aligner
    from captioning.model.where import locate
    from captioning.training.assemble import open_data

    device = config.device or ("cuda" if torch.cuda.is_available() else "cpu")
    aligner = load_as(Aligner, config.bundle, device, config.trust, option="device=")
    GridCells(encoder=aligner.encoder)  # refuses an encoder without a grid before anything is aligned
    splits, loading = open_data(config.data, reads=aligner.encoder.reads)
    data = CaptionDataModule(
        splits, loading, encoder=aligner.encoder, transform=aligner.transform, tokenizer=aligner.tokenizer
    )
    found = {
        split: find_snippets(aligner, data, split, beta=config.beta, min_words=config.min_words)
        for split in map(split_name, config.splits)
    }
    write_regions(output, found, aligner, data, dtype=config.dtype)
    for split, own in found.items():
        print(f"{split}: {own}")
    print(
        f"written to {output}; train with data=regions data.root={output} encoder=grid_cells "
        f"encoder.weights={locate(Path(config.bundle))}"
    )
