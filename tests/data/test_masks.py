import cv2
import numpy as np
import pytest
from skimage.measure import label

from segmentation.data import problems
from segmentation.data.masks import NucleusMasks, RunLengthMasks, WholeMask, labels_from_mask
from segmentation.data.painting import FATAL_PIECES, MOST_COVER, consecutive, count_pieces


def whats(found):
    return [(problem.what, problem.fatal) for problem in found]


@pytest.fixture
def files(tmp_path, write_picture):
    """Write masks (H, W) as PNG files and return them."""

    def write(*masks):
        return tuple(write_picture(tmp_path / f"{number}.png", np.asarray(m)) for number, m in enumerate(masks, 1))

    return write


def square(top, left, side=4, shape=(20, 30), value=255):
    mask = np.zeros(shape, np.uint8)
    mask[top : top + side, left : left + side] = value
    return mask


def test_one_file_a_nucleus_gives_the_label_map_back(files, nuclei):
    stack = files(*(np.uint8(255 * (nuclei == number)) for number in range(1, 5)))
    labels, found = NucleusMasks(stack).read("a", nuclei.shape)
    np.testing.assert_array_equal(labels, nuclei)
    assert labels.dtype == np.int32 and not found


def test_later_masks_win_and_every_overlap_is_counted(files):
    masks = [square(2, 2, 10), square(10, 10, 10), square(3, 3, 2, value=1)]
    labels, found = NucleusMasks(files(*masks)).read("a", (20, 30))
    expected = np.zeros((20, 30), int)
    for number, mask in enumerate(masks, 1):
        expected[mask > 0] = number
    np.testing.assert_array_equal(labels, expected)
    # 4 + 4 of 196 pixels are claimed twice: below a tenth.
    assert whats(found) == [(problems.OVERLAP, False)] * 2
    assert "nucleus 2 shares 4 pixels" in found[0].detail and found[0].file.endswith("2.png")


def test_masks_that_contradict_each_other_are_fatal(files):
    labels, found = NucleusMasks(files(square(2, 2, 10), square(2, 4, 10))).read("a", (20, 30))
    assert labels.max() == 2 and whats(found) == [(problems.OVERLAP, True)]


def test_a_nucleus_that_is_painted_over_leaves_no_gap_in_the_numbers(files):
    labels, _ = NucleusMasks(files(square(4, 4), square(4, 4), square(12, 12))).read("a", (20, 30))
    assert np.unique(labels).tolist() == [0, 1, 2]


def test_every_fault_of_a_stack_is_reported_at_once(files, tmp_path):
    grid = np.zeros((20, 30), np.uint8)
    grid[1::4, 1::4] = 255
    two = square(2, 2) | square(2, 10)
    stack = files(square(8, 8), square(0, 0, shape=(30, 20)), np.zeros((20, 30), np.uint8), two, grid)
    stack[0].write_bytes(stack[0].read_bytes()[:40])
    (tmp_path / "text.png").write_text("no picture")
    labels, found = NucleusMasks((*stack, tmp_path / "text.png", tmp_path / "absent.png")).read("a", (20, 30))
    assert [(problem.file.rpartition("/")[2], problem.what, problem.fatal) for problem in found[:-1]] == [
        ("1.png", problems.UNREADABLE_MASK, True),
        ("2.png", problems.SIZE_DIFFERS, True),
        ("text.png", problems.UNREADABLE_MASK, True),
        ("absent.png", problems.UNREADABLE_MASK, True),
        ("3.png", problems.EMPTY_MASK, False),
        ("4.png", problems.IN_PIECES, False),
        ("5.png", problems.MANY_IN_ONE, True),
    ]
    assert "30 x 20" in found[1].detail and "20 x 30" in found[1].detail
    assert labels.shape == (20, 30)


def test_size_without_an_image_is_that_of_the_first_mask(files):
    labels, found = NucleusMasks(files(square(1, 1), square(9, 9, shape=(20, 31)))).read("a", None)
    assert labels.shape == (20, 30) and whats(found) == [(problems.SIZE_DIFFERS, True)]
    assert NucleusMasks(()).read("a", None) == (None, [])


@pytest.mark.parametrize("value", [1, 255])
def test_a_binary_mask_is_divided_into_its_components(files, value):
    mask = (np.random.default_rng(1).random((40, 50)) < 0.2).astype(np.uint8).repeat(4, 0).repeat(4, 1) * value
    labels, found = WholeMask(files(mask)[0]).read("a", mask.shape)
    np.testing.assert_array_equal(labels > 0, mask > 0)
    expected = label(mask > 0, connectivity=2)
    pairs = np.unique(np.stack([labels[mask > 0], expected[mask > 0]]), axis=1)
    assert pairs.shape[1] == labels.max() == expected.max()
    assert whats(found) == [(problems.BINARY, False)] and f"{expected.max()} components" in found[0].detail


