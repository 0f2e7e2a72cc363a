"""The page in a real browser, over a run that goes on: what it shows, and that everybody can use it.

Skipped where Debian's package chromium or Playwright (``make .make/browser``) is missing.
"""

import re
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from support.command import clean_environment
from support.inputs import DIALS, write, write_inputs
from support.served import Page

CHROMIUM = shutil.which("chromium")
sync_api = pytest.importorskip(
    "playwright.sync_api", reason="playwright is not installed: make .make/browser"
)
if not CHROMIUM:
    pytest.skip("chromium is not installed: apt-get install chromium", allow_module_level=True)

TOKEN = "a-token-for-tests-only"
NAME = '<img src=x onerror="document.title=1">'
RULES = (
    f'1,Twitter,8,20,147\n2,"{NAME.replace(chr(34), chr(34) * 2)}",0,24,68\n3,Youtube,10,20,99\n'
)
VIEWS = {
    "Flow": "Are all files in",
    "Campaign": "Who was notified",
    "Health": "Does anything need attention",
}
FOCUSED = """(() => {
    const element = document.activeElement, box = element.getBoundingClientRect();
    const outlined = getComputedStyle(element).outlineStyle !== "none";
    return [element.dataset.focus || element.id || element.tagName, box.width > 0 && outlined];
})()"""
SIZES = {
    "desk": {"width": 1280, "height": 900},
    "phone": {"width": 390, "height": 740},
    "small": {"width": 320, "height": 560},
}


class Sight:
    """A tab of the browser, and what went wrong in it."""

    def __init__(self, tab: "sync_api.Page", page: Page) -> None:
        self.tab = tab
        self.page = page
        self.complaints: list[str] = []
        self.asked: list[str] = []
        tab.on(
            "console",
            lambda message: (
                self.complaints.append(message.text)
                if message.type in ("error", "warning")
                else None
            ),
        )
        tab.on("pageerror", lambda error: self.complaints.append(str(error)))
        tab.on("request", lambda request: self.asked.append(request.url))

    def show(self, view: str) -> None:
        """Go to a view and wait until it has its figures."""
        self.tab.goto(f"{self.page.address}/#/{view.lower()}")
        self.tab.locator(".figure").first.wait_for()
        self.tab.wait_for_load_state("load")

    def figure(self, name: str) -> str:
        """The value of a figure."""
        row = self.tab.locator(".figure", has=self.tab.get_by_text(name, exact=True))
        return str(row.locator("dd").first.text_content())


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A run that goes on: files of which some are missing and one is a copy, rejects, and a rule of a hostile name."""
    place = tmp_path_factory.mktemp("browser")
    paths = write_inputs(place, rules=RULES)
    for minute in range(30, 54):
        if minute not in (37, 42):
            records = "".join(
                f"{dial},{service},{20 + minute},20200417{19 - minute % 10}{minute:02}00\n"
                for dial in DIALS for service in (1, 3)
            )  # fmt: skip
            bad = "0126545098,1,many,20200417190000\n" * (minute % 7 == 0)
            write(place / "data" / f"DATA_2020041719{minute:02}.csv", records + bad)
    for minute in (53, 54):
        write(place / "data" / f"DATA_2020041719{minute}.csv", f"{DIALS[1]},2,500,20200417195300\n")
    run = subprocess.Popen(
        [sys.executable, "-m", "upswell", *paths, "--poll-s", "0.2"],
        cwd=place, env=clean_environment(), stderr=subprocess.DEVNULL,
    )  # fmt: skip
    (place / "reports").mkdir()
    until = time.monotonic() + 20
    while not (place / "out" / ".upswell" / "checkpoint.db").exists() or not list(
        (place / "out").glob("*/NOTIFY*")
    ):
        assert time.monotonic() < until, "the run published nothing"
        time.sleep(0.1)
    yield place
    run.terminate()
    run.wait(20)


@pytest.fixture(scope="module")
def page(place: Path) -> Iterator[Page]:
    """The page's server over it."""
    with Page(place, "--reports", "reports", UPSWELL_TOKEN=TOKEN) as page:
        yield page


@pytest.fixture(scope="module")
def browser() -> Iterator["sync_api.Browser"]:
    """Debian's chromium, without a window."""
    sync_api.expect.set_options(
        timeout=30_000
    )  # as Playwright's other waits: a machine may be busy
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM)
        yield browser
        browser.close()


@pytest.fixture
def sight(browser: "sync_api.Browser", page: Page) -> Iterator[Sight]:
    """A fresh tab, in which nothing went wrong and nobody else was asked for anything."""
    context = browser.new_context(viewport=SIZES["desk"], locale="en-GB")
    sight = Sight(context.new_page(), page)
    yield sight
    context.close()
    assert [] == sight.complaints
    assert [] == [url for url in sight.asked if not url.startswith(f"{page.address}/")]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("view", VIEWS)
