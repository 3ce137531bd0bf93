"""captioning generate: sample sentences from a language model."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from captioning.commands import natural
from captioning.commands._bundles import add_trust, json_line, load, one_line
from captioning.commands._search import as_json, chosen_search, parsed, print_words, searching_parser
from captioning.errors import InputError

NUM_SENTENCES = 10

HELP = """\
Sample sentences from a language model. Each token is drawn with the model's probability. The most probable sentence
is printed first. With --beam-size, the most probable sentences are searched for instead.

  --model WHERE       a bundle, the folder of a run, or a run's checkpoint
  --num-samples N     number of sentences (10)
  --runners-up N      also the N most probable other words in the place of each word
  --json              {"text", "score", "finished", "words"} on each line; scores are log-probabilities
  --trust PACKAGE     run a package's code

{search}
example: captioning generate --model runs/language_model --num-samples 5 --temperature 0.7
"""


def main(arguments: Sequence[str]) -> int:
    """Run the command."""
    parser = searching_parser("generate", "--model WHERE [options]", HELP, thing="model")
    parser.add_argument("old", nargs="*")
    parser.add_argument("--runners-up", type=natural, default=0)
    parser.add_argument("--json", action="store_true")
    add_trust(parser)
    options = parsed(parser, arguments, positional="old")
    if options.old:
        parser.error(f"there is nothing to give besides options, found {one_line(options.old[0])}")

    if len(options.model) > 1:
        parser.error("--model can be given once: language models make no ensemble")
    captioner = load(options.model, "cpu", options.trust)

    import torch

    from captioning.decoders import LanguageModel
    from captioning.encoders.features import ImageFeatures
    from captioning.model.found import captions_of
    from captioning.search import Sampling
    from captioning.search.hypotheses import Hypotheses

    kind = type(captioner.decoder)
    if not issubclass(kind, LanguageModel):
        raise InputError(
            f"{options.model[0]} is a {kind.__name__}, which needs an image; expected a LanguageModel, trained with "
            "decoder=language_model. To sample captions of images, use `captioning caption IMAGE --model "
            f"{options.model[0]} --temperature {1 if options.temperature is None else options.temperature:g}`"
        )
    draws: dict[str, float] = {}
    if options.beam_size is None and options.length_normalization is None:
        draws = {"num_samples": options.num_best or NUM_SENTENCES}
        draws |= {} if isinstance(captioner.search, Sampling) else {"temperature": 1.0}
    search = chosen_search(captioner, options, **draws)
    no_image = ImageFeatures(torch.zeros(1, captioner.encoder.feature_size))
    found = search(captioner.decoder, no_image, captioner.tokenizer.special)
    kept = found.lengths[0] > 0
    each = Hypotheses(**{name: values[0, kept][:, None] for name, values in vars(found).items()})
    rows = no_image.rows(torch.zeros(len(each.lengths), dtype=torch.int64))
    sentences = captions_of(
        each,
        captioner.decoder,
        rows,
        captioner.tokenizer,
        runners_up=options.runners_up,
        allow_unknown=search.allow_unknown,
    )
    for sentence in sentences:
        if options.json:
            print(json_line({"text": sentence.text, **as_json(sentence)}))
            continue
        print(one_line(sentence.text))
        print_words(sentence)
    if num := sum(not sentence.finished for sentence in sentences):
        print(
            f"captioning generate: {num} of {len(sentences)} were truncated at {search.max_length} tokens",
            file=sys.stderr,
        )
    return 0
