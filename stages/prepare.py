"""Read the dataset, cut the long tail and write plain arrays."""

import click

from stages._shell import PREPARED, Params, stage


@click.command(help=__doc__)
@stage("prepare")
def main(params: Params) -> None:
    """Read the images of the dataset, write them as arrays."""
    chosen = params.chosen("dataset")

    from ltood.preparing.prepare import prepare

    prepare(chosen.module.Dataset(chosen.config), chosen.name, chosen.settings, PREPARED)


if __name__ == "__main__":
    main()
