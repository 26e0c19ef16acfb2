"""Whether a checkpoint was trained on the images that lie beside it; no torch."""

from pathlib import Path

from ltood.core.errors import FingerprintError
from ltood.images.sources import ImageData
from ltood.networks.checkpoint_files import read_meta


def refuse_other_images(checkpoint: Path, data: ImageData) -> None:
    """Refuse a checkpoint of another run, as far as its images tell it.

    Args:
        checkpoint: Folder of a finished checkpoint.
        data: The prepared images of this run.

    Raises:
        FingerprintError: If it was trained on other images.
        StoreError: If there is no whole checkpoint.
    """
    trained = read_meta(checkpoint)["data"]
    here = data.manifest["splits"]
    other = [name for name in sorted(trained) if here.get(name, {}).get("content") != trained[name]]
    if other:
        raise FingerprintError(
            f"{checkpoint} was trained on other images: its {' and '.join(other)} differs from "
            "the prepared data. Run the train stage again, or extract with the weights of "
            "another run by `ltood store extract TO --checkpoint FOLDER`."
        )
