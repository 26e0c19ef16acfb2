"""Read the dataset, cut the long tail and write plain arrays."""

import click

from ltood.runtime.workspace import locate
from stages._shell import PREPARED, Params, stage
from stages._watched import HASHES


@click.command(help=__doc__)
@stage("prepare")
def main(params: Params) -> None:
    """Read the images of the dataset, write them as arrays."""
    chosen = params.chosen("dataset")

    from ltood.preparing.prepare import prepare

    dataset = chosen.module.Dataset(chosen.config)
    prepare(dataset, chosen.name, chosen.settings, PREPARED, locate(HASHES))


if __name__ == "__main__":
    main()
