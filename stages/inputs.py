"""Click command of the stage `inputs`, which is ltood/pipeline/inputs.py."""

import click

from ltood.pipeline import inputs

main = click.command(help=inputs.__doc__)(inputs.run)

if __name__ == "__main__":
    main()
