"""Export images for `stardist_peer.py`, and run it in the environment where StarDist is installed."""

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from options import HERE

from segmentation.data.layouts import find_samples
from segmentation.data.splits import read_split

_SCRIPT = HERE / "benchmarks" / "stardist_peer.py"


def export_images(data: Path, split: Path | None, subsets: Sequence[str], folder: Path) -> dict[str, int]:
    """Write the images of some subsets of a data set, decoded, for the peer to read.

    Parameters
    ----------
    data : Path
        Folder or zip, in one of the layouts that `segmentation.data.layouts` knows.
    split : Path or None
        Table of ids and subsets; without it all images belong to each of the subsets.
    subsets : sequence of str
    folder : Path
        Gets ``SUBSET/ID.npz`` with ``pixels`` (H, W, 1 or 3) and ``labels`` (H, W), 0 = background.

    Returns
    -------
    dict of str to int
        How many images each subset has.
    """
    rows = read_split(split) if split else None
    counts = dict.fromkeys(subsets, 0)
    for sample in find_samples(data):
        for subset in subsets:
            if rows is None or (sample.id in rows and rows[sample.id].subset == subset):
                pixels = sample.read_image().pixels
                file = folder / subset / f"{sample.id}.npz"
                file.parent.mkdir(parents=True, exist_ok=True)
                np.savez(file, pixels=pixels, labels=sample.read_labels(pixels.shape[:2]))
                counts[subset] += 1
    return counts


def run_stardist(python: Path, *arguments) -> dict:
    """Run `stardist_peer.py` with the interpreter that has StarDist; return what it prints as JSON.

    Raises
    ------
    RuntimeError
        If it fails; the message ends with what it wrote on standard error.
    """
    command = [str(python), str(_SCRIPT), *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        raise RuntimeError(f"StarDist failed ({' '.join(command)}):\n{result.stderr[-2000:]}")
    return json.loads(result.stdout.splitlines()[-1])
