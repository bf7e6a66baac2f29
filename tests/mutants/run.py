"""Puts faults into the source, one at a time, and sees whether a test notices: `make mutants`.

The faults stand in tables (`faults.py`, `engine_faults.py`). Each is put into a copy of the project, and the tests that
it names are run there until one fails. It fails itself where a fault survives without an explanation, where one with an
explanation does not survive any more, and where the source is no longer as a table has it.
"""

import argparse
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue

import pytest

from tests.mutants.engine_faults import ENGINE_FAULTS
from tests.mutants.faults import FAULTS, Fault

ROOT = Path(__file__).parents[2]
TIMEOUT_S = 600.0  # of one fault's tests: a fault may make them wait forever, which is noticing it
FORKED = multiprocessing.get_context("forkserver")
PRELOADED = ("hypothesis", "jax", "flax", "ray.serve", "fastapi", "httpx", "openai", "PIL.Image")  # once, not for each
COPIED = ("model_core", "deployments", "loadtest", "tests", "docs", "pyproject.toml")
NOTICED, SURVIVED = 1, 0  # pytest's exit statuses: tests failed, all passed


def copy_of_the_project(folder: Path) -> Path:
    """The files that git knows, and those that it does not ignore."""
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *COPIED]
    names = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    for name in filter(None, names):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / name)
    return folder


def run_tests(folder: Path, tests: tuple[str, ...]) -> tuple[int, str]:
    """Pytest's exit status and last words, in a process of its own; one that has to be stopped has noticed."""
    log = folder / "pytest.log"
    process = FORKED.Process(target=_pytest, args=(str(folder), tests, str(log)))
    process.start()
    process.join(TIMEOUT_S)
    if process.is_alive():
        process.kill()
        process.join()
        return NOTICED, f"nothing came of it in {TIMEOUT_S:.0f} s"
    lines = log.read_text(errors="replace").splitlines() or [""]
    failed = [line for line in lines if line.startswith(("FAILED", "ERROR"))]
    return process.exitcode or 0, (failed or lines)[-1]


def _pytest(folder: str, tests: tuple[str, ...], log: str) -> None:
    """Runs tests in a copy of the project, of which this process has imported nothing yet."""
    os.chdir(folder)
    sys.path[:] = [folder, *(entry for entry in sys.path if entry not in ("", str(ROOT)))]
    sys.dont_write_bytecode = True  # it would be that of the fault before, where a file changes twice in a second
    for name in [name for name in sys.modules if name.split(".")[0] == "tests"]:
        del sys.modules[name]
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, 1)
    os.dup2(output, 2)
    quiet = ("-W", "ignore::pytest.PytestAssertRewriteWarning")  # of plugins that are there already
    # Without the source of what failed, which Python 3.11 now and then fails to parse.
    sys.exit(pytest.main(["-q", "-x", "-n0", "--tb=no", "-p", "no:cacheprovider", *quiet, *tests]))


def try_fault(folder: Path, fault: Fault) -> tuple[str, str]:
    """What becomes of a fault, in a word, and what the tests said."""
    path = folder / fault.file
    source = path.read_text() if path.exists() else ""
    if source.count(fault.text) != 1:
        return "does not apply", f"the text is there {source.count(fault.text)} times; make the fault again"
    path.write_text(source.replace(fault.text, fault.faulty))
    try:
        status, words = run_tests(folder, fault.tests)
    finally:
        path.write_text(source)
    if status not in (NOTICED, SURVIVED):
        return "no verdict", f"pytest ended with {status}: {words}"
    if fault.explanation:
        return ("explained", fault.explanation) if status == SURVIVED else ("noticed, though explained", words)
    return ("noticed", words) if status == NOTICED else ("survived", "no test notices it")


def main() -> None:
    """Tries all faults, or those of files whose name has some words in it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("words", nargs="*", help="of the file names, such as keys; all files where none is given")
    parser.add_argument("--jobs", type=int, default=2, help="faults tried at the same time")
    options = parser.parse_args()
    chosen = [
        fault
        for fault in (*FAULTS, *ENGINE_FAULTS)
        if not options.words or any(word in fault.file for word in options.words)
    ]
    began = time.monotonic()
    FORKED.set_forkserver_preload(list(PRELOADED))
    with tempfile.TemporaryDirectory() as temporary:
        folders: SimpleQueue[Path] = SimpleQueue()
        for job in range(options.jobs):
            folders.put(copy_of_the_project(Path(temporary) / str(job)))

        def attempt(fault: Fault) -> str:
            folder, started = folders.get(), time.monotonic()
            verdict, words = try_fault(folder, fault)
            folders.put(folder)
            line = f"{verdict:>14} {time.monotonic() - started:5.0f} s  {fault.file}: "
            print(f"{line}{fault.text.strip()!r} → {fault.faulty.strip()!r}\n{'':24}{words}", flush=True)
            return verdict

        def attempt_without(tests: tuple[str, ...]) -> str:
            folder = folders.get()
            status, words = run_tests(folder, tests)
            folders.put(folder)
            if status == SURVIVED:
                return ""
            print(f"{'no verdict':>14}  {' '.join(tests)} fail without any fault: {words}", flush=True)
            return "fails without a fault"

        with ThreadPoolExecutor(options.jobs) as pool:
            controls = pool.map(attempt_without, dict.fromkeys(fault.tests for fault in chosen))
            counts = Counter(pool.map(attempt, chosen)) + Counter(filter(None, controls))
    print(f"{len(chosen)} faults in {time.monotonic() - began:.0f} s: {dict(counts)}")
    if not counts.keys() <= {"noticed", "explained"}:
        sys.exit("Not every fault is noticed or explained; they stand above.")


if __name__ == "__main__":
    main()
