import json
import os
import zipfile

import numpy as np
import pytest
import tifffile

from segmentation.data import cache as caching
from segmentation.data import problems
from segmentation.data.cache import prepare
from segmentation.data.fingerprints import fingerprint
from segmentation.data.images import read_image
from segmentation.data.layouts import find_data_set
from segmentation.data.normalisation import Normalisation
from segmentation.data.problems import DatasetError
from segmentation.data.splits import SplitRow

GREY_16 = "grey_16_bit"


@pytest.fixture
def data(tmp_path, write_drawn, write_picture):
    """Three drawn images, grey and colour, and a 16-bit grey one of another shape with 70,000 nuclei."""
    drawn = write_drawn(tmp_path / "data", 3)
    labels = np.zeros((400, 800), np.int32)
    labels[:, ::2] = np.arange(1, 160_001).reshape(400, 400)
    pixels = np.where(labels > 0, 40_000, 1_000).astype(np.uint16)
    pixels[:100] += np.arange(800, dtype=np.uint16)
    write_picture(tmp_path / "data" / "images" / f"{GREY_16}.png", pixels)
    tifffile.imwrite(tmp_path / "data" / "masks" / f"{GREY_16}.tif", labels.astype(np.uint32))
    return tmp_path / "data", drawn | {GREY_16: (pixels, labels)}


@pytest.fixture
def small(tmp_path, write_drawn):
    """A folder of four drawn images."""
    write_drawn(tmp_path / "data", 4)
    return tmp_path / "data"


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


def prepare_folder(folder, cache, normalisation=None, **options):
    return prepare(find_data_set(folder), normalisation or Normalisation(), cache, **options)


def no_decoding(monkeypatch):
    def refuse(*args):
        raise AssertionError("decoded again")

    monkeypatch.setattr(caching, "load_samples", refuse)


def caches(folder):
    return sorted(file.name for file in folder.iterdir()) if folder.exists() else []


def test_images_are_normalised_and_label_maps_are_kept(data, cache):
    folder, drawn = data
    images = prepare_folder(folder, cache).images
    assert images.ids == sorted(drawn) and len(images) == 4
    assert {len(np.atleast_3d(pixels)[0, 0]) for pixels, _ in drawn.values()} == {1, 3}
    normalisation = Normalisation()
    for index, stem in enumerate(images.ids):
        _, labels = drawn[stem]
        whole = read_image(folder / "images" / f"{stem}.png").pixels
        expected = 255 * normalisation.apply(whole, normalisation.limits(whole))
        pixels, label_map = images.pixels(index), images.label_map(index)
        assert pixels.dtype == np.uint8 and pixels.shape == (*labels.shape, 3)
        assert np.abs(pixels - expected).max() <= 0.5 + 1e-4
        assert label_map.dtype == np.int32
        np.testing.assert_array_equal(label_map, labels)


def test_many_nuclei_take_wider_numbers(data, cache):
    folder, _ = data
    images = prepare_folder(folder, cache).images
    widths = dict(zip(images.ids, (entry.labels_dtype for entry in images._entries), strict=True))
    assert widths[GREY_16] == "uint32" and widths["drawn_00"] == "uint16"
    assert images.label_map(images.ids.index(GREY_16)).max() == 160_000


def test_label_maps_of_odd_size_do_not_shift_the_next(tmp_path, cache, write_picture):
    """uint16 label maps of an odd number of pixels before another: items must begin at multiples of their size."""
    rng = np.random.default_rng(0)
    label_maps = {}
    for number, shape in enumerate([(33, 33), (35, 37), (33, 41)]):
        top, left = rng.integers(1, 5, 2)
        labels = np.zeros(shape, np.uint16)
        for label in range(1, 8):
            labels[top + 3 * label :, left + 3 * label : left + 3 * label + 2] = label
        write_picture(tmp_path / "data" / "images" / f"{number}.png", rng.integers(256, size=shape, dtype=np.uint8))
        write_picture(tmp_path / "data" / "masks" / f"{number}.png", labels)
        label_maps[number] = labels
    images = prepare_folder(tmp_path / "data", cache).images
    for number, labels in label_maps.items():
        np.testing.assert_array_equal(images.label_map(number), labels)


def test_kind_and_fingerprints_are_those_of_the_pixels(data, cache):
    folder, drawn = data
    result = prepare_folder(folder, cache)
    assert result.images.kinds[2] == "stained" and result.images.kinds[0] == "fluorescence"
    assert result.images.groups == result.images.ids
    assert result.fingerprints.keys() == drawn.keys()
    for stem, found in result.fingerprints.items():
        expected = fingerprint(read_image(folder / "images" / f"{stem}.png").pixels)
        assert (found.shape, found.digest, found.kind) == (expected.shape, expected.digest, expected.kind)
        for name in ("top", "bottom", "left", "right", "thumbnail"):
            np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))


