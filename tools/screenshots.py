"""Pictures of the page for the documentation: ``python tools/screenshots.py docs/images``.

Makes some days of traffic with gaps, faults and an edit of the rules, lets a run take them, and takes a picture of each
view in chromium. The traffic is seeded, so pictures differ only in the day that they show.
"""

import shutil
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from playwright.sync_api import Page as Tab
from playwright.sync_api import sync_playwright

from support.served import Page

DAYS = 4
CUSTOMERS = 30_000
TOKEN = "a-token-for-pictures"
WIDE, HIGH = 1240, 860
PHONE = {"width": 390, "height": 800}
BYTES_MAX = 150_000
UPSWELL = [sys.executable, "-m", "upswell"]


def make(place: Path) -> None:
    """DATA, SEGMENT and RULES, read to the end, with an edit of the rules before the last day."""
    run(place, "generate", "rules", "rules")
    run(place, "generate", "segment", "segment", "--customers", CUSTOMERS, "--share", 0.25)
    # The hours before now, so that the day that is shown is today as people know it.
    now = datetime.now(UTC).replace(second=0, microsecond=0)
    for ago in range(DAYS, 0, -1):
        generate(place, (now - timedelta(days=ago)).replace(hour=0, minute=0), 1440, 60)
    take(place)
    rules = place / "rules" / "RULES.csv"
    rules.write_text(rules.read_text("utf-8").replace("1100", "900"), "utf-8")
    today = now.replace(hour=0, minute=0)
    minutes = max(int((now - today).total_seconds() // 60), 120)
    generate(place, today, 60, 90, "--faults")
    generate(place, today + timedelta(minutes=60), minutes - 60, 90)
    *gone, late = (file_of(place, today, minutes - ago) for ago in (75, 74, 73, 30))
    for each in gone:
        each.unlink()
    kept = late.rename(place / "late.csv")
    take(place)
    kept.rename(late)
    take(place)
    (place / "reports").mkdir()
    (place / "mild.csv").write_text("1,Twitter,8,20,1500\n3,Youtube,7,23,900\n", "utf-8")
    run(place, "whatif", "--rules", "mild.csv", "--output", "out", "--report", "reports/mild.html")


def file_of(place: Path, day: datetime, minute: int) -> Path:
    """The file of a minute of a day."""
    return place / "data" / f"DATA_{day + timedelta(minutes=minute):%Y%m%d%H%M}.csv"


def generate(place: Path, start: datetime, files: int, records: int, *words: str) -> None:
    """A day of traffic."""
    stamp = f"{start:%Y%m%d%H%M}"
    run(place, "generate", "data", "data", "--start", stamp, "--files", files, "--records", records,
        "--customers", CUSTOMERS, *words)  # fmt: skip


def take(place: Path) -> None:
    """A run once."""
    run(place, "data", "segment", "rules", "out", "--once")


def run(place: Path, *words: object) -> str:
    """What a command prints."""
    done = subprocess.run(
        [*UPSWELL, *map(str, words)], cwd=place, check=True, capture_output=True, text=True
    )
    return done.stdout


def dial_of(place: Path) -> str:
    """A customer whose story is worth a picture: notified on the newest day."""
    days = run(place, "sent", "--output", "out").splitlines()
    rows = [line.split("  ") for line in days if line.startswith("  2")]
    day, application = rows[-1][1], rows[-1][2].strip()
    listed = run(
        place, "sent", "--output", "out", "--list", "--day", day, "--application", application
    )
    return listed.splitlines()[0].split("  ")[2].partition(",")[0]


def photograph(page: Page, place: Path, images: Path) -> None:
    """Every picture."""
    dial = dial_of(place)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"))
        for name, scheme, size in (
            ("flow", "light", {"width": WIDE, "height": HIGH}),
            ("campaign", "light", {"width": WIDE, "height": HIGH}),
            ("health", "dark", {"width": WIDE, "height": HIGH}),
            ("story", "light", {"width": WIDE, "height": HIGH}),
            ("phone", "dark", PHONE),
        ):
            context = browser.new_context(
                viewport=size, color_scheme=scheme, reduced_motion="reduce"
            )  # type: ignore[arg-type]
            tab = context.new_page()
            view = {"story": "campaign", "phone": "flow"}.get(name, name)
            tab.goto(f"{page.address}/#/{view}")
            tab.locator(".figure").first.wait_for()
            time.sleep(1)
            if name == "story":
                tell(tab, dial)
            tab.screenshot(path=images / f"{name}.png")
            context.close()
        browser.close()


def tell(tab: Tab, dial: str) -> None:
    """The story of a customer on the newest day, in sight."""
    tab.get_by_role("button", name="Show MSISDNs").click()
    tab.get_by_label("Token").fill(TOKEN)
    tab.get_by_role("dialog").get_by_role("button", name="Show MSISDNs").click()
    newest = tab.locator("#campaign-day").input_value()
    tab.get_by_label("Customer (MSISDN)").fill(dial)
    tab.locator("#when").fill(f"{newest[:4]}-{newest[4:6]}-{newest[6:]}")
    tab.get_by_role("button", name="Explain").click()
    tab.locator(".verdicts").first.wait_for()
    tab.locator(
        "section", has=tab.get_by_role("heading", name="One customer")
    ).last.scroll_into_view_if_needed()
    tab.evaluate(
        "scrollBy(0, document.querySelector('form.ask').getBoundingClientRect().top - 140)"
    )
    time.sleep(0.5)


def main() -> None:
    """Make the pictures, and refuse large ones."""
    images = Path(sys.argv[1]).resolve()
    images.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as made:
        place = Path(made)
        make(place)
        running = subprocess.Popen(
            [*UPSWELL, "data", "segment", "rules", "out"], cwd=place, stderr=subprocess.DEVNULL
        )
        try:
            time.sleep(4)
            with Page(place, "--reports", "reports", UPSWELL_TOKEN=TOKEN) as page:
                photograph(page, place, images)
        finally:
            running.terminate()
            running.wait()
    for image in images.glob("*.png"):
        size = image.stat().st_size
        print(f"{image.name}: {size:,} bytes")
        if size > BYTES_MAX:
            sys.exit(f"{image.name} has more than {BYTES_MAX:,} bytes")


if __name__ == "__main__":
    main()
