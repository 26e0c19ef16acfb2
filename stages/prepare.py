"""Click command of the stage `prepare`, which is ltood/pipeline/prepare.py."""

import click

from ltood.pipeline import prepare

main = click.command(help=prepare.__doc__)(prepare.run)

if __name__ == "__main__":
    main()
