"""Click command of the stage `export`, which is ltood/pipeline/export.py."""

import click

from ltood.pipeline import export

main = click.command(help=export.__doc__)(export.run)

if __name__ == "__main__":
    main()
