"""captioning train: one run, or with -m a sweep with one table of results."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

from captioning.commands import config_folder

HELP = """usage: captioning train [experiment=NAME] [KEY=VALUE ...] [-m]

Train a captioner. Every setting is a Hydra override, and an experiment is a set of overrides.

examples:
  captioning train experiment=finetune model=WHERE data=folder data.root=PHOTOS    (docs/own_data.md)
  captioning train experiment=flickr8k/mrnn data.root=PATH/OF/flickr8k decoder.dropout=0.3 trainer.max_epochs=5
  captioning train -m experiment=scenes/show_and_tell,scenes/mrnn seed=1,2

{experiments}
{groups}

output=DIR names the run's folder. It holds the log, checkpoints/, metrics.json, captions.json and bundle/.
-m runs every combination of the comma-separated choices, in folders within output=DIR, and writes one table, sweep.csv;
with hydra/launcher=joblib or submitit_slurm side by side. With hydra/sweeper=optuna, Optuna chooses the values.
trainer=ddp trains on every GPU of this machine. logger=wandb (the default), csv, tensorboard, mlflow or a [LIST].
--cfg job prints the configuration. --config-dir DIR adds your own options of the groups. --hydra-help lists more.
output=DIR resume=auto resumes what is in a run's or sweep's folder, or starts anew if there is nothing. With a larger
trainer.max_epochs it trains longer. checkpoint=FILE starts from any checkpoint. Signals save, and print how to resume.
"""


def main(arguments: Sequence[str]) -> int:
    """Run the command."""
    if {"-h", "--help"} & set(arguments):
        folder = config_folder()
        groups = [p.name for p in folder.iterdir() if p.is_dir()]
        print(HELP.format(experiments=_experiments(folder), groups=_listed("groups", groups)), end="")
        return 0
    from captioning.memory import without_collection

    with without_collection():
        from captioning.commands._bundles import trust_as_override
        from captioning.commands._hydra import run
        from captioning.training.run import check_folders, train

    return run("train", train, trust_as_override(arguments), check=check_folders)


def _experiments(folder: Path) -> str:
    """List every experiment once, with the data sets that have it. Files whose names start with _ are shared parts."""
    data_sets: dict[str, list[str]] = {}
    for path in sorted(folder.glob("experiment/*/[!_]*.yaml")):
        data_sets.setdefault(path.stem, []).append(path.parent.name)
    names: dict[str, list[str]] = {}
    for name, found in data_sets.items():
        names.setdefault("|".join(found), []).append(name)
    alone = [path.stem for path in folder.glob("experiment/[!_]*.yaml")]
    return _listed("experiments", [*alone, *(f"{found}/{{{', '.join(own)}}}" for found, own in names.items())])


def _listed(name: str, what: Sequence[object]) -> str:
    return textwrap.fill(f"{name}: {', '.join(sorted(map(str, what)))}", 116, subsequent_indent="  ")
