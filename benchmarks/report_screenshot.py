"""The report of several devices: two test devices and this machine, with baselines; and a picture of it.

    python benchmarks/phones.py

runs the README's command for phones against the tests' devices (tests/device), which are no phones and are
called so on every page: what is shown is the report, not a phone's speed.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import simulated_devices
from harness import package
from playwright.sync_api import sync_playwright

REPORT = Path("runs/bench/phones")
# Of the picture, in CSS pixels: what a reader sees first.
WIDTH, HEIGHT = 1100, 1500


def main() -> None:
    made = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--preset", default="squeezebert-base")
    made.add_argument("--picture", default="docs/report.png", metavar="FILE")
    args = made.parse_args()
    packages = [package(args.preset, recipe) for recipe in ("float32", "int8")]
    with tempfile.TemporaryDirectory() as folder:
        binary = simulated_devices.tool(Path(folder))
        with simulated_devices.connected(Path(folder), ["Pixel 3", "Galaxy S22"]):
            command = [sys.executable, "tools/benchmark.py", "--package", *map(str, packages)]
            command += [
                "--device",
                "all",
                "--threads",
                "1,4",
                "--lengths",
                "16,64,128",
                "--profile",
            ]
            command += ["--baselines", "bert-base,mobilebert", "--report", str(REPORT)]
            subprocess.run([*command, "--tool", str(binary)], check=True)
    picture(REPORT / "report.html", Path(args.picture))


def picture(page: Path, path: Path) -> None:
    """The upper part of a report, as a browser shows it."""
    browser = shutil.which("chromium-headless-shell") or shutil.which("chromium")
    if browser is None:
        sys.exit("needs chromium: see tests/device/setup.sh")
    with sync_playwright() as playwright:
        shown = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        tab = shown.new_page(viewport={"width": WIDTH, "height": HEIGHT})
        tab.goto(page.resolve().as_uri())
        tab.screenshot(path=path)
        shown.close()


if __name__ == "__main__":
    main()
