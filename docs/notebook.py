#!/usr/bin/env python3
"""Run exploratory_analysis.ipynb on the sample images and keep what it shows, as it is committed.

python docs/notebook.py
"""

import os
from pathlib import Path

import nbformat
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOK = ROOT / "exploratory_analysis.ipynb"

for name in ("DATA", "SPLIT", "MODEL"):
    os.environ.pop(name, None)
notebook = nbformat.read(NOTEBOOK, as_version=4)
# Times of day would differ at every run.
NotebookClient(notebook, timeout=600, record_timing=False, resources={"metadata": {"path": ROOT}}).execute()
for cell in notebook.cells:
    cell.metadata.pop("execution", None)
notebook.metadata.language_info = {"name": "python"}
nbformat.write(notebook, NOTEBOOK)
print(f"{NOTEBOOK}: run, {NOTEBOOK.stat().st_size:,} bytes")
