"""Asks for the known vulnerabilities of everything that the locks pin; `make audit` runs it.

Ends with 1 if there are any. Where the network does not have their list, it says that the audit was skipped.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

LOCKS = Path(__file__).parent
PIP_AUDIT = Path(sys.executable).with_name("pip-audit")


def audited(lock: Path) -> list[dict]:
    """What pip-audit says of each distribution of a lock.

    Raises:
        OSError: it has no list of vulnerabilities; the last line that it said.
    """
    command = [PIP_AUDIT, "--requirement", lock, "--no-deps", "--disable-pip", "--format", "json"]
    command += ["--progress-spinner", "off"]
    answer = subprocess.run(command, capture_output=True, text=True)
    if not answer.stdout:
        raise OSError((answer.stderr.strip() or "pip-audit said nothing").splitlines()[-1])
    distributions = json.loads(answer.stdout)["dependencies"]
    known = [distribution for distribution in distributions if "vulns" in distribution]
    if not known:
        raise OSError("it knows none of the distributions")
    return known


def main() -> int:
    vulnerable = 0
    # The smallest first: a network without the list is found at a few distributions.
    for lock in sorted(LOCKS.glob("*.txt"), key=lambda path: path.stat().st_size):
        try:
            distributions = audited(lock)
        except OSError as error:
            print(f"audit skipped: the list of known vulnerabilities cannot be reached: {error}")
            break
        for distribution in distributions:
            for vulnerability in distribution["vulns"]:
                vulnerable += 1
                name = f"{distribution['name']}=={distribution['version']}"
                fixed = ", ".join(vulnerability["fix_versions"]) or "no version"
                print(f"{lock.name}: {name}: {vulnerability['id']}, fixed in {fixed}")
        print(f"{lock.name}: {len(distributions)} distributions audited")
    return int(vulnerable > 0)


if __name__ == "__main__":
    sys.exit(main())
