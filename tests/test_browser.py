"""Pages in a real browser: nothing is loaded from outside, no error is logged, every picture is shown.

Needs Chromium with its driver, as Debian and Ubuntu package them (``apt-get install chromium-driver``).
"""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import pytest

from dlpipe.report.page import Chart, Media, Page, Section, Series, Table, Text, render_page

pytestmark = pytest.mark.slow
DRIVER, BROWSER = shutil.which("chromedriver"), shutil.which("chromium")
#: A PNG of one black pixel.
PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010800000000"
    "3a7e9b550000000a49444154789c6360000000020001482cba5b0000000049454e44ae426082"
)
HARM = "<script>document.title = 'harmed'</script><img src=x onerror=\"document.title = 'harmed'\">"


@pytest.fixture(scope="module")
def browser():
    """A headless Chromium whose messages and requests are recorded."""
    if not (DRIVER and BROWSER):
        pytest.skip("Chromium or its driver is not installed")
    webdriver = pytest.importorskip("selenium.webdriver")
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


def opened(browser, path: Path, *, width: int, dark: bool) -> float:
    """Open a page, check it, and return the seconds until its charts were drawn."""
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    browser.get_log("browser"), browser.get_log("performance")
    browser.get(path.as_uri())
    has_charts = browser.execute_script("return document.getElementById('charts').textContent != '[]'")
    limit = time.monotonic() + 30
    while has_charts and browser.execute_script("return document.documentElement.dataset.charts") != "drawn":
        assert time.monotonic() < limit, "the charts were not drawn within 30 s"
    drawn = browser.execute_script("return performance.now()") / 1000
    assert not [entry for entry in browser.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]
    sent = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    urls = [each["params"]["request"]["url"] for each in sent if each["method"] == "Network.requestWillBeSent"]
    assert [url for url in urls if not url.startswith(("data:", "blob:"))] == [path.as_uri()]
    broken = "return [...document.images].filter((image) => !image.complete || !image.naturalWidth).length"
    assert browser.execute_script(broken) == 0
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    assert browser.title != "harmed"
    return drawn


def page(folder: Path) -> Path:
    """Write a page with everything that a page can hold, and harmful text."""
    (folder / "dot.png").write_bytes(PIXEL)
    (folder / "words.html").write_text(f"<p>words {HARM}</p>")
    curve = Series(HARM, range(1000), [1 / (1 + step) for step in range(1000)])
    charts = [
        Chart(f"{HARM} {place}", [curve, Series("test", [900], [0.5], "points")], log_y=True) for place in range(8)
    ]
    bars = Chart("bars", [Series("bars", ["a", "b"], [1.0, 2.0], "bars")], ticks=["a", "b"])
    others = [
        Table(HARM, [HARM], [[HARM], ["x" * 400]]),
        Text(HARM, HARM),
        Media(HARM, [(HARM, folder / "dot.png")], "image"),
    ]
    sections = [Section(HARM, charts), Section("other", others), Section("folded", [bars], folded=True)]
    path = folder / "report.html"
    render_page(path, f"{HARM} title", f"{HARM} {'x' * 400}", sections, state="finished")
    return path


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280], ids=["phone", "wide"])
def test_a_page_works_in_a_browser(browser, tmp_path, width, dark):
    path = page(tmp_path)
    opened(browser, path, width=width, dark=dark)
    color = browser.execute_script("return getComputedStyle(document.body).backgroundColor")

    assert (color == "rgb(255, 255, 255)") is not dark
    assert browser.execute_script("return document.querySelectorAll('.plot:not(:empty)').length") == 8
    browser.find_element("css selector", "summary").click()  # the chart of a folded section is drawn when it is opened
    limit = time.monotonic() + 30
    while browser.execute_script("return document.querySelectorAll('.plot:not(:empty)').length") < 9:
        assert time.monotonic() < limit


def test_a_page_within_a_page_runs_no_script(browser, tmp_path):
    (tmp_path / "words.html").write_text(f"<p>words</p>{HARM.replace('document', 'top.document')}")
    path = tmp_path / "report.html"
    render_page(path, "title", "verdict", [Section("words", [Page("words", tmp_path / "words.html")])])
    browser.get(path.as_uri())

    assert browser.title == "title"
    browser.switch_to.frame(0)
    assert browser.find_element("css selector", "p").text == "words"
    browser.switch_to.default_content()
    assert browser.title == "title"
