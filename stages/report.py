"""Click command of the stage `report`, which is ltood/pipeline/report.py."""

import click

from ltood.pipeline import report

main = click.command(help=report.__doc__)(report.run)

if __name__ == "__main__":
    main()
