"""Click command of the stage `visualise`, which is ltood/pipeline/visualise.py."""

import click

from ltood.pipeline import visualise

main = click.command(help=visualise.__doc__)(visualise.run)

if __name__ == "__main__":
    main()
