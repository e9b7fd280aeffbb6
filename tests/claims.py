"""`make claims`: every claim of the README names tests, and every one of them is run and passes.

    python -m tests.claims                         runs the named tests, slow ones too
    python -m tests.claims quick.xml slow.xml      judges by the reports of runs that were just made

Reads the README's table `| claim | test |`. A claim without a test, a test that pytest does not
collect, and a test that is skipped or fails, all make it fail. Of a test that runs several times,
with one database and with another, say, what needs something that is not here may be skipped as
long as the rest passes; how much was skipped is told.
"""

import re
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HEADER = re.compile(r"^\|\s*claim\s*\|\s*test\s*\|\s*$", re.IGNORECASE)
NODE = re.compile(r"`(tests/[^`]+\.py(?:::[^`]+)?)`")


@dataclass(frozen=True, slots=True)
class Claim:
    """One row: what is said, and the tests that would fail if it were false."""

    said: str
    tests: tuple[str, ...]


def read_claims(readme: str) -> list[Claim]:
    """Return the rows of the table `| claim | test |`."""
    lines = iter(readme.splitlines())
    for line in lines:
        if HEADER.match(line):
            break
    next(lines, None)
    claims = []
    for line in lines:
        if not line.startswith("|"):
            break
        said, _, tests = line.strip("| \n").partition("|")
        claims.append(Claim(said.strip(), tuple(NODE.findall(tests))))
    return claims


def run_tests(tests: list[str]) -> dict[str, str]:
    """Run the tests, slow ones too; return the outcome of every collected one by node id."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", "-m", ""]
        subprocess.run(
            [*command, f"--junitxml={report}", "--timeout=900", *tests], cwd=ROOT, check=False
        )
        return read_report(report) if report.exists() else {}


def read_report(path: Path) -> dict[str, str]:
    """Return the outcome of every test of a JUnit report, by node id."""
    return {_node(case): _outcome(case) for case in ET.parse(path).getroot().iter("testcase")}


def _node(case: ET.Element) -> str:
    # The class name is the module and the class, with dots; where a test's function stands is not
    # always the file that pytest collected it from.
    parts = str(case.get("classname")).split(".")
    depth = next(
        depth
        for depth in range(len(parts), 0, -1)
        if depth == 1 or (ROOT / "/".join(parts[:depth])).with_suffix(".py").exists()
    )
    file = "/".join(parts[:depth]) + ".py"
    return "::".join([file, *parts[depth:], str(case.get("name"))])


def _outcome(case: ET.Element) -> str:
    for name in ("failure", "error", "skipped"):
        if case.find(name) is not None:
            return name
    return "passed"


def judge(claims: list[Claim], outcomes: dict[str, str]) -> list[str]:
    """Return one sentence per claim that does not hold."""
    complaints = []
    for claim in claims:
        if not claim.tests:
            complaints.append(f"no test stands behind: {claim.said}")
        for test in claim.tests:
            found = [outcome for node, outcome in outcomes.items() if _names(test, node)]
            if "passed" not in found or not set(found) <= {"passed", "skipped"}:
                complaints.append(f"{test} did not pass ({found or 'not collected'}): {claim.said}")
    return complaints


def _names(test: str, node: str) -> bool:
    return node == test or node.startswith((f"{test}[", f"{test}::"))


def main(reports: list[str]) -> int:
    claims = read_claims((ROOT / "README.md").read_text(encoding="utf-8"))
    if not claims:
        print("README.md has no table of claims")
        return 1
    outcomes: dict[str, str] = {}
    for report in reports:
        outcomes |= read_report(Path(report))
    if not reports:
        # Whole files, in their own order: some tests of real processes build on those before them.
        files = {test.partition("::")[0] for claim in claims for test in claim.tests}
        outcomes = run_tests(sorted(files))
    complaints = judge(claims, outcomes)
    for complaint in complaints:
        print(f"✗ {complaint}")
    skipped = sum(outcome == "skipped" for outcome in outcomes.values())
    print(f"{len(claims)} claims, {len(complaints)} complaints; {skipped} tests were skipped")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