def test_each_view_is_shown(sight: Sight, view: str, size: str) -> None:
    """With its figures, without a fault, and without scrolling sideways on any screen."""
    sight.tab.set_viewport_size(SIZES[size])
    sight.show(view)
    sight.tab.get_by_text(VIEWS[view]).wait_for()
    sight.tab.get_by_text("Running").first.wait_for()
    if view == "Campaign":
        look_up(sight)

    assert f"{view} · Upswell" == sight.tab.title()
    assert "page" == sight.tab.get_by_role("link", name=view).get_attribute("aria-current")
    assert 0 == sight.tab.locator(".fault").count()
    wide = sight.tab.evaluate("document.documentElement.scrollWidth")
    assert SIZES[size]["width"] == wide


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("view", VIEWS)
def test_everybody_can_use_each_view(sight: Sight, view: str, scheme: str) -> None:
    """Axe finds nothing: names, roles, contrast, order of headings, what can be reached."""
    from axe_playwright_python.sync_playwright import Axe

    sight.tab.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    sight.show(view)
    if view == "Campaign":
        look_up(sight)
    # The colours alone differ between the two.
    only = {"runOnly": ["color-contrast"]} if scheme == "dark" else {}
    found = (
        Axe().run(sight.tab, options={"resultTypes": ["violations"], **only}).response["violations"]
    )

    assert [] == [
        f"{one['id']}: {node['html'][:200]} {node['failureSummary']}"
        for one in found
        for node in one["nodes"]
    ]


def test_the_figures_are_those_of_status(sight: Sight) -> None:
    """Files in their states, and the funnel down to the notified."""
    sight.show("Flow")
    status = sight.page.ask("/api/status").json
    files, outcomes = status["files"], status["outcomes"]
    assert isinstance(files, dict)
    assert isinstance(outcomes, dict)

    assert (str(files["done"]), "1") == (sight.figure("Done"), sight.figure("Missing"))
    row = sight.tab.locator(".bars li", has_text="notified").last
    row.wait_for()
    assert str(row.locator(".much").text_content()).startswith(str(outcomes["notified"]))


def test_a_minute_is_told_to_the_keyboard(sight: Sight) -> None:
    """Arrow keys go through the minutes; each is shown and said, and Escape takes it away."""
    sight.show("Flow")
    minutes = sight.tab.locator(".minutes")
    minutes.focus()
    for key in ("Home", *["ArrowRight"] * 12):
        sight.tab.keyboard.press(key)

    sync_api.expect(sight.tab.locator("#tip")).to_have_text("19:42 missing")
    sync_api.expect(sight.tab.locator("#said")).to_have_text("19:42 missing")
    sight.tab.keyboard.press("Escape")
    sync_api.expect(sight.tab.locator("#tip")).to_be_hidden()


def test_all_is_reached_by_tabs(sight: Sight) -> None:
    """The skip link is first, each stop can be seen, and none is a trap."""
    sight.show("Flow")
    sight.tab.locator("#flow-state").wait_for()  # the last part of the view to come
    sight.tab.keyboard.press("Tab")
    assert "Skip to the content" == sight.tab.evaluate("document.activeElement.textContent")
    sight.tab.keyboard.press("Enter")
    assert "main" == sight.tab.evaluate("document.activeElement.id")
    seen = []
    for _ in range(40):
        sight.tab.keyboard.press("Tab")
        seen.append(sight.tab.evaluate(FOCUSED))
        if seen[-1][0] == "BODY":
            break

    assert {"flow-day", "minutes", "Files of the day", "flow-state"} <= {name for name, _ in seen}
    assert [] == [name for name, visible in seen if not visible and name != "BODY"]


def show_dials(sight: Sight) -> None:
    """Give the page its token."""
    sight.tab.get_by_role("button", name="Show MSISDNs").click()
    sight.tab.get_by_label("Token").fill(TOKEN)
    sight.tab.get_by_role("dialog").get_by_role("button", name="Show MSISDNs").click()
    sight.tab.get_by_role("button", name="Mask MSISDNs").wait_for()


def look_up(sight: Sight, msisdn: str = DIALS[1]) -> None:
    """Ask for a customer's story, for which the page has its token, and wait for it."""
    if not sight.tab.get_by_role("button", name="Mask MSISDNs").is_visible():
        show_dials(sight)
    sight.tab.get_by_label("Customer (MSISDN)").fill(msisdn)
    sight.tab.get_by_role("button", name="Explain").click()
    sight.tab.get_by_text("The state agrees.").wait_for()


