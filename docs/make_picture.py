"""Take the picture of the front page: docs/assets/report.webp.

python docs/make_picture.py REPORT.html   needs Chromium and Pillow

The report is that of the demo, results/report.html after `dvc repro`.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

TARGET = Path(__file__).resolve().parent / "assets" / "report.webp"
SIZE = (1240, 900)
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
LARGEST = 150_000


def screenshot(report: Path, target: Path, size: tuple[int, int] = SIZE) -> None:
    """Draw the top of a report in a browser without a window.

    Raises:
        SystemExit: If there is no browser.
        subprocess.CalledProcessError: If it fails.
    """
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        raise SystemExit(f"no browser is installed; one of {', '.join(BROWSERS)} is needed.")
    with tempfile.TemporaryDirectory() as profile:
        subprocess.run(
            [
                browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
                "--force-device-scale-factor=1", f"--user-data-dir={profile}",
                f"--window-size={size[0]},{size[1]}", f"--screenshot={target}",
                report.resolve().as_uri(),
            ],
            check=True, capture_output=True, timeout=120,
        )  # fmt: skip


def main() -> int:
    """Write the picture; returns the exit code."""
    if len(sys.argv) != 2:
        print(__doc__)
        return 2
    with tempfile.TemporaryDirectory() as folder:
        shot = Path(folder) / "shot.png"
        screenshot(Path(sys.argv[1]), shot)
        TARGET.parent.mkdir(exist_ok=True)
        Image.open(shot).convert("RGB").save(TARGET, quality=82, method=6)
    size = TARGET.stat().st_size
    print(f"{TARGET.name}: {size:,} bytes")
    return 0 if size < LARGEST else 1


if __name__ == "__main__":
    sys.exit(main())
