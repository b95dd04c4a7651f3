import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import PurePath

import numpy as np
import pytest
import tifffile

from segmentation.batch.folder import predict_folder
from segmentation.batch.inputs import Shard, find_inputs
from segmentation.batch.outputs import ImageOutput, PageOutput, Prediction
from segmentation.data.images import Image
from segmentation.data.large import open_large
from segmentation.large.blocks import plan_blocks
from segmentation.large.predict import predict_large
from segmentation.results.report import prediction
from segmentation.results.report.prediction import image_part, large_image_part, write_prediction_page
from tests.batch.test_folder import draw, make_predictor, write_png
from tests.results.pages import BUNDLE, drawn, page_entry, summary, write_page_of

pytestmark = pytest.mark.slow

HOSTILE = "<script>alert(1)</script>.png"


class Page(HTMLParser):
    """The elements of a page, what it says, and the data of its gallery."""

    def __init__(self, file):
        super().__init__()
        self.elements, self.text, self._scripts, self._open = [], "", [], None
        self.feed(file.read_text(encoding="utf-8"))
        self.gallery = next((json.loads(text) for of, text in self._scripts if of.get("id") == "data"), None)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        self._open = tag if tag in ("script", "style") else None

    def handle_data(self, data):
        if self._open == "script":
            self._scripts.append((self.elements[-1][1], data))
        elif self._open is None:
            self.text += data

    def handle_endtag(self, tag):
        self._open = None
        if tag in ("dt", "dd", "th", "td"):
            self.text += " "


def test_what_is_kept_of_an_image():
    image = drawn(1, pixel_size_um=0.5)
    part = json.loads(json.dumps(image_part(image)))
    areas = np.bincount(image.labels.ravel())[1:]
    assert sorted(np.repeat(*np.array(part["areas"]).T)) == sorted(areas)
    assert part["pixel_area_um2"] == 0.25
    assert part["picture"]["width"] == 160


def test_summary_failures_settings(tmp_path):
    failures = [{"name": "bad", "file": "in/bad.png", "reason": "in/bad.png is a truncated PNG of 3 bytes"}]
    images = write_page_of(tmp_path / "report.html", ["in/a.png", "in/b.png"], failures=failures)
    page = Page(tmp_path / "report.html")
    nuclei = sum(record.nuclei for record, _ in images)
    text = " ".join(page.text.split())
    assert f"Images 2 Nuclei {nuclei}" in text
    for said in ("1 image failed", "is a truncated PNG", "Failed 1", "12.3 s", "drawn, trained on <b>my data</b>.zip"):
        assert said in text
    for said in ("0.900 (0.850 to 0.940)", "openvino, f32", "found for each image", "python 3.11.7"):
        assert said in text
    assert "Not done yet" not in text


def test_a_picture_that_failed_is_named_beside_another_of_its_file(tmp_path):
    failures = [{"name": "film_t2", "file": "in/film.tif", "reason": "in/film.tif (frame 2) is damaged"}]
    write_page_of(tmp_path / "report.html", ["in/film.tif"], failures=failures)
    text = " ".join(Page(tmp_path / "report.html").text.split())
    assert "film_t2 in/film.tif (frame 2) is damaged" in text and "Not done yet" not in text


@pytest.mark.parametrize("name", [HOSTILE, "</script><script>alert(1)</script>", "<!--<script>", "a\u2028'\"&amp;.png"])
def test_names_are_text(tmp_path, name):
    failures = [{"name": name, "file": f"in/{name}", "reason": f"in/{name} is broken"}]
    write_page_of(tmp_path / "report.html", [f"one/{name}", f"two/{name}"], failures=failures)
    page = Page(tmp_path / "report.html")
    assert [image["file"] for image in page.gallery["images"]] == [f"one/{name}", f"two/{name}"]
    assert f"{name} in/{name} is broken" in " ".join(page.text.split(" "))
    # The data of the gallery and our own script; nothing else became an element.
    assert [attributes for tag, attributes in page.elements if tag == "script"] == [
        {"type": "application/json", "id": "data"},
        {},
    ]


def test_names_that_are_no_text_do_not_break_the_page(tmp_path):
    write_page_of(tmp_path / "report.html", ["in/cell\udcff.png", "in/b.png"])
    assert len(Page(tmp_path / "report.html").gallery["images"]) == 2


