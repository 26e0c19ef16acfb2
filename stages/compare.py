"""Click command of the stage `compare`, which is ltood/pipeline/compare.py."""

import click

from ltood.pipeline import compare

main = click.command(help=compare.__doc__)(compare.run)

if __name__ == "__main__":
    main()
