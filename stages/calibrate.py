"""Click command of the stage `calibrate`, which is ltood/pipeline/calibrate.py."""

import click

from ltood.pipeline import calibrate

main = click.command(help=calibrate.__doc__)(calibrate.run)

if __name__ == "__main__":
    main()
