"""The pages in a real browser."""

import shutil

import pytest

from tests.results.pages import write_page_of, write_training_page_of
from tests.results.test_report_plates import write_plate_page

pytestmark = pytest.mark.slow

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright, which drives the browser, is not installed")
CHROMIUM = shutil.which("chromium")
if CHROMIUM is None:
    pytest.skip("there is no Chromium: apt-get install chromium", allow_module_level=True)

WIDTHS = 1400, 400
NAMES = ["in/b 10.png", "in/<script>alert(1)</script>.png", "in/b 9.png"]


@pytest.fixture(scope="module")
def browser():
    quiet = "--disable-background-networking --disable-component-update --disable-sync --no-first-run --disable-quic"
    with sync_api.sync_playwright() as playwright:
        # Without a sandbox: it runs our own pages, perhaps as root.
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu", *quiet.split()]
        )
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Pages about 3 images, about 1,000, and about a training."""
    folder = tmp_path_factory.mktemp("pages")
    failures = [{"name": "bad", "file": "in/bad.png", "reason": "in/bad.png is empty"}]
    write_page_of(folder / "three.html", NAMES, failures=failures)
    write_page_of(folder / "thousand.html", [f"in/image {number}.png" for number in range(1000)])
    write_training_page_of(folder / "training.html", 5)
    (folder / "masks").mkdir()
    (folder / "masks" / "b 9.png").write_bytes(b"a mask")
    return folder


@pytest.fixture
def load(browser, folder):
    """Open a page; at the end nothing may have been asked of the network, and nothing said on the console."""
    contexts, requests, complaints = [], [], []

    def load(name, width=1400, scheme="light", script=None):
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        contexts.append(context)
        page = context.new_page()
        page.on("request", lambda request: requests.append(request.url))
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: complaints.append(dialog.message))
        if script:
            page.add_init_script(script)
        page.goto((folder / f"{name}.html").as_uri())
        page.locator(".frame").first.scroll_into_view_if_needed()
        page.wait_for_selector(".frame image", state="attached")
        return page

    yield load
    for context in contexts:
        context.close()
    assert complaints == []
    assert [url for url in requests if not url.startswith((folder.as_uri(), "data:"))] == []


def names(page):
    return page.locator(".name").all_text_contents()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", ["three", "thousand", "training"])
def test_it_fits_the_screen_and_text_stands_out(load, name, width, scheme):
    page = load(name, width, scheme)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    contrast = page.evaluate(
        """() => {
            const parse = (text) => text.match(/[\\d.]+/g).map(Number);
            const light = ([r, g, b]) => [r, g, b].map((v) => v / 255)
                .map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
                .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
            const ground = (at) => {
                for (; at; at = at.parentElement) {
                    const color = parse(getComputedStyle(at).backgroundColor);
                    if (color.length === 3 || color[3] > 0) return color;
                }
            };
            let least = Infinity;
            const texts = "h1,h2,h3,p,dt,dd,a,th,caption,label span,summary,text,select";
            for (const text of document.querySelectorAll(texts)) {
                const style = getComputedStyle(text);
                const colour = text instanceof SVGElement ? style.fill : style.color;
                const [a, b] = [light(parse(colour)), light(ground(text))].sort((x, y) => y - x);
                least = Math.min(least, (a + 0.05) / (b + 0.05));
            }
            return least;
        }"""
    )
    assert contrast >= 4.5, "WCAG 2.2, AA"


def test_names_are_text_and_stand_in_their_order(load):
    page = load("three")
    assert names(page) == ["<script>alert(1)</script>.png", "b 9.png", "b 10.png"]
    assert page.locator("main script").count() == 1, "the data"
    assert page.locator("title").first.text_content() == "Nuclei in 3 images"


def shown(page):
    """What the first card shows: (image, lines, fills)."""
    svg = page.locator(".frame svg").first
    return tuple(svg.locator(part).count() for part in ("image", ".lines", ".fills"))


def test_the_toggle(load):
    page = load("three")
    assert shown(page) == (1, 1, 0)
    page.get_by_label("Mask", exact=True).check()
    assert shown(page) == (0, 0, 1)
    page.get_by_label("Image", exact=True).check()
    assert shown(page) == (1, 0, 0)


def test_a_picture_changes_alone(load):
    page = load("three")
    frame = page.locator(".frame").first
    frame.click()
    assert shown(page) == (0, 0, 1)
    assert frame.get_attribute("aria-label").endswith("Shown: Mask")
    assert page.locator(".lines").count() == 2
    page.get_by_label("Image", exact=True).check()
    assert page.locator(".frame image").count() == 3
    assert page.locator(".lines, .fills").count() == 0


def test_the_mask_that_is_drawn_is_the_mask(load):
    """The share of white pixels of a picture that the browser painted."""
    page = load("three")
    page.get_by_label("Mask", exact=True).check()
    foreground, painted = page.evaluate(
        """async () => {
            const card = document.querySelector("#gallery li").card;
            const svg = card.frame.firstChild.cloneNode(true);
            for (const path of svg.querySelectorAll("path")) {
                path.setAttribute("fill", "#fff");
                path.setAttribute("fill-rule", "evenodd");
            }
            svg.setAttribute("width", 320);
            svg.setAttribute("height", 320);
            const image = new Image();
            image.src = `data:image/svg+xml,${encodeURIComponent(new XMLSerializer().serializeToString(svg))}`;
            await image.decode();
            const canvas = Object.assign(document.createElement("canvas"), { width: 320, height: 320 });
            const context = canvas.getContext("2d");
            context.drawImage(image, 0, 0);
            const { data } = context.getImageData(0, 0, 320, 320);
            let white = 0;
            for (let at = 0; at < data.length; at += 4) white += data[at] > 127;
            const area = Number(card.image.mean_area) * card.image.nuclei;
            return [area / (card.image.picture.width * card.image.picture.height), white / 320 ** 2];
        }"""
    )
    assert painted == pytest.approx(foreground, rel=0.08)


def test_sorting(load):
    page = load("thousand")
    assert names(page)[:3] == ["image 0.png", "image 1.png", "image 2.png"]
    assert names(page)[-1] == "image 999.png"

    def values(key):
        return page.evaluate(f"[...document.querySelectorAll('#gallery li')].map(({{ card }}) => card.image.{key})")

    for key in ("nuclei", "mean_area"):
        page.get_by_label("Sort by").select_option(key)
        assert values(key) == sorted(values(key), reverse=True)
        page.locator("#reverse").click()
        assert values(key) == sorted(values(key))
    page.get_by_label("Sort by").select_option("file")
    assert names(page)[:3] == ["image 0.png", "image 1.png", "image 2.png"]
    page.wait_for_selector(".frame image", state="attached")


def test_digests_are_no_numbers(load, folder):
    """As numbers, 0b... would come before 00a..., which has the larger first number."""
    digests = [f"{start}{'d' * 40}" for start in ("00710", "0b1", "10a", "9f2")]
    write_page_of(folder / "digests.html", [f"in/{digest}.png" for digest in reversed(digests)])
    page = load("digests")
    assert [name.removesuffix(".png") for name in names(page)] == digests


def test_by_keyboard(load):
    page = load("three")

    def focused(what):
        return page.evaluate(f"document.activeElement.{what}")

    page.keyboard.press("Tab")
    assert focused("tagName") == "SUMMARY"
    page.keyboard.press("Tab")
    assert focused("value") == "outlines"
    page.keyboard.press("ArrowRight")
    assert focused("value") == "mask"
    assert shown(page) == (0, 0, 1)
    page.keyboard.press("Tab")
    assert focused("id") == "order"
    page.keyboard.press("ArrowDown")
    assert focused("value") == "nuclei"
    page.keyboard.press("Tab")
    assert focused("id") == "reverse"
    page.keyboard.press("Tab")
    assert focused("className") == "frame"
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("Space")
    assert shown(page) == (1, 0, 0)
    page.keyboard.press("Tab")
    assert focused("textContent") == "Overlay"
    box = page.evaluate("document.activeElement.getBoundingClientRect().toJSON()")
    assert box["top"] > page.evaluate("document.querySelector('#toolbar').getBoundingClientRect().bottom")


def test_everything_has_a_name(load):
    for name in ("three", "training"):
        page = load(name)
        nameless = page.evaluate(
            """() => [...document.querySelectorAll("button, a, select, input, svg[role=img]")].filter((element) => {
                const labelled = (element.getAttribute("aria-labelledby") ?? "").split(" ").filter(Boolean);
                const text = element.ariaLabel || element.labels?.[0]?.textContent || element.textContent;
                return !labelled.every((id) => document.getElementById(id)?.textContent.trim()) || !text.trim();
            }).map((element) => element.outerHTML)"""
        )
        assert nameless == []


def test_links_open_the_files(load, folder):
    page = load("three")
    link = page.get_by_role("link", name="Mask of b 9.png")
    assert link.evaluate("link => link.href") == (folder / "masks" / "b 9.png").as_uri()


def test_a_thousand_images_are_drawn_as_one_scrolls(load):
    first = """
        new MutationObserver(() => {
            if (document.querySelector(".frame image")) window.firstPicture ??= performance.now();
        }).observe(document, { childList: true, subtree: true });
    """
    # Half a second where nothing else runs; the best of three, as tests share their machine.
    assert min(load("thousand", script=first).evaluate("window.firstPicture") for _ in range(3)) < 3000
    page = load("thousand")
    assert page.locator(".frame").count() == 1000
    assert page.locator(".frame svg").count() < 60
    without_picture = page.evaluate(
        """async () => {
            let missing = 0;
            for (let y = 0; y < document.documentElement.scrollHeight; y += 2000) {
                scrollTo(0, y);
                for (let frame = 0; frame < 3; frame++) await new Promise(requestAnimationFrame);
                for (const item of document.querySelectorAll("#gallery li")) {
                    const { top, bottom } = item.getBoundingClientRect();
                    if (bottom > 0 && top < innerHeight && !item.querySelector(".frame svg")) missing++;
                }
            }
            return missing;
        }"""
    )
    assert without_picture == 0
    assert page.locator(".frame svg").count() < 60, "those that are far away are gone"


def test_all_images_are_printed(load):
    page = load("thousand", 1400)
    assert page.locator(".frame svg").count() < 200
    page.pdf()
    assert page.locator(".frame svg").count() == 1000


def test_the_training_page_shows_truth_and_prediction(load):
    page = load("training")
    assert page.locator("img.curves").evaluate("image => image.complete && image.naturalWidth") > 0, "offline"
    paths = {}
    for view in ("Truth", "Prediction"):
        page.get_by_label(view, exact=True).check()
        card = page.locator("#gallery li").last
        card.scroll_into_view_if_needed()
        paths[view] = card.locator(".lines path").evaluate_all("paths => paths.map((p) => p.getAttribute('d')).join()")
    assert paths["Truth"].count("M") > paths["Prediction"].count("M") > 0, "a nucleus was left out"


@pytest.mark.parametrize("width", WIDTHS)
def test_a_plate_fits_the_window_or_scrolls(load, folder, width):
    write_plate_page(folder / "plate.html")
    page = load("plate", width)
    cells = page.locator(".plate tbody tr").first.locator("td")
    assert cells.count() == 12 and all(cell.is_visible() for cell in cells.all())
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    shades = [cells.nth(n).evaluate("e => getComputedStyle(e).backgroundColor") for n in (0, 11)]
    assert shades[0] != shades[1], "the more nuclei, the darker"
