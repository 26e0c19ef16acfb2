"""Click command of the stage `evaluate`, which is ltood/pipeline/evaluate.py."""

import click

from ltood.pipeline import evaluate

main = click.command(help=evaluate.__doc__)(evaluate.run)

if __name__ == "__main__":
    main()