def test_a_mask_of_points_is_told_from_one_of_nuclei(files):
    places = [(10 * row, 12 * column) for row in range(1, 5) for column in range(1, 5)]
    for side, is_point in ((1, True), (3, True), (5, False)):
        mask = np.zeros((60, 70), np.uint8)
        for number, (top, left) in enumerate(places, 1):
            mask[top : top + side, left : left + side] = number
        assert whats(WholeMask(files(mask)[0]).read("a", mask.shape)[1]) == [(problems.POINTS, True)] * is_point
    mask[::59, ::5] = 255  # specks between nuclei
    assert (problems.POINTS, False) in whats(WholeMask(files(mask > 0)[0]).read("a", mask.shape)[1])


def test_a_mask_of_one_nucleus_is_not_called_binary(files):
    labels, found = WholeMask(files(square(2, 2))[0]).read("a", (20, 30))
    assert labels.max() == 1 and not found


@pytest.mark.parametrize("value", [1, 2, 255, 65535])
def test_two_values_are_a_binary_mask_whichever_they_are(value):
    mask = np.zeros((9, 12), np.uint16)
    mask[1:3, 1:3] = mask[3, 3] = mask[6:8, 5:11] = value
    labels = labels_from_mask(mask)
    expected = np.zeros((9, 12), int)
    expected[1:3, 1:3] = expected[3, 3] = 1
    expected[6:8, 5:11] = 2
    np.testing.assert_array_equal(labels, expected)
    assert labels.dtype == np.int32


def test_three_values_are_a_label_map_and_none_is_empty(nuclei):
    mask = np.array([0, 1, 255, 255, 1], np.uint8)[nuclei]
    np.testing.assert_array_equal(labels_from_mask(mask), np.array([0, 1, 2, 2, 1])[nuclei])
    for empty in (np.zeros((4, 5), np.uint8), np.zeros((0, 5), np.uint16)):
        labels = labels_from_mask(empty)
        assert labels.shape == empty.shape and labels.dtype == np.int32 and not labels.any()


def test_a_label_map_is_renumbered(files, nuclei):
    mask = np.array([0, 7, 300, 12, 65535], np.uint16)[nuclei]
    labels, found = WholeMask(files(mask)[0]).read("a", nuclei.shape)
    np.testing.assert_array_equal(labels, np.array([0, 1, 3, 2, 4])[nuclei])
    assert not found


def test_faults_of_a_whole_mask(files, nuclei):
    torn = nuclei.astype(np.uint8)
    torn[40, 5] = 1
    ramp = np.uint8(np.minimum(255, np.add.outer(np.zeros(20), np.r_[0:200:20, [255] * 20])))
    masks = files(np.zeros((20, 30), np.uint8), np.full((20, 30), 3, np.uint8), torn, ramp, square(2, 2))
    shapes = [(20, 30), (20, 30), nuclei.shape, (20, 30), (30, 20)]
    found = [whats(WholeMask(file).read("a", shape)[1]) for file, shape in zip(masks, shapes, strict=True)]
    assert found == [
        [(problems.NO_NUCLEI, False)],
        [(problems.NO_BACKGROUND, True)],
        [(problems.IN_PIECES, False)],
        [(problems.NOT_NUCLEI, True)],
        [(problems.SIZE_DIFFERS, True)],
    ]


