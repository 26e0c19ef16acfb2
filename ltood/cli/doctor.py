"""`ltood doctor`: what this installation can use."""

import typer


def doctor() -> None:
    """Print versions, devices, and which optional packages are installed."""
    import importlib.metadata as metadata
    import os
    import platform

    import torch

    import ltood
    from ltood.runtime.extras import EXTRAS, is_there

    typer.echo(f"ltood       {ltood.__version__}")
    typer.echo(
        f"python      {platform.python_version()} on {platform.system()} {platform.machine()}"
    )
    for package in ("torch", "numpy", "scipy", "zarr"):
        typer.echo(f"{package:<12}{metadata.version(package)}")
    typer.echo(f"cpu cores   {os.cpu_count()}, torch uses {torch.get_num_threads()} threads")
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            typer.echo(f"cuda:{index}      {torch.cuda.get_device_name(index)}")
    else:
        typer.echo("cuda        none: everything runs on the CPU")
    if is_there("faiss"):
        import faiss

        typer.echo(f"faiss       {faiss.__version__}, {faiss.get_num_gpus()} GPUs")
    for extra, packages in EXTRAS.items():
        missing = [name for module, name in packages.items() if not is_there(module)]
        found = f'lacks {" and ".join(missing)}; pip install "ltood[{extra}]"'
        typer.echo(f"[{extra}]".ljust(12) + (found if missing else "installed"))
