"""Draw which regions of test images the head takes for something else, for the report.

Needs a head made of text and stored features of patches; without them it notes that there is
nothing to draw. No image is encoded.
"""

from ltood.pipeline._features import features
from ltood.pipeline._shell import PREPARED, REGIONS, Params, stage


@stage("visualise")
def run(params: Params) -> None:
    """Read features, head and images, write the sheet."""
    from ltood.adapting.regions import region_sheet
    from ltood.images.prepared import open_prepared
    from ltood.runtime.console import log
    from ltood.store.regions import write_regions

    sheet = region_sheet(features(), open_prepared(PREPARED))
    write_regions(REGIONS, sheet)
    if not isinstance(sheet, str):
        log(f"wrote {REGIONS}")
