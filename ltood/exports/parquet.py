"""One Parquet file with a row for each image."""

import json
from pathlib import Path
from typing import Any

from ltood import __version__
from ltood.exports.rows import Rows, RowTable
from ltood.runtime.console import progress
from ltood.runtime.extras import require
from ltood.runtime.files import writing


def write_parquet(table: RowTable, out: Path) -> list[str]:
    """Write the rows of a table, one row group for each batch.

    Columns: split, id, path, label, class, then for each score store prediction, score and
    verdict, with the store's name behind them where there are several, and features as a list of
    fixed length. The metadata `ltood` of the file holds the fingerprints and thresholds.

    Args:
        table: What to write.
        out: The file; replaced if it exists.

    Returns:
        Names of the columns.

    Raises:
        MissingPackageError: If pyarrow is not installed.
        StoreError: If the file cannot be written, or the stores do not fit one another.
    """
    require("pyarrow", str(out))
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = _schema(pa, table)
    with (
        writing(out) as file,
        pq.ParquetWriter(file, schema, compression="zstd") as writer,
        progress(f"write {out.name}", table.num_rows) as advance,
    ):
        for rows in table.batches():
            columns = _columns(pa, table, rows)
            writer.write_batch(pa.record_batch([columns[name] for name in schema.names], schema))
            advance(len(rows))
    return list(schema.names)


def _schema(pa: Any, table: RowTable) -> Any:  # noqa: ANN401 - pyarrow is imported late
    fields = [
        ("split", pa.string()),
        ("id", pa.int64()),
        ("path", pa.string()),
        ("label", pa.int64()),
        ("class", pa.string()),
    ]
    for name in table.scores:
        prediction, score, verdict = table.columns_of(name)
        fields += [(prediction, pa.string()), (score, pa.float32())]
        if name in table.thresholds:
            fields.append((verdict, pa.string()))
    if table.dim is not None:
        fields.append(("features", pa.list_(pa.float32(), table.dim)))
    about = {
        "version": __version__,
        "class_names": table.class_names,
        "scores": {name: store.attributes["fingerprint"] for name, store in table.scores.items()},
        "features": None if table.features is None else table.features.fingerprint,
        "thresholds": table.thresholds,
        "direction": "a higher score means more OOD; a row is ID where score <= threshold",
    }
    return pa.schema(fields, metadata={"ltood": json.dumps(about, sort_keys=True)})


def _columns(pa: Any, table: RowTable, rows: Rows) -> dict[str, Any]:  # noqa: ANN401
    columns = {
        "split": pa.array([rows.split] * len(rows), pa.string()),
        "id": pa.array(rows.ids),
        "path": pa.array(rows.paths, pa.string()),
        "label": pa.array(rows.labels),
        "class": pa.array(table.classes(rows.labels.tolist()), pa.string()),
    }
    for name, scores in rows.scores.items():
        prediction, score, verdict = table.columns_of(name)
        predicted = table.classes(rows.predictions[name].tolist())
        columns |= {prediction: pa.array(predicted, pa.string()), score: pa.array(scores)}
        if name in rows.is_ood:
            said = ["OOD" if ood else "ID" for ood in rows.is_ood[name].tolist()]
            columns[verdict] = pa.array(said, pa.string())
    if rows.features is not None:
        flat = pa.array(rows.features.reshape(-1))
        columns["features"] = pa.FixedSizeListArray.from_arrays(flat, rows.features.shape[1])
    return columns
