"""One of the processes that share a stage: `torchrun --module ltood.pipeline._rank STAGE`."""

import importlib
import sys

if __name__ == "__main__":
    importlib.import_module(f"ltood.pipeline.{sys.argv[1]}").run()
