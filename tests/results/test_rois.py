import struct
import zipfile

import numpy as np
import pytest
import roifile

from segmentation.results.rois import write_rois
from tests.results.shapes import CASES, fill_labels

RECTANGLE, TRACED = 1, 8


def decode(data):
    """Read a selection as ImageJ's own RoiDecoder does: type, name, and rings of corners in the image."""

    def number(code, offset, count=1):
        return struct.unpack_from(f">{count}{code}", data, offset)

    def short(offset, count=1):
        return [value + 65_536 if value < -5000 else value for value in number("h", offset, count)]

    assert data[:4] == b"Iout"
    kind = data[6]
    top, left = short(8, 2)
    count, size = number("H", 16)[0], number("i", 36)[0]
    if size:
        path, rings = iter(number("f", 64, size)), []
        for command in path:
            if command == 0:
                rings.append([(next(path), next(path))])
            elif command == 1:
                rings[-1].append((next(path), next(path)))
            else:
                assert command == 4
    else:
        x, y = short(64, count), short(64 + 2 * count, count)
        rings = [list(zip(np.add(x, left).tolist(), np.add(y, top).tolist(), strict=True))]
    second = number("i", 60)[0]
    offset, length = number("i", second + 16, 2)
    return kind, data[offset : offset + 2 * length].decode("utf-16-be"), rings


def read(file):
    with zipfile.ZipFile(file) as archive:
        decoded = {name: decode(archive.read(name)) for name in archive.namelist()}
    assert [f"{name}.roi" for _, name, _ in decoded.values()] == list(decoded)
    return {int(name): (kind, rings) for kind, name, rings in decoded.values()}


@pytest.mark.parametrize("labels", CASES.values(), ids=CASES.keys())
def test_filled_selections_are_the_label_map(tmp_path, labels):
    write_rois(tmp_path / "a.zip", labels)
    rois = read(tmp_path / "a.zip")
    assert list(rois) == np.unique(labels[labels > 0]).tolist()
    assert np.array_equal(fill_labels({label: rings for label, (_, rings) in rois.items()}, labels.shape), labels)
    for kind, rings in rois.values():
        assert kind == (TRACED if len(rings) == 1 else RECTANGLE)


@pytest.mark.parametrize("case", ["drawn nuclei", "noise"])
def test_roifile_reads_the_same(tmp_path, case):
    labels = CASES[case]
    write_rois(tmp_path / "a.zip", labels)
    rois = roifile.roiread(tmp_path / "a.zip")
    rings = {int(roi.name): roi.coordinates(multi=True) for roi in rois}
    assert np.array_equal(fill_labels(rings, labels.shape), labels)
    for roi in rois:
        rows, columns = np.nonzero(labels == int(roi.name))
        assert (roi.top, roi.left, roi.bottom, roi.right) == (
            rows.min(),
            columns.min(),
            rows.max() + 1,
            columns.max() + 1,
        )
        assert roi.position == 0, "on every slice"


def test_selections_far_from_the_origin_are_where_they_belong(tmp_path):
    labels = np.zeros((3, 70_000), np.int32)
    starts = {1: 32_766, 2: 60_530, 3: 60_534, 4: 65_534, 5: 69_998}
    for label, start in starts.items():
        labels[1, start : start + 2] = label
    write_rois(tmp_path / "a.zip", labels)
    rois = read(tmp_path / "a.zip")
    for label, start in starts.items():
        assert rois[label][1] == [[(start, 1), (start + 2, 1), (start + 2, 2), (start, 2)]]
    assert [kind for kind, _ in rois.values()] == [TRACED, TRACED, RECTANGLE, RECTANGLE, RECTANGLE]


def test_the_same_nuclei_give_the_same_bytes(tmp_path, monkeypatch):
    write_rois(tmp_path / "a.zip", CASES["drawn nuclei"])
    monkeypatch.setattr("time.time", lambda: 2e9)
    write_rois(tmp_path / "b.zip", CASES["drawn nuclei"])
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


def test_without_nuclei_the_zip_is_empty(tmp_path):
    write_rois(tmp_path / "a.zip", np.zeros((4, 5), np.int32))
    assert read(tmp_path / "a.zip") == {}


def test_a_failure_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(roifile.ImagejRoi, "tobytes", lambda roi: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_rois(tmp_path / "a.zip", CASES["drawn nuclei"])
    assert list(tmp_path.iterdir()) == []
