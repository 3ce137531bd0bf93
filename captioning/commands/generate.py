"""captioning generate: make up sentences with a language model's bundle."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from captioning.commands import natural, positive
from captioning.commands._bundles import one_line, sampling
from captioning.errors import InputError


def main(arguments: Sequence[str]) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(
        prog="captioning generate",
        description="Make up sentences with a language model: each token is drawn as the model says how probable it "
        "is. The most probable sentence comes first.",
        epilog="example: captioning generate runs/language_model/bundle --num 5 --temperature 0.7",
    )
    parser.add_argument("bundle", help="the model's folder")
    parser.add_argument("--num", type=positive, default=10, help="sentences (default 10)")
    parser.add_argument(
        "--temperature", type=float, default=1.0, help="below 1 for likelier tokens, above 1 for odder ones (default 1)"
    )
    parser.add_argument(
        "--max-length", type=positive, help="tokens of the longest sentence (default: as the bundle says)"
    )
    parser.add_argument("--seed", type=natural, default=1, help="another one draws other sentences (default 1)")
    options = parser.parse_args(arguments)

    import torch

    from captioning.decoders import LanguageModel
    from captioning.encoders.features import ImageFeatures
    from captioning.model.captioner import Captioner

    captioner = Captioner.from_pretrained(options.bundle)
    kind = type(captioner.decoder)
    if not issubclass(kind, LanguageModel):
        raise InputError(
            f"{options.bundle} is a {kind.__name__}, which needs something to look at; expected a "
            "LanguageModel, as decoder=language_model trains; `captioning caption BUNDLE IMAGE --temperature "
            f"{options.temperature:g}` draws captions of images"
        )
    length = {} if options.max_length is None else {"max_length": options.max_length}
    search = sampling(
        captioner.search, temperature=options.temperature, num_samples=options.num, seed=options.seed, **length
    )
    nothing_to_see = ImageFeatures(torch.zeros(1, captioner.encoder.feature_size))
    found = search(captioner.decoder, nothing_to_see, captioner.tokenizer.special)
    for tokens in found.tokens[0].tolist():
        print(one_line(captioner.tokenizer.decode(tokens)))
    if cut := int((~found.finished).sum()):
        print(f"captioning generate: {cut} of {options.num} were cut at {search.max_length} tokens", file=sys.stderr)
    return 0
