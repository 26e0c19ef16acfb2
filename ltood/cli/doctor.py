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
    from ltood.runtime.gpus import described
    from ltood.runtime.large import places

    typer.echo(f"ltood       {ltood.__version__}")
    typer.echo(
        f"python      {platform.python_version()} on {platform.system()} {platform.machine()}"
    )
    for package in ("torch", "numpy", "scipy", "zarr"):
        typer.echo(f"{package:<12}{metadata.version(package)}")
    typer.echo(f"cpu cores   {os.cpu_count()}, torch uses {torch.get_num_threads()} threads")
    typer.echo(f"arrays      {places()}")
    for name, text in described():
        typer.echo(f"{name:<12}{text}")
    if is_there("faiss"):
        import faiss

        gpus = faiss.get_num_gpus()
        searches = f"searches on {gpus} GPUs" if gpus else "uses no GPU; torch searches"
        typer.echo(f"faiss       {faiss.__version__}, {searches}")
    for extra, packages in EXTRAS.items():
        missing = [name for module, name in packages.items() if not is_there(module)]
        found = f'lacks {" and ".join(missing)}; pip install "ltood[{extra}]"'
        typer.echo(f"[{extra}]".ljust(12) + (found if missing else "installed"))
