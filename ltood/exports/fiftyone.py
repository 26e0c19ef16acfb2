"""A folder that FiftyOne imports: FiftyOneImageClassificationDataset, as its documentation has it.

    data.json       path of each image by its key, `<split>/<row>`
    labels.json     for each key a label and its attributes
    images/         images that prepared data hold as arrays, as PNG

The label is the class of an ID row and the name of its set for another; the attributes are
`row_id`, `split`, and of each score store prediction, score and verdict.
"""

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any

from ltood.core.errors import DataError, StoreError
from ltood.exports.paths import PreparedPaths
from ltood.exports.rows import Rows, RowTable
from ltood.runtime.console import progress
from ltood.runtime.files import building_folder


def write_fiftyone(
    table: RowTable, out: Path, images: PreparedPaths | None = None, *, overwrite: bool = False
) -> int:
    """Write the rows of a table, row by row; only the paths are held in memory.

    Args:
        table: What to write; features are left out.
        out: New folder.
        images: Prepared data whose arrays are written as images where a row has no file.
        overwrite: Replace what is at `out`.

    Returns:
        Number of rows.

    Raises:
        DataError: If a row has no image, or two have the same file.
        StoreError: If `out` exists and `overwrite` is off, it cannot be written, or the stores do
            not fit one another.
    """
    if out.exists() and not overwrite:
        raise StoreError(f"{out} exists already; pass --overwrite or another path.")
    if out.exists() and any(out.iterdir()) and not (out / "labels.json").is_file():
        raise StoreError(f"{out} is not replaced: it was not written for FiftyOne.")
    seen: dict[str, str] = {}
    with (
        building_folder(out, overwrite=overwrite) as folder,
        ExitStack() as stack,
        progress(f"write {out.name}", table.num_rows) as advance,
    ):
        data = stack.enter_context(_object(folder / "data.json"))
        labels = stack.enter_context(_object(folder / "labels.json", "labels"))
        for rows in table.batches():
            written = _images(folder, rows, images)
            for number, (key, target) in enumerate(_targets(table, rows)):
                path = rows.paths[number] or written[number]
                if seen.setdefault(path, key) != key:
                    raise DataError(
                        f"{path} is the image of {seen[path]} and of {key}; FiftyOne knows an "
                        "image by its path, so export one split at a time."
                    )
                data(key, path)
                labels(key, target)
            advance(len(rows))
    return len(seen)


def _targets(table: RowTable, rows: Rows) -> Iterator[tuple[str, dict[str, Any]]]:
    """Key of each row, and its label with attributes."""
    classes = table.classes(rows.labels.tolist())
    predicted = {n: table.classes(rows.predictions[n].tolist()) for n in rows.predictions}
    for number in range(len(rows)):
        attributes: dict[str, Any] = {"row_id": int(rows.ids[number]), "split": rows.split}
        for name, scores in rows.scores.items():
            prediction, score, verdict = table.columns_of(name)
            attributes |= {prediction: predicted[name][number], score: float(scores[number])}
            if name in rows.is_ood:
                attributes[verdict] = "OOD" if rows.is_ood[name][number] else "ID"
        label = classes[number] or rows.split
        yield _key(rows, number), {"label": label, "attributes": attributes}


def _images(folder: Path, rows: Rows, images: PreparedPaths | None) -> list[str]:
    """Write the images of rows that have no file; their paths from the folder on."""
    if None not in rows.paths:
        return [""] * len(rows)
    if images is None:
        raise DataError(
            f"row {rows.start + rows.paths.index(None)} of {rows.split} has no image; give "
            "--images, the prepared data, or --paths, lists of the files."
        )
    source, numbers = images.source(rows.split), images.rows_of(rows.split, rows.ids)
    (folder / "images" / rows.split).mkdir(parents=True, exist_ok=True)
    found = []
    for number, row in enumerate(numbers.tolist()):
        path = f"images/{_key(rows, number)}.png"
        source.image(row).save(folder / path)
        found.append(path)
    return found


def _key(rows: Rows, number: int) -> str:
    return f"{rows.split}/{rows.start + number:07d}"


@contextmanager
def _object(path: Path, within: str | None = None) -> Iterator[Any]:
    """A JSON object that is written entry by entry."""
    with path.open("w", encoding="utf-8") as file:
        file.write("{" if within is None else f'{{"{within}": {{')
        yield _entries(file)
        file.write("\n}" if within is None else "\n}}")


def _entries(file: IO[str]) -> Any:  # noqa: ANN401 - a function of a key and a plain value
    before = "\n"

    def write(key: str, value: object) -> None:
        nonlocal before
        file.write(f"{before}{json.dumps(key)}: {json.dumps(value, allow_nan=False)}")
        before = ",\n"

    return write
