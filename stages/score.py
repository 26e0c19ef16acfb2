"""Click command of the stage `score`, which is ltood/pipeline/score.py."""

import click

from ltood.pipeline import score

main = click.command(help=score.__doc__)(score.run)

if __name__ == "__main__":
    main()
