"""The report of two simulated phones and this machine, with baselines; and a screenshot of it.

    python benchmarks/report_screenshot.py

runs docs/benchmarking.md's command for phones on the tests' simulated devices (tests/simulators), which every
page marks as emulators: it shows the report, not a phone's speed.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

sys.path.append(str(Path(__file__).resolve().parents[1]))  # `benchmarks`, when run as a script

from benchmarks import simulated_devices
from benchmarks.harness import package

REPORT = Path("runs/bench/phones")
# The screenshot's size in CSS pixels: the part that a reader sees first.
WIDTH, HEIGHT = 1100, 1500


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--preset", default="squeezebert-base")
    parser.add_argument("--picture", default="docs/report.png", metavar="FILE")
    args = parser.parse_args()
    packages = [package(args.preset, recipe) for recipe in ("float32", "int8")]
    with tempfile.TemporaryDirectory() as folder:
        binary = simulated_devices.tool(Path(folder))
        with simulated_devices.connected(Path(folder), ["Pixel 3", "Galaxy S22"]):
            command = [sys.executable, "tools/benchmark.py", "--package", *map(str, packages)]
            command += ["--device", "all", "--threads", "1,4", "--lengths", "16,64,128"]
            command += ["--baselines", "bert-base,mobilebert", "--profile", "--report", str(REPORT)]
            subprocess.run([*command, "--tool", str(binary)], check=True)
    picture(REPORT / "report.html", Path(args.picture))


def picture(page: Path, path: Path) -> None:
    """A screenshot of the upper part of a report."""
    browser = shutil.which("chromium-headless-shell") or shutil.which("chromium")
    if browser is None:
        sys.exit("needs chromium: see tests/simulators/setup.sh")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        tab = chromium.new_page(viewport={"width": WIDTH, "height": HEIGHT})
        tab.goto(page.resolve().as_uri())
        tab.screenshot(path=path)
        chromium.close()


if __name__ == "__main__":
    main()
