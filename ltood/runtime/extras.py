"""Optional packages: which extra brings them, and one sentence where one is missing."""

import importlib.util
import sys
from collections.abc import Mapping

from ltood.core.errors import MissingPackageError

#: Extras of ltood, and what each brings: packages by the name under which they are imported.
EXTRAS: Mapping[str, Mapping[str, str]] = {
    "pipeline": {"click": "click", "dvc": "DVC"},
    "report": {"jinja2": "Jinja2", "matplotlib": "Matplotlib"},
    "faiss": {"faiss": "FAISS"},
    "vision": {"PIL": "Pillow", "torchvision": "torchvision"},
    "clip": {"open_clip": "open_clip_torch"},
    "timm": {"timm": "timm"},
    "remote": {"fsspec": "fsspec", "s3fs": "s3fs", "sshfs": "sshfs"},
    "hub": {"huggingface_hub": "huggingface_hub"},
    "arrow": {"pyarrow": "pyarrow"},
    "serve": {"fastapi": "FastAPI", "uvicorn": "uvicorn", "python_multipart": "python-multipart"},
    "live": {"dvclive": "DVCLive"},
    "onnx": {
        "onnx": "ONNX",
        "onnxruntime": "ONNX Runtime",
        "onnxscript": "ONNX Script",
    },
    "slurm": {"submitit": "submitit"},
}


def is_there(module: str) -> bool:
    """Whether a top-level module can be imported; it is looked for, not imported."""
    if module in sys.modules:
        return sys.modules[module] is not None
    return importlib.util.find_spec(module) is not None


def command(module: str) -> str:
    """Command that installs a package: with the extra it belongs to, or by itself."""
    extras = [extra for extra, packages in EXTRAS.items() if module in packages]
    return f'pip install "ltood[{extras[0]}]"' if extras else f"pip install {module}"


def require(module: str, what: str) -> None:
    """Refuse work that needs a missing package.

    Args:
        module: Top-level module, such as "PIL".
        what: What needs it, the beginning of the sentence, such as "a report".

    Raises:
        MissingPackageError: If it is not installed; names the command that installs it.
    """
    if not is_there(module):
        names = {key: name for packages in EXTRAS.values() for key, name in packages.items()}
        raise MissingPackageError(
            f"{what} needs {names.get(module, module)}, which is not installed; run "
            f"{command(module)}."
        )