def test_the_cache_serves_the_second_time(data, cache, monkeypatch):
    folder, _ = data
    first = prepare_folder(folder, cache)
    no_decoding(monkeypatch)

    def no_progress(done, total):
        raise AssertionError("nothing is decoded")

    second = prepare_folder(folder, cache, progress=no_progress)
    assert second.digest == first.digest
    assert second.images.ids == first.images.ids
    for index in range(len(first.images)):
        np.testing.assert_array_equal(second.images.pixels(index), first.images.pixels(index))
        np.testing.assert_array_equal(second.images.label_map(index), first.images.label_map(index))
    assert len(caches(cache)) == 1


def test_progress_counts_the_samples(small, cache):
    seen = []
    prepare_folder(small, cache, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_past_the_memory_limit_the_cache_is_read_where_it_lies(data, cache):
    folder, _ = data
    ours = prepare_folder(folder, cache).images
    size = ours._pixels.nbytes + ours._labels.nbytes
    fits = prepare_folder(folder, cache, memory_limit=size).images
    theirs = prepare_folder(folder, cache, memory_limit=size - 1).images
    assert not isinstance(fits._pixels, np.memmap)
    assert isinstance(theirs._pixels, np.memmap) and isinstance(theirs._labels, np.memmap)
    for index in range(len(ours)):
        np.testing.assert_array_equal(theirs.pixels(index), ours.pixels(index))
        np.testing.assert_array_equal(theirs.label_map(index), ours.label_map(index))


@pytest.mark.parametrize("change", ["image", "mask", "new sample", "touched"])
def test_changed_data_are_decoded_again(small, cache, write_drawn, write_picture, change):
    before = prepare_folder(small, cache)
    if change == "image":
        write_picture(small / "images" / "drawn_01.png", np.full((96, 96), 200, np.uint8))
    elif change == "mask":
        labels = np.zeros((96, 96), np.uint16)
        labels[5:9, 5:9] = 2
        labels[5:9, 20:30] = 5
        write_picture(small / "masks" / "drawn_01.png", labels)
    elif change == "new sample":
        write_drawn(small, 5)
    else:
        os.utime(small / "masks" / "drawn_01.png", ns=(1, 1))
    after = prepare_folder(small, cache)
    assert len(caches(cache)) == 2
    assert (after.digest == before.digest) == (change == "touched")
    if change == "mask":
        np.testing.assert_array_equal(np.unique(after.images.label_map(1)), [0, 1, 2])


def test_another_normalisation_has_its_own_cache(small, cache, monkeypatch):
    one, other = Normalisation(), Normalisation(5.0, 95.0)
    first = prepare_folder(small, cache, one)
    second = prepare_folder(small, cache, other)
    assert len(caches(cache)) == 2 and first.digest != second.digest
    assert (first.images.pixels(0) != second.images.pixels(0)).any()
    no_decoding(monkeypatch)
    np.testing.assert_array_equal(prepare_folder(small, cache, one).images.pixels(0), first.images.pixels(0))
    np.testing.assert_array_equal(prepare_folder(small, cache, other).images.pixels(0), second.images.pixels(0))


def test_another_folder_has_its_own_cache(tmp_path, small, cache):
    prepare_folder(small, cache)
    small.rename(tmp_path / "moved")
    prepare_folder(tmp_path / "moved", cache)
    assert len(caches(cache)) == 2


def zipped(folder, archive):
    with zipfile.ZipFile(archive, "w") as target:
        for file in sorted(folder.rglob("*.png")):
            target.write(file, file.relative_to(folder))
    return archive


def test_a_zip_gives_what_its_folder_gives(tmp_path, small, cache, monkeypatch):
    archive = zipped(small, tmp_path / "data.zip")
    from_folder, from_zip = prepare_folder(small, cache), prepare_folder(archive, cache)
    assert from_zip.digest == from_folder.digest and from_zip.images.ids == from_folder.images.ids
    os.utime(archive, ns=(1, 1))  # the content counts, not the time
    no_decoding(monkeypatch)
    assert prepare_folder(archive, cache).digest == from_zip.digest


def test_a_changed_zip_is_decoded_again(tmp_path, small, cache, write_picture):
    archive = zipped(small, tmp_path / "data.zip")
    before = prepare_folder(archive, cache).digest
    write_picture(small / "images" / "drawn_01.png", np.arange(96 * 96, dtype=np.uint16).reshape(96, 96))
    assert prepare_folder(zipped(small, archive), cache).digest != before


@pytest.mark.parametrize("kind", ["folder", "zip"])
@pytest.mark.parametrize("place", ["inside", "beside"])
def test_changed_run_lengths_are_decoded_again(tmp_path, cache, write_picture, kind, place):
    rng = np.random.default_rng(0)
    folder = tmp_path / "data" / "train"
    for name in "ab":
        write_picture(folder / f"{name}.png", rng.integers(256, size=(20, 20), dtype=np.uint8))
    table = folder / "labels.csv" if place == "inside" and kind == "folder" else folder.parent / "labels.csv"

    def write(lengths):
        table.write_text(f"ImageId,EncodedPixels\na,1 {lengths}\nb,1 3\n")
        if kind == "folder":
            return folder
        archive = folder.parent / "train.zip"
        with zipfile.ZipFile(archive, "w") as target:
            for name in "ab":
                target.write(folder / f"{name}.png", f"train/{name}.png")
            if place == "inside":
                target.write(table, "train/labels.csv")
        if place == "inside":
            table.unlink()
        return archive

    areas = [int((prepare_folder(write(lengths), cache).images.label_map(0) > 0).sum()) for lengths in (5, 7)]
    assert areas == [5, 7]


def test_tables_about_something_else_beside_the_data_do_not_matter(small, cache, monkeypatch):
    prepare_folder(small, cache)
    (small.parent / "notes.csv").write_text("a,b\n1,2\n")
    no_decoding(monkeypatch)
    prepare_folder(small, cache)


class Broken(Exception):
    pass


@pytest.mark.parametrize("moment", ["decoding", "last write", "rename"])
def test_a_failure_leaves_nothing_behind(small, cache, monkeypatch, moment):
    if moment == "decoding":
        real = caching.load_samples

        def fails_at_the_third(samples):
            for number, loaded in enumerate(real(samples)):
                if number == 2:
                    raise Broken
                yield loaded

        monkeypatch.setattr(caching, "load_samples", fails_at_the_third)
    elif moment == "last write":

        def fails(*args):
            raise Broken

        monkeypatch.setattr(caching.json, "dumps", fails)
        monkeypatch.setattr(caching, "_key", lambda *args: "key")
    else:

        def full(*args):
            raise OSError("no space left")

        monkeypatch.setattr(os, "replace", full)
    with pytest.raises((Broken, OSError)):
        prepare_folder(small, cache)
    assert caches(cache) == []
    monkeypatch.undo()
    assert len(prepare_folder(small, cache).images) == 4


def test_two_processes_may_write_the_same_cache(small, cache, monkeypatch):
    real = caching.load_samples

    def meanwhile(samples):
        monkeypatch.setattr(caching, "load_samples", real)
        prepare_folder(small, cache)  # another one is faster
        yield from real(samples)

    monkeypatch.setattr(caching, "load_samples", meanwhile)
    assert len(prepare_folder(small, cache).images) == 4
    assert len(caches(cache)) == 1


def test_unusable_samples_are_left_out_and_named(small, cache, write_picture, monkeypatch):
    (small / "images" / "drawn_00.png").write_bytes(b"not a picture")
    write_picture(small / "masks" / "drawn_02.png", np.ones((5, 5), np.uint16))
    write_picture(small / "masks" / "drawn_03.png", np.zeros((96, 96), np.uint16))
    for _ in range(2):
        result = prepare_folder(small, cache)
        # An image without nuclei is a warning; it can be trained on.
        assert result.images.ids == ["drawn_01", "drawn_03"]
        assert {(problem.sample_id, problem.what, problem.fatal) for problem in result.problems} == {
            ("drawn_00", problems.UNREADABLE_IMAGE, True),
            ("drawn_02", problems.SIZE_DIFFERS, True),
            ("drawn_03", problems.NO_NUCLEI, False),
        }
        assert sorted(result.fingerprints) == ["drawn_01", "drawn_02", "drawn_03"]
        no_decoding(monkeypatch)  # and so from the cache


def test_nothing_usable_is_refused_each_time(small, cache):
    for file in (small / "images").iterdir():
        file.write_bytes(b"not a picture")
    for _ in range(2):
        with pytest.raises(DatasetError, match="none of its 4 samples can be trained on.*drawn_00.png"):
            prepare_folder(small, cache)


def test_select_keeps_what_the_split_names(small, cache):
    images = prepare_folder(small, cache).images
    rows = {
        "drawn_03": SplitRow("train", "smear", "field 7"),
        "drawn_01": SplitRow("train"),
        "of another data set": SplitRow("train"),
    }
    chosen = images.select(rows)
    assert chosen.ids == ["drawn_01", "drawn_03"]
    assert chosen.kinds == [images.kinds[1], "smear"]
    assert chosen.groups == ["drawn_01", "field 7"]
    np.testing.assert_array_equal(chosen.label_map(1), images.label_map(3))
    np.testing.assert_array_equal(chosen.pixels(0), images.pixels(1))
    assert len(images) == 4


def test_index_is_plain_json(small, cache):
    prepare_folder(small, cache)
    (name,) = caches(cache)
    index = json.loads((cache / name / "index.json").read_text())
    assert [entry["id"] for entry in index["entries"]] == [f"drawn_{number:02d}" for number in range(4)]