def test_a_customer_is_looked_up(sight: Sight) -> None:
    """The story, with the token alone: why, the running total against its threshold, and every line."""
    sight.show("Campaign")
    sync_api.expect(
        sight.tab.get_by_text("Looking up a customer requires the token")
    ).to_be_visible()
    assert 0 == sight.tab.get_by_label("Customer (msisdn)").count()
    look_up(sight)
    story = sight.tab.locator(".story")

    sync_api.expect(story).to_contain_text(DIALS[1])
    sync_api.expect(story.locator(".verdicts")).to_contain_text("exceeds 147: sent to Twitter/")
    sync_api.expect(story.get_by_role("img", name="Running total: Twitter")).to_be_visible()
    sync_api.expect(story.get_by_text("threshold 147")).to_be_visible()
    sync_api.expect(story.get_by_role("region", name="All lines of the customer")).to_contain_text(
        "already notified"
    )
    sync_api.expect(story).to_contain_text(
        "DATA_202004171954.csv: 1 line with this number, not processed: same content as DATA_202004171953.csv"
    )

    sight.tab.get_by_role("button", name="Mask MSISDNs").click()
    sync_api.expect(
        sight.tab.get_by_text("Looking up a customer requires the token")
    ).to_be_visible()
    assert DIALS[1] not in str(sight.tab.locator("main").text_content())


def test_a_wrong_token_shows_nothing(sight: Sight) -> None:
    """It is told, and dials stay masked."""
    sight.show("Campaign")
    sight.tab.get_by_role("button", name="Show MSISDNs").click()
    sight.tab.get_by_label("Token").fill("guess")
    sight.tab.keyboard.press("Enter")
    sync_api.expect(sight.tab.get_by_text("Wrong token.")).to_be_visible()
    sight.tab.keyboard.press("Escape")

    sync_api.expect(sight.tab.get_by_role("button", name="Show MSISDNs")).to_be_visible()


def test_a_name_out_of_rules_is_text(sight: Sight) -> None:
    """Markup in an application's name is shown as it is written, and does nothing."""
    sight.show("Campaign")

    sync_api.expect(sight.tab.get_by_role("heading", name=NAME)).to_be_visible()
    assert "Campaign · Upswell" == sight.tab.title()


def test_who_is_near_is_looked_for_when_asked(sight: Sight) -> None:
    """A button, as it takes a start's time; then customers, masked, with their totals."""
    sight.show("Campaign")
    sight.tab.get_by_role("button", name="Load now").click()

    sync_api.expect(sight.tab.get_by_role("button", name="Load again")).to_be_visible()
    sync_api.expect(sight.tab.get_by_text("as of batch")).to_be_visible()


def test_the_page_is_live(sight: Sight, place: Path) -> None:
    """A file that comes is counted without a reload."""
    sight.show("Flow")
    arrived = int(sight.figure("Arrived"))
    write(
        place / "data" / f"DATA_20200417200{arrived % 10}.csv", f"{DIALS[0]},1,5,20200417195500\n"
    )
    row = sight.tab.locator(".figure", has=sight.tab.get_by_text("Arrived", exact=True))

    sync_api.expect(row.locator("dd").first).to_have_text(str(arrived + 1))


def test_a_chosen_colour_stays(sight: Sight) -> None:
    """Auto, light and dark, kept for the next visit."""
    sight.show("Health")
    button = sight.tab.get_by_role("button", name="Colours")
    paper = "getComputedStyle(document.body).backgroundColor"
    light = sight.tab.evaluate(paper)
    button.click()
    button.click()
    dark = sight.tab.evaluate(paper)
    sight.tab.reload()

    assert light != dark == sight.tab.evaluate(paper)


def test_a_page_without_its_server_says_so(browser: "sync_api.Browser", place: Path) -> None:
    """The last figures stay, under words that they are old."""
    with Page(place) as page:
        tab = browser.new_page()
        tab.goto(page.address)
        tab.locator(".figure").first.wait_for()
        page.process.kill()
        page.process.wait()
        sync_api.expect(tab.get_by_role("alert").first).to_contain_text("Not connected")

        assert tab.locator(".figure").count()
        tab.close()


