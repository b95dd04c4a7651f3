import numpy as np
import pytest

from data.draw_samples import draw_fluorescence, draw_stained
from segmentation.data import problems
from segmentation.data.dataset import main
from segmentation.data.fit import find_exchanged, find_misfit, thumbnails
from segmentation.data.modality import kind_of


@pytest.fixture(scope="module", params=[draw_fluorescence, draw_stained])
def sample(request):
    pixels, labels = request.param(np.random.default_rng(3), (200, 200))
    return np.atleast_3d(pixels), labels


def misfit(sample, change=lambda labels: labels):
    pixels, labels = sample
    return find_misfit(pixels, change(labels), kind_of(pixels))


def test_masks_that_fit_are_not_reported(sample):
    assert misfit(sample) is None


def test_inverted_masks(sample):
    assert misfit(sample, lambda labels: (labels == 0).astype(np.int32))[0] == problems.INVERTED


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (np.transpose, "transposed"),
        (np.fliplr, "mirrored"),
        (np.flipud, "upside down"),
        (lambda labels: np.rot90(labels, 3), "turned by 90 degrees"),
        (np.rot90, "turned by 270 degrees"),
        (lambda labels: np.rot90(labels, 2), "turned by 180 degrees"),
    ],
)
def test_turned_and_mirrored_masks(sample, change, name):
    assert misfit(sample, change) == (problems.TURNED, f"it fits {name}")


@pytest.mark.parametrize("rows", [-30, 0, 24])
@pytest.mark.parametrize("columns", [-16, 40])
def test_moved_masks_and_by_how_much(sample, rows, columns):
    what, detail = misfit(sample, lambda labels: np.roll(labels, (rows, columns), (0, 1)))
    assert what == problems.SHIFTED
    found = [int(word) for word in detail.split() if word.lstrip("-").isdigit()]
    np.testing.assert_allclose(found, (-rows, -columns), atol=4)


def test_images_of_one_value_and_masks_of_everything_say_nothing():
    flat = np.full((40, 50, 1), 7, np.uint8)
    labels = np.zeros((40, 50), np.int32)
    labels[5:9, 5:9] = 1
    assert find_misfit(flat, labels, "fluorescence") is None
    assert find_misfit(flat, np.ones_like(labels), "smear") is None


def test_masks_of_other_images_are_found_among_those_of_the_same_shape():
    rng = np.random.default_rng(5)
    drawn = [draw_fluorescence(rng, (120, 120)) for _ in range(5)] + [draw_fluorescence(rng, (120, 130))]
    labels = [drawn[index][1] for index in (0, 3, 2, 1, 4, 5)]
    pairs = np.array([thumbnails(np.atleast_3d(p), m, "fluorescence") for (p, _), m in zip(drawn, labels, strict=True)])
    assert find_exchanged(pairs, [mask.shape for mask in labels]) == [(1, 3), (3, 1)]


def test_the_report_names_them(tmp_path, capsys):
    import cv2

    rng = np.random.default_rng(6)
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    drawn = [draw_fluorescence(rng, (120, 120)) for _ in range(6)]
    for number, (pixels, _) in enumerate(drawn):
        cv2.imwrite(str(tmp_path / "images" / f"{number}.png"), pixels)
        _, labels = drawn[{0: 1, 1: 0}.get(number, number)]
        changed = {2: lambda mask: (mask == 0).astype(np.uint16), 3: np.transpose}.get(number, lambda mask: mask)
        cv2.imwrite(str(tmp_path / "masks" / f"{number}.png"), changed(labels).astype(np.uint16))
    assert main([str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert f"warning: {problems.OF_ANOTHER} (2)\n  images/0.png: {tmp_path}/images/1.png\n  images/1.png" in printed
    assert "4 warnings" in printed
    assert f"warning: {problems.INVERTED} (1)\n  images/2.png: correlation with the image -" in printed
    assert f"warning: {problems.TURNED} (1)\n  images/3.png: it fits transposed" in printed


def test_images_whose_nuclei_are_far_from_the_others_size(tmp_path, write_pairs, capsys):
    labels = np.zeros((160, 160), np.int32)
    for number in range(9):
        row, column = divmod(number, 3)
        labels[50 * row + 5 : 50 * row + 13, 50 * column + 5 : 50 * column + 13] = number + 1
    large = np.zeros_like(labels)
    large[20:100, 20:100] = 1
    root = write_pairs(tmp_path, dict.fromkeys("abcde", labels) | {"f": large})
    main([str(root)])
    assert (
        f"{problems.OTHER_SIZE} (1)\n  images/f.png: median diameter 90 pixels, in others 9" in capsys.readouterr().out
    )


def test_a_data_set_without_one_nucleus_is_refused(tmp_path, write_pairs, capsys, nuclei):
    root = write_pairs(tmp_path, dict.fromkeys("ab", np.zeros_like(nuclei)))
    assert main([str(root)]) == 1
    assert f"FATAL: {problems.NO_NUCLEI_AT_ALL} (1)" in capsys.readouterr().out