@pytest.mark.parametrize(
    ("paths", "shown"),
    [
        (["in/a.png"], ["a.png"]),
        (["in/a.png", "in/b.png"], ["a.png", "b.png"]),
        (["/elsewhere/b.png", "left/a.png", "right/a.png"], None),
        (["bowl.zip/12ab/images/12ab.png", "bowl.zip/34cd/images/34cd.png"], ["12ab.png", "34cd.png"]),
        (["day 1/a.png", "day 2/a.png", "day 2/b.png"], ["day 1/a.png", "day 2/a.png", "day 2/b.png"]),
    ],
)
def test_names_tell_images_apart_and_no_more(tmp_path, paths, shown):
    write_page_of(tmp_path / "report.html", paths)
    names = [image["file"] for image in Page(tmp_path / "report.html").gallery["images"]]
    assert names == (shown or names)
    assert len(set(names)) == len(names)
    # The page sorts by the whole path, which depends on the folder that the tests run in.
    assert sorted(PurePath(name).name for name in names) == sorted(PurePath(path).name for path in paths)


def test_links_lead_to_what_was_written(tmp_path):
    part = image_part(drawn(0))
    record, _ = page_entry("in/50 % #1?.png", part)
    store = {"labels/s.zarr/0/0": 1, "labels/s.zarr/zarr.json": 1}
    record = replace(record, files=record.files | {"labels": store, "table": {".records/x.nuclei.csv": 1}})
    write_prediction_page(tmp_path / "report.html", [summary()], [(record, part)], 1, bundle=BUNDLE)
    assert Page(tmp_path / "report.html").gallery["images"][0]["links"] == [
        ["Overlay", "overlays/50%20%25%20%231%3F.png"],
        ["Mask", "masks/50%20%25%20%231%3F.png"],
        ["Label map", "labels/s.zarr"],
    ]


def test_links_lead_to_the_tables_that_there_are(tmp_path):
    for name in ("nuclei.csv", "summary.json", "summary-1-of-2.json", "other.csv"):
        (tmp_path / name).touch()
    write_page_of(tmp_path / "report.html", ["a.png"])
    page = Page(tmp_path / "report.html")
    links = [attributes["href"] for tag, attributes in page.elements if tag == "a"]
    assert links == ["nuclei.csv", "summary-1-of-2.json", "summary.json"]
    assert "All nuclei (nuclei.csv)" in page.text


@pytest.mark.parametrize("areas", [[40], [40, 90]])
def test_one_has_no_plural_and_few_have_no_percentages(tmp_path, areas):
    labels = np.zeros((30, 30), np.int32)
    for number, area in enumerate(areas, 1):
        labels.ravel()[200 * number : 200 * number + area] = number
    part = image_part(replace(drawn(0), labels=labels))
    entries = [page_entry(f"{number}.png", part) for number in range(len(areas))]
    write_prediction_page(tmp_path / "a.html", [summary(done=1, skipped=1)], entries, len(areas), bundle=BUNDLE)
    text = " ".join(Page(tmp_path / "a.html").text.split())
    assert not re.search(r"\b1 (images|nuclei|shards|were)\b", text)
    assert "1 image in 12.3 s; 1 image done before" in text
    assert "%" not in text and "nine out of ten" not in text


