"""captioning train: one run, or with -m a sweep that ends in one table."""

from __future__ import annotations

from collections.abc import Sequence

HELP = """usage: captioning train [experiment=NAME] [KEY=VALUE ...] [-m]

Train a captioner. Every setting is a Hydra override; an experiment is a set of them.

examples:
  captioning train experiment=scenes/show_and_tell
  captioning train experiment=flickr8k/show_and_tell data.root=PATH/OF/flickr8k
  captioning train experiment=flickr8k/mrnn data.root=PATH decoder.dropout=0.3 trainer.max_epochs=5
  captioning train -m experiment=scenes/show_and_tell decoder=show_and_tell,mrnn seed=1,2

experiments:
{experiments}
groups: {groups}

A run's folder holds the log, checkpoints/, metrics.json, captions.json and bundle/; `output=DIR` names it.
-m runs every combination of the comma-separated choices and ends with one table, also as sweep.csv.
--cfg job prints the composed configuration and trains nothing. checkpoint=PATH resumes a run.
"""


def main(arguments: Sequence[str]) -> int:
    """Run the command."""
    from captioning.commands.configured import config_folder, run

    if {"-h", "--help"} & set(arguments):
        folder = config_folder()
        experiments = sorted((folder / "experiment").rglob("*.yaml"))
        names = [str(path.relative_to(folder / "experiment").with_suffix("")) for path in experiments]
        groups = sorted(path.name for path in folder.iterdir() if path.is_dir())
        print(HELP.format(experiments="".join(f"  {name}\n" for name in names), groups=", ".join(groups)), end="")
        return 0
    from captioning.training import train

    return run("train", train, arguments)
