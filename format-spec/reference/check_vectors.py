#!/usr/bin/env python3
"""Decodes every .aei file of a folder and compares with its digests.txt.

Lines of digests.txt (`#` starts a comment):
    <sha256>  <name.aei>  <width>x<height>x<channels>
    refused <rule>  <name.aei>
    model <path of a .aem, relative to the folder>  <name.aei>
"""

import argparse
import functools
import multiprocessing
import os
import sys
import time
from pathlib import Path

# The files are decoded in parallel: a process each, and no threads inside it. To be
# said before numpy is loaded.
for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

from aei_decode import DEFAULT_MODEL, digest  # noqa: E402
from aei_reference.container import Refused  # noqa: E402
from aei_reference.decode import decode  # noqa: E402
from aei_reference.model import parse_model  # noqa: E402


def parse_digests(text):
    """Two dictionaries by file name: what is expected, and models other than the default.
    Raises ValueError, with the line's number, on a line it does not understand."""
    expected, models = {}, {}
    for number, line in enumerate(text.splitlines(), 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        if len(words) != 3:
            raise ValueError(f"line {number}: three words are due")
        first, second, third = words
        if first == "model":
            models[third] = second
            continue
        name, outcome = ((third, f"refused {second}") if first == "refused"
                         else (second, f"{first.lower()}  {third}"))
        if name in expected:
            raise ValueError(f"line {number}: {name} is there twice")
        expected[name] = outcome
    return expected, models


@functools.lru_cache(maxsize=4)
def load_model(path):
    return parse_model(Path(path).read_bytes())


def outcome(job):
    """(name, what decoding gave, seconds); runs in a process of its own."""
    path, model_path = job
    started = time.monotonic()
    try:
        _, samples = decode(path.read_bytes(), load_model(model_path))
        result, detail = digest(samples), ""
    except Refused as refusal:
        result, detail = f"refused {refusal.rule}", refusal.message
    except Exception as error:  # a crash is a failure of this file, not of the others
        result, detail = "crashed", repr(error)
    return path.name, result, detail, time.monotonic() - started


def main(arguments=None):
    parser = argparse.ArgumentParser(description="Checks the decoder against test vectors.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", type=Path, default=DEFAULT_MODEL)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args(arguments)
    try:
        expected, models = parse_digests((options.folder / "digests.txt").read_text())
    except (OSError, ValueError) as error:
        parser.error(f"digests.txt: {error}")

    present = {path.name: path for path in sorted(options.folder.glob("*.aei"))}
    failed = passed = 0
    for name in sorted(expected.keys() - present.keys()):
        print(f"FAIL  {name}: there is no such file")
        failed += 1
    jobs = [(path, str(options.folder / models[name] if name in models else options.model))
            for name, path in present.items()]
    with multiprocessing.Pool(max(1, options.jobs)) as pool:
        for name, result, detail, seconds in pool.imap(outcome, jobs):
            wanted = expected.get(name, "(not in digests.txt)")
            if result == wanted:
                passed += 1
                print(f"ok    {name}  {seconds:.1f} s  {result[:16]}", flush=True)
            else:
                failed += 1
                print(f"FAIL  {name}: expected {wanted}, got {result} {detail}", flush=True)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