def discs(count=9, side=240):
    """Label map of separate and of touching discs."""
    labels = np.zeros((side, side), np.uint16)
    centres = [(40 + 70 * (n % 3) + 25 * (n == 1), 40 + 70 * (n // 3)) for n in range(count)]
    for number, centre in enumerate(centres, 1):
        cv2.circle(labels, centre, 14 + number, number, -1)
    return labels


OTHER_MEANINGS = {
    "area": lambda m: cv2.resize(np.uint8(255 * (m > 0)), None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA),
    "bilinear": lambda m: cv2.resize(np.uint8(255 * (m > 0)), None, fx=0.7, fy=0.7),
    "cubic, larger": lambda m: cv2.resize(np.uint8(255 * (m > 0)), None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC),
    "blurred": lambda m: cv2.GaussianBlur(np.uint8(255 * (m > 0)), (0, 0), 1),
    "label map, bilinear": lambda m: cv2.resize(m, None, fx=0.6, fy=0.6),
    "label map, larger": lambda m: cv2.resize(m, None, fx=2, fy=2),
    "classes": lambda m: np.uint8([0, 1, 1, 2, 1, 1, 2, 1, 1, 1])[m],
    "classes of 128 and 255": lambda m: np.uint8([0, 128, 255, 255, 128, 128, 255, 128, 128, 128])[m],
    "one of another class": lambda m: np.uint8([0, 1, 1, 1, 1, 2, 1, 1, 1, 1])[m],
    "inside and border": lambda m: np.where(m > 0, 1 + (m != cv2.erode(m, np.ones((3, 3)))), 0).astype(np.uint8),
}


@pytest.mark.parametrize("meaning", OTHER_MEANINGS)
@pytest.mark.parametrize("count", [1, 9])
def test_masks_of_another_meaning_are_fatal(files, meaning, count):
    mask = OTHER_MEANINGS[meaning](discs(count))
    labels, found = WholeMask(files(mask)[0]).read("a", mask.shape)
    if count == 1 and meaning.startswith(("class", "one", "label map")):
        assert labels.max() == 1 and not found  # of one nucleus, its class says nothing wrong
    else:
        assert whats(found) == [(problems.NOT_NUCLEI, True)]


@pytest.mark.parametrize("width", [1, 2, 3])
@pytest.mark.parametrize("is_binary", [False, True])
def test_a_mask_of_outlines_is_fatal(files, width, is_binary):
    labels = discs()
    inner = np.zeros(labels.shape, bool)
    for number in range(1, 10):
        inner |= cv2.erode(np.uint8(labels == number), np.ones((2 * width + 1,) * 2)) > 0
    mask = np.where(inner, 0, (labels > 0) * 255 if is_binary else labels).astype(np.uint8)
    assert (problems.HOLLOW, True) in whats(WholeMask(files(mask)[0]).read("a", mask.shape)[1])


def test_label_maps_of_touching_and_of_crowded_nuclei_are_sound(files):
    crowded = 1 + np.arange(48) // 8 * 6 + (np.arange(60) // 10)[:, None]
    crowded[0] = 0
    for labels in (discs(), cv2.resize(discs(), None, fx=0.3, fy=0.3, interpolation=cv2.INTER_NEAREST), crowded):
        read, found = WholeMask(files(labels.astype(np.uint16))[0]).read("a", labels.shape)
        assert not found and read.max() == labels.max()


def test_run_lengths_give_the_label_map_back(nuclei, tmp_path):
    rows = []
    for number in range(1, 5):
        indices = np.flatnonzero((nuclei == number).T)
        rows.append(" ".join(f"{index + 1} 1" for index in indices))
    labels, found = RunLengthMasks(tmp_path / "x.csv", tuple(rows)).read("a", nuclei.shape)
    np.testing.assert_array_equal(labels, nuclei)
    assert not found
    _, found = RunLengthMasks(tmp_path / "x.csv", (*rows, "1 99999", "2 1")).read("a", nuclei.shape)
    assert whats(found) == [(problems.BAD_RUN_LENGTHS, True)] and "a, nucleus 5" in found[0].detail


def test_consecutive_keeps_the_order_and_does_not_outgrow_the_picture():
    rng = np.random.default_rng(0)
    for values in (np.arange(5), np.array([0, 3, 70_000]), np.array([0, 9, 4_294_967_295]), np.array([5, 2**31])):
        mask = rng.choice(values.astype(np.uint32), (30, 40))
        nonzero = values[values > 0]
        expected = np.where(mask > 0, np.searchsorted(nonzero, mask) + 1, 0)
        np.testing.assert_array_equal(consecutive(mask), expected)
        assert consecutive(mask).dtype == np.int32


def test_pieces_count_diagonal_neighbours_as_one():
    assert count_pieces(np.eye(5, dtype=bool)) == 1
    assert count_pieces(np.array([[True, False, True]])) == 2
    assert FATAL_PIECES > 1


def test_nuclei_that_cover_the_image_again_and_again_take_no_memory(tmp_path):
    everywhere = ("1 1000000",) * 10_000
    _, found = RunLengthMasks(tmp_path / "x.csv", everywhere).read("a", (1000, 1000))
    assert whats(found)[0] == (problems.OVERLAP, True)
    assert f"the first {MOST_COVER + 1} nuclei cover the image {MOST_COVER} times" in found[0].detail
