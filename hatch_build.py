"""Build hook: what a wheel holds in addition to the modules: the pipeline and the demo images."""

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FILES = (
    *("dvc.yaml", "params.yaml", "params.schema.json", "docs/skill/SKILL.md"),
    *(".dvcignore", ".dvc/config", ".dvc/plots/*", "data/demo/*", "tables/*.yaml"),
)


class Shipped(BuildHookInterface):
    """Copies the repository's own files; ltood/runtime/shipped.py finds them."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Name them. An editable install reads them where they are."""
        if version == "editable":
            return
        root = Path(self.root)
        for path in (found for pattern in FILES for found in sorted(root.glob(pattern))):
            if path.suffix != ".py":  # What made the demo images serves the repository.
                name = path.relative_to(root).as_posix()
                build_data["force_include"][name] = f"ltood/shipped/{name}"
