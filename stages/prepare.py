"""Read the dataset, cut the long tail and write plain arrays."""

import click

from stages._shell import PREPARED, choice, plain_errors


@click.command(help=__doc__)
@plain_errors
def main() -> None:
    """Read the images of the dataset, write them as arrays."""
    name, module, config = choice("dataset", "datasets")

    from ltood.core.settings import to_section
    from ltood.preparing.prepare import prepare

    prepare(module.Dataset(config), name, to_section(config), PREPARED)


if __name__ == "__main__":
    main()