def test_a_damaged_state_is_told_once(browser: "sync_api.Browser", tmp_path: Path) -> None:
    """By the first card of a view and by the pill; the others refer to it."""
    words = [sys.executable, "-m", "upswell", *write_inputs(tmp_path), "--once"]
    subprocess.run(words, cwd=tmp_path, env=clean_environment(), check=True, capture_output=True)
    database = tmp_path / "out" / ".upswell" / "checkpoint.db"
    with closing(sqlite3.connect(database)) as db, db:
        db.execute("UPDATE meta SET value = 'x' WHERE key = 'measure'")
    with Page(tmp_path) as page:
        tab = browser.new_page()
        for view in ("flow", "health"):
            tab.goto(f"{page.address}/#/{view}")
            tab.get_by_text("Not available, for the same reason.").first.wait_for()
            sync_api.expect(tab.locator("#pill")).to_have_text("State unreadable")
            assert 1 == tab.get_by_text("is damaged").count()
            sync_api.expect(tab.locator(".card").first).to_contain_text("is damaged")
        tab.close()


def test_a_day_is_shown_by_itself(browser: "sync_api.Browser", tmp_path: Path) -> None:
    """Figures are those of the chosen day: not all done with something held, nothing known of missing ones long ago."""
    paths = write_inputs(tmp_path)
    write(tmp_path / "data" / "DATA_202004100900.csv", f"{DIALS[0]},1,5,20200410090000\n")
    write(tmp_path / "data" / "DATA_202004180900.csv", f"{DIALS[0]},1,5,20200418090000\n")
    write(tmp_path / "data" / "DATA_202004180901.csv", b"\x1f\x8b compressed")
    words = [sys.executable, "-m", "upswell", *paths, "--once", "--cadence-s", "0"]
    subprocess.run(words, cwd=tmp_path, env=clean_environment(), check=True, capture_output=True)
    with Page(tmp_path) as page:
        sight = Sight(browser.new_page(), page)
        sight.show("Flow")
        for day, done, held, lines, missing in (
            ("20200418", "1", "1", "1", "0"),
            ("20200417", "1", "0", "7", "0"),
            ("20200410", "1", "0", "1", "\N{EN DASH}"),
        ):
            sight.tab.locator("#flow-day").select_option(day)
            row = sight.tab.locator(".bars li", has_text="lines").first
            sync_api.expect(row.locator(".much")).to_have_text(f"{lines}100%")
            for name, value in (("Done", done), ("Held", held), ("Missing", missing)):
                figure = sight.tab.locator(".figure", has=sight.tab.get_by_text(name, exact=True))
                sync_api.expect(figure.locator("dd").first).to_have_text(value)
            share = sight.tab.locator(".figure", has_text="Done").locator(".note")
            sync_api.expect(share).to_have_text(
                "50% of the day's" if held == "1" else "100% of the day's"
            )
        sight.tab.close()


def test_an_answer_about_another_day_comes_too_late(
    browser: "sync_api.Browser", tmp_path: Path
) -> None:
    """Whoever chose a day sees that day, also when what was asked for before is answered after it."""
    paths = write_inputs(tmp_path)
    write(tmp_path / "data" / "DATA_202004180900.csv", f"{DIALS[0]},1,5,20200418090000\n")
    words = [sys.executable, "-m", "upswell", *paths, "--once"]
    subprocess.run(words, cwd=tmp_path, env=clean_environment(), check=True, capture_output=True)
    with Page(tmp_path) as page:
        tab, held = browser.new_page(), list[sync_api.Route]()
        tab.route(re.compile("/api/minutes$"), lambda route: held.append(route))
        tab.goto(page.address)
        tab.locator("#flow-day option").nth(1).wait_for(state="attached")
        tab.locator("#flow-day").select_option("20200417")
        lines = tab.locator(".bars li", has_text="lines").first.locator(".much")
        sync_api.expect(lines).to_have_text("7100%")
        assert held
        for each in held:
            with tab.expect_response(re.compile("/api/minutes$")):
                each.continue_()
        tab.wait_for_timeout(300)

        # At once: the next look would put it right.
        arrived = tab.locator(".figure", has_text="Arrived").locator("dd").first
        assert ("7100%", "1") == (lines.text_content(), arrived.text_content())
        tab.close()


def test_a_page_over_nothing_says_what_to_do(browser: "sync_api.Browser", tmp_path: Path) -> None:
    """Before the first file there is no fault, but the next step."""
    paths = write_inputs(tmp_path)
    (tmp_path / "data" / "DATA_202004171937.csv").unlink()
    words = [sys.executable, "-m", "upswell", *paths, "--once"]
    subprocess.run(words, cwd=tmp_path, env=clean_environment(), check=True, capture_output=True)
    with Page(tmp_path) as page:
        tab = browser.new_page()
        for view, words_shown in (
            ("flow", "No file has arrived yet"),
            ("campaign", "No notifications yet."),
            ("health", "Nothing committed yet."),
        ):
            tab.goto(f"{page.address}/#/{view}")
            tab.get_by_text(words_shown).first.wait_for()
            assert 0 == tab.locator(".fault").count()
        tab.close()
