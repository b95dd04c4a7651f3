"""nuclei.parquet: nuclei.csv as a folder of Parquet files, which pandas, Polars, DuckDB and R read as one table."""

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import IO

from segmentation.batch.outputs import PartitionedTable
from segmentation.results import nuclei_csv

try:
    import pandas as pd
    import pyarrow as pa
    import pyarrow.parquet as pq
except ImportError as error:
    raise ImportError(
        f"--outputs parquet needs {error.name}, which is not installed; run: pip install -r requirements/parquet.txt"
    ) from error

# So many rows are in memory at once.
_ROWS_AT_ONCE = 100_000
# The type of a column must not depend on the rows of one file: all others are float64.
_TYPES = {"image": "str", "label": "int64", "area": "int64", "touches_edge": "bool"}


def write_parquet(file: Path, csv: IO[bytes], columns: Sequence[str]) -> None:
    """Write the rows of a CSV with these columns to a Parquet file."""
    numbers = [name for name in columns if name not in _TYPES]
    chunks = pd.read_csv(
        csv,
        dtype=_TYPES | dict.fromkeys(numbers, "float64"),
        keep_default_na=False,  # an image may be called NA
        na_values=dict.fromkeys(numbers, ["", "nan"]),
        encoding_errors="backslashreplace",
        chunksize=_ROWS_AT_ONCE,
    )
    kinds = {"str": pa.string(), "int64": pa.int64(), "bool": pa.bool_()}
    schema = pa.schema([(name, kinds[_TYPES[name]] if name in _TYPES else pa.float64()) for name in columns])
    with pq.ParquetWriter(file, schema) as writer:
        for chunk in chunks:
            writer.write_table(pa.Table.from_pandas(chunk, schema, preserve_index=False))


_TABLE = {field.name: getattr(nuclei_csv.OUTPUT, field.name) for field in fields(nuclei_csv.OUTPUT)}
OUTPUT = PartitionedTable(**_TABLE | {"file": "nuclei.parquet"}, write=write_parquet)
