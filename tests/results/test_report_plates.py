from dataclasses import replace

import pytest

from segmentation.data.pictures import mark
from segmentation.results.report.plates import Plates
from segmentation.results.report.prediction import image_part, write_prediction_page
from tests.results.pages import BUNDLE, drawn, page_entry, summary

PART = image_part(drawn(0, 60))


def maps(names, **changes):
    plates = Plates()
    for number, name in enumerate(names, 1):
        plates.add(replace(page_entry(f"{name}.png", PART)[0], nuclei=number, **changes))
    return plates.maps()


def counts(plate):
    """Nuclei by well."""
    return {
        f"{row}{column}": well["nuclei"]
        for row, wells in plate["rows"]
        for column, well in zip(plate["columns"], wells, strict=True)
        if well
    }


def test_fields_of_an_ome_zarr_plate():
    places = [("A", "1", "1"), ("A", "1", "2"), ("C", "12", "1")]
    names = ["screen" + mark(tuple(zip(("row", "column", "field"), place, strict=True))) for place in places]
    (plate,) = maps(names)
    assert plate["name"] == "screen" and counts(plate) == {"A1": 3, "C12": 3}
    assert [row for row, _ in plate["rows"]] == ["A", "B", "C"] and plate["columns"] == list(range(1, 13))


@pytest.mark.parametrize("names", [["A01_f1", "B12_f1"], ["x_A01_", "x_B12"], ["day_2_A1_t3", "day_2_B12_t3"]])
def test_files_named_by_well(names):
    (plate,) = maps(names)
    assert counts(plate) == {"A1": 1, "B12": 2}


@pytest.mark.parametrize(
    "names",
    [["a_A01", "b_B02"], ["A01"], ["A01_f1", "A02_f1", "control"], ["A25", "A00"], ["Q1", "Q2"], ["a1", "b2"], []],
)
def test_names_that_are_no_plate(names):
    """A well alone, an image beside the wells, wells that no plate has."""
    assert maps(names) == []


def test_the_page_stays_small_and_says_so(tmp_path):
    plates = maps([f"{plate}_A{column:02}_f{field}" for plate in range(25) for column in (1, 2) for field in range(12)])
    assert len(plates) == 20
    well = plates[0]["rows"][0][1][0]
    assert well["images"] == 12 and len(well["links"]) == 9
    for n_fields, is_said in ((9, False), (10, True)):
        entries = [page_entry(f"x_{well}_f{field}.png", PART) for well in ("A01", "A02") for field in range(n_fields)]
        write_prediction_page(tmp_path / "a.html", [summary()], entries, len(entries), bundle=BUNDLE)
        assert ("the first 20 plates, and links to the first 9 images" in (tmp_path / "a.html").read_text()) == is_said


def test_expected_scores_are_averaged():
    verdict = {"dice": 0.9, "ap50": 0.8, "unlike": "", "view": "as it is"}
    (plate,) = maps(["A1_f1", "A1_f2", "A2_f1"], verdict=verdict)
    assert plate["rows"][0][1][0]["expected"] == "0.80"
    (plate,) = maps(["A1", "A2"])
    assert plate["rows"][0][1][0]["expected"] == ""


def write_plate_page(file, rows="ABCDEFGH", columns=12, fields=2):
    """A page about a plate, on which the nuclei become fewer from left to right."""
    verdict = {"dice": 0.9, "ap50": 0.83, "unlike": "", "view": "as it is"}
    names = [
        f"{row}{column:02}_f{field}"
        for row in rows
        for column in range(1, columns + 1)
        for field in range(1, fields + 1)
    ]
    entries = [
        (replace(record, verdict=verdict, nuclei=90 - 7 * int(record.name[1:3])), part)
        for record, part in (page_entry(f"plate/{name}.tif", PART) for name in names)
        if record.name[:3] != "B05"
    ]
    write_prediction_page(file, [summary(done=len(entries))], entries, len(entries), bundle=BUNDLE)


def test_wells_on_the_page_link_to_their_images(tmp_path):
    write_plate_page(tmp_path / "report.html", "AB", 5)
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert '<h2 id="plates">Wells</h2>' in text
    assert 'title="A3: 2 images"><strong>138</strong><br>0.83<br><a href="overlays/A03_f1.png">1</a>' in text
    assert text.count('<td class="shade') == 9 and "B5:" not in text
