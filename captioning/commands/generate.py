"""captioning generate: sample sentences from a language model's bundle."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from captioning.commands import natural, positive
from captioning.commands._bundles import add_trust, load, one_line, sampling
from captioning.errors import InputError


def main(arguments: Sequence[str]) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(
        prog="captioning generate",
        description="Sample sentences from a language model. Each token is drawn with the model's probability. "
        "The most probable sentence is printed first.",
        epilog="example: captioning generate runs/language_model/bundle --num 5 --temperature 0.7",
    )
    parser.add_argument("bundle", help="the model's folder")
    parser.add_argument("--num", type=positive, default=10, help="number of sentences (default 10)")
    parser.add_argument(
        "--temperature", type=float, default=1.0, help="below 1 prefers probable tokens, above 1 rare ones (default 1)"
    )
    parser.add_argument("--max-length", type=positive, help="largest number of tokens (default: the bundle's)")
    parser.add_argument("--seed", type=natural, default=1, help="seed of the random draws (default 1)")
    add_trust(parser)
    options = parser.parse_args(arguments)

    captioner = load(options.bundle, "cpu", options.trust)

    import torch

    from captioning.decoders import LanguageModel
    from captioning.encoders.features import ImageFeatures

    kind = type(captioner.decoder)
    if not issubclass(kind, LanguageModel):
        raise InputError(
            f"{options.bundle} is a {kind.__name__}, which needs an image; expected a LanguageModel, trained with "
            "decoder=language_model. To sample captions of images, use `captioning caption BUNDLE IMAGE "
            f"--temperature {options.temperature:g}`"
        )
    length = {} if options.max_length is None else {"max_length": options.max_length}
    search = sampling(
        captioner.search, temperature=options.temperature, num_samples=options.num, seed=options.seed, **length
    )
    no_image = ImageFeatures(torch.zeros(1, captioner.encoder.feature_size))
    found = search(captioner.decoder, no_image, captioner.tokenizer.special)
    for tokens in found.tokens[0].tolist():
        print(one_line(captioner.tokenizer.decode(tokens)))
    if num := int((~found.finished).sum()):
        print(
            f"captioning generate: {num} of {options.num} were truncated at {search.max_length} tokens", file=sys.stderr
        )
    return 0
