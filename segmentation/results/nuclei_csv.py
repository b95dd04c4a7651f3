"""nuclei.csv: a row a nucleus."""

from segmentation.batch.outputs import TableOutput
from segmentation.results.large_tables import large_table_rows
from segmentation.results.measurement import measure_nuclei
from segmentation.results.tables import COLUMNS, further_columns, measure_image, measured_names, table_rows

OUTPUT = TableOutput(
    "nuclei.csv",
    COLUMNS,
    lambda p: table_rows(p.name, measure_image(p.labels, p.image)),
    measure_nuclei,
    large_table_rows,
    lambda p: further_columns(measured_names(p.image)),
)
