"""Click command of the stage `normalise`, which is ltood/pipeline/normalise.py."""

import click

from ltood.pipeline import normalise

main = click.command(help=normalise.__doc__)(normalise.run)

if __name__ == "__main__":
    main()
