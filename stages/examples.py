"""Click command of the stage `examples`, which is ltood/pipeline/examples.py."""

import click

from ltood.pipeline import examples

main = click.command(help=examples.__doc__)(examples.run)

if __name__ == "__main__":
    main()
