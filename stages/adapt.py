"""Click command of the stage `adapt`, which is ltood/pipeline/adapt.py."""

import click

from ltood.pipeline import adapt

main = click.command(help=adapt.__doc__)(adapt.run)

if __name__ == "__main__":
    main()