def test_nothing_is_fetched_from_elsewhere(tmp_path):
    write_page_of(tmp_path / "report.html", ["a.png"])
    page = Page(tmp_path / "report.html")
    for _, attributes in page.elements:
        for name in ("src", "href"):
            assert attributes.get(name, "data:").startswith("data:")
    policy = next(a["content"] for tag, a in page.elements if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy


def test_areas_are_micrometres_where_all_images_tell_their_pixel_size(tmp_path):
    parts = [image_part(drawn(number, pixel_size_um=size)) for number, size in ((0, 0.5), (1, 0.25))]
    images = [page_entry(f"in/{number}.png", part) for number, part in enumerate(parts)]
    write_prediction_page(tmp_path / "a.html", [summary()], images, 2, bundle=BUNDLE)
    page = Page(tmp_path / "a.html")
    assert "Area (µm²)" in page.text
    areas = np.bincount(drawn(1).labels.ravel())[1:]
    assert page.gallery["images"][1]["mean_area"] == pytest.approx(areas.mean() * 0.0625)

    images[0][1]["pixel_area_um2"] = None
    write_prediction_page(tmp_path / "b.html", [summary()], images, 2, bundle=BUNDLE)
    assert "Area (px²)" in Page(tmp_path / "b.html").text
    assert Page(tmp_path / "b.html").gallery["images"][1]["mean_area"] == pytest.approx(areas.mean())


def test_no_images_and_no_nuclei(tmp_path):
    write_prediction_page(tmp_path / "a.html", [summary(done=0)], [], 0, bundle=BUNDLE)
    assert "Nuclei in 0 images" in Page(tmp_path / "a.html").text
    empty = drawn(0)
    part = image_part(replace(empty, labels=0 * empty.labels))
    write_prediction_page(tmp_path / "b.html", [summary()], [page_entry("a.png", part)], 1, bundle=BUNDLE)
    (image,) = Page(tmp_path / "b.html").gallery["images"]
    assert (image["nuclei"], image["mean_area"], image["facts"]) == (0, None, "0 nuclei")


def test_an_image_takes_at_most_21_kilobytes_and_commonly_less_than_12(tmp_path):
    sizes = []
    for number in range(5):
        (image,) = [page_entry(f"{number}.png", image_part(drawn(number, side=520)))]
        write_prediction_page(tmp_path / "report.html", [summary()], [image] * 11, 11, bundle=BUNDLE)
        many = (tmp_path / "report.html").stat().st_size
        write_prediction_page(tmp_path / "report.html", [summary()], [image], 1, bundle=BUNDLE)
        sizes.append((many - (tmp_path / "report.html").stat().st_size) / 10)
    # Two of these are noisier and more crowded than any image of the 2018 Data Science Bowl.
    assert max(sizes) < 21_000
    assert sorted(sizes)[1] < 12_000


@pytest.fixture
def images(tmp_path):
    (tmp_path / "in").mkdir()
    for seed in range(7):
        draw(tmp_path / "in" / f"cell{seed}.png", seed)
    return tmp_path / "in"


def page_output():
    """The parts as they are, and a page that says what it was given."""

    def write(file, summaries, images, count):
        given = {
            "count": count,
            "images": [[record.name, part["areas"]] for record, part in images],
            "done": sum(summary["images"]["done"] for summary in summaries),
            "failed": [failure["name"] for summary in summaries for failure in summary["failures"]],
        }
        file.write_text(json.dumps(given))

    return PageOutput("report.html", image_part, None, write)


def go(images, out, threshold=0.5, **options):
    outputs = {
        "masks": ImageOutput("masks", ".png", lambda path, p: write_png(path, np.uint8(p.labels > 0) * 255)),
        "report": page_output(),
    }
    predict_folder(find_inputs([str(images)]), out, make_predictor(threshold), outputs, **options)
    return json.loads((out / "report.html").read_text())


def test_a_resumed_call_tells_of_all_images(images, tmp_path):
    first = go(images, tmp_path / "out")
    assert [name for name, _ in first["images"]] == [f"cell{seed}" for seed in range(7)]
    (tmp_path / "out" / "report.html").write_text("old")
    again = go(images, tmp_path / "out")
    assert again["images"] == first["images"]
    assert (first["done"], again["done"]) == (7, 0)


def test_a_lost_part_is_made_again_and_a_changed_image_too(images, tmp_path):
    first = go(images, tmp_path / "out")
    (tmp_path / "out" / ".records" / "cell3.report.jsonl").unlink()
    draw(images / "cell5.png", 9)
    again = go(images, tmp_path / "out")
    assert again["done"] == 2
    different = [a[0] for a, b in zip(first["images"], again["images"], strict=True) if a != b]
    assert different == ["cell5"]


def test_a_failed_image_leaves_the_page(images, tmp_path):
    go(images, tmp_path / "out")
    (images / "cell2.png").write_bytes(b"")
    again = go(images, tmp_path / "out")
    assert again["failed"] == ["cell2"]
    assert "cell2" not in [name for name, _ in again["images"]]


def test_shards_leave_one_page_about_all(images, tmp_path):
    (images / "cell1.png").write_bytes(b"")
    whole = go(images, tmp_path / "whole")
    pages = [go(images, tmp_path / "out", shard=Shard(number, 3)) for number in (1, 2, 3)]
    assert [len(page["images"]) for page in pages] == [3, 4, 6]
    assert pages[-1] == whole
    assert {page["count"] for page in pages} == {7}


def test_shards_that_have_not_ended_are_waited_for(tmp_path):
    part = image_part(drawn(0))
    write_prediction_page(tmp_path / "a.html", [summary()], [page_entry("a.png", part)], 3, bundle=BUNDLE)
    assert re.search(r"Not done yet\s+2", Page(tmp_path / "a.html").text)


def test_of_many_images_it_shows_the_first_and_a_sample_and_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(prediction, "_FIRST", 3)
    monkeypatch.setattr(prediction, "_SAMPLE", 2)
    images = write_page_of(tmp_path / "report.html", [f"in/{number:02d}.png" for number in range(11)])
    page = Page(tmp_path / "report.html")
    assert [image["file"] for image in page.gallery["images"]] == [f"{n:02d}.png" for n in (0, 1, 2, 3, 7)]
    text = " ".join(page.text.split())
    assert f"Images 11 Nuclei {sum(record.nuclei for record, _ in images):,}" in text
    assert "Shown are 5 of 11 images: the first 3, and of the others one in 4." in text
    write_page_of(tmp_path / "report.html", [f"in/{number:02d}.png" for number in range(5)])
    assert "Shown are" not in Page(tmp_path / "report.html").text


def test_a_picture_done_by_blocks_has_the_same_part(tmp_path):
    labels = drawn(1, side=400).labels
    pixels = np.where(labels > 0, 220, 10).astype(np.uint8)
    tifffile.imwrite(tmp_path / "slide.tif", pixels, tile=(64, 64))
    image = open_large(tmp_path / "slide.tif", largest_whole=0)
    predictor = make_predictor()
    slide = predict_large(
        "slide",
        image,
        "digest",
        tmp_path / "blocks",
        predictor,
        plan=lambda shape, divisor, margin, scale: plan_blocks(shape, 16, 16, halo=32, largest_tile=176 * 176),
    )
    scores = np.linspace(0, 1, slide.nuclei)
    object.__setattr__(slide, "scores", scores)
    large = large_image_part(slide)
    image.close()
    whole = Image(pixels[..., None], ("grey",), None)
    one = image_part(Prediction("slide", whole, predictor(whole), None, scores=scores))
    assert large["areas"] == one["areas"]
    assert (large["picture"]["width"], large["picture"]["height"]) == (400, 400)
    assert large["picture"]["image"] == one["picture"]["image"]
    lengths = [sum(map(len, part["picture"]["outlines"]["paths"])) for part in (large, one)]
    assert lengths[0] == pytest.approx(lengths[1], rel=0.1)
    doubtful = [part["picture"]["outlines"]["paths"][8].count("M") for part in (large, one)]
    assert doubtful[0] == doubtful[1] >= np.count_nonzero(scores < 0.5)  # one has a hole


def test_verdicts_are_told_and_the_least_trusted_image_comes_first(tmp_path):
    part = image_part(drawn(0))
    verdicts = [
        {"dice": 0.91, "ap50": 0.83, "unlike": "", "view": "red inverted"},
        {"dice": None, "ap50": None, "unlike": "Unlike the training images: nothing was found.", "view": "as it is"},
    ]
    entries = [page_entry(f"{number}.png", part) for number in range(2)]
    entries = [(replace(record, verdict=one), part) for (record, part), one in zip(entries, verdicts, strict=True)]
    write_prediction_page(tmp_path / "a.html", [summary()], entries, 2, bundle=BUNDLE)
    page = Page(tmp_path / "a.html")
    assert [image["expected_ap50"] for image in page.gallery["images"]] == [0.83, None]
    assert page.gallery["images"][0]["facts"].endswith("expected Dice 0.91, AP50 0.83, seen red inverted")
    assert page.gallery["images"][1]["facts"].endswith("unlike the training images: nothing was found")
    keys = [attributes["value"] for tag, attributes in page.elements if tag == "option"]
    assert keys[0] == "expected_ap50" and "yellow and dashed" in page.text
    write_prediction_page(tmp_path / "b.html", [summary()], [page_entry("a.png", part)], 1, bundle=BUNDLE)
    assert "AP50" not in Page(tmp_path / "b.html").text


def test_doubtful_nuclei_are_told_from_the_others():
    image = drawn(0)
    scores = np.linspace(0, 1, image.nuclei)
    paths = image_part(replace(image, scores=scores))["picture"]["outlines"]["paths"]
    assert paths[8].count("M") == np.count_nonzero(scores < 0.5)
    assert len(image_part(image)["picture"]["outlines"]["paths"]) <= 8
