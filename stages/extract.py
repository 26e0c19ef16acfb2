"""Click command of the stage `extract`, which is ltood/pipeline/extract.py."""

import click

from ltood.pipeline import extract

main = click.command(help=extract.__doc__)(extract.run)

if __name__ == "__main__":
    main()
