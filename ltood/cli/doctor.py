"""`ltood doctor`: what this installation can use."""

import typer


def doctor() -> None:
    """Print versions, devices and what optional parts are missing."""
    import importlib.metadata as metadata
    import importlib.util
    import os
    import platform

    import faiss
    import torch

    import ltood

    typer.echo(f"ltood       {ltood.__version__}")
    typer.echo(
        f"python      {platform.python_version()} on {platform.system()} {platform.machine()}"
    )
    for package in ("torch", "torchvision", "numpy", "zarr", "dvc"):
        typer.echo(f"{package:<12}{metadata.version(package)}")
    typer.echo(f"faiss       {faiss.__version__}, {faiss.get_num_gpus()} GPUs")
    typer.echo(f"cpu cores   {os.cpu_count()}, torch uses {torch.get_num_threads()} threads")
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            typer.echo(f"cuda:{index}      {torch.cuda.get_device_name(index)}")
    else:
        typer.echo("cuda        none: everything runs on the CPU")
    for module, extra in (("open_clip", "clip"), ("timm", "timm")):
        there = importlib.util.find_spec(module) is not None
        typer.echo(f"{module:<12}{'there' if there else f'missing; install ltood[{extra}]'}")
