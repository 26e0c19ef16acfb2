"""Click command of the stage `train`, which is ltood/pipeline/train.py."""

import click

from ltood.pipeline import train

main = click.command(help=train.__doc__)(train.run)

if __name__ == "__main__":
    main()
