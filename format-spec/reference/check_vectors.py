#!/usr/bin/env python3
"""Decodes every .aei file of a folder and compares with its digests.txt.

Lines of digests.txt (`#` starts a comment):
    <sha256>  <name.aei>  <width>x<height>x<channels>
    refused <rule>  <name.aei>
    samples16 <sha256>  <name.aei>
    metadata <sha256>  <name.aei>
    preview <sha256, rule or none>  <name.aei>
    model <path of a .aem, relative to the folder>  <name.aei>
"""

import argparse
import functools
import hashlib
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
from aei_reference.attachments import metadata  # noqa: E402
from aei_reference.container import Refused, parse_file  # noqa: E402
from aei_reference.decode import decode, decode_preview  # noqa: E402
from aei_reference.model import parse_model  # noqa: E402


def parse_digests(text):
    """Two dictionaries: what is expected, by file name and what of it (nothing: its
    picture), and models other than the default, by file name.
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
        if first in EXTRAS:
            job, outcome = (third, first), second.lower() if len(second) == 64 else second
        elif first == "refused":
            job, outcome = (third, ""), f"refused {second}"
        else:
            job, outcome = (second, ""), f"{first.lower()}  {third}"
        if job in expected:
            raise ValueError(f"line {number}: {job[0]} is there twice")
        expected[job] = outcome
    return expected, models


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def wide_digest(data, model):
    return sha256(decode(data, model, depth=16)[1].tobytes())


def metadata_digest(data, model):
    blocks = metadata(parse_file(data))
    return sha256(b"".join(kind + len(block).to_bytes(4, "little") + block
                           for kind, block in blocks.items()))


def preview_digest(data, model):
    try:
        samples = decode_preview(data, model)
    except Refused as refusal:
        return refusal.rule
    return "none" if samples is None else sha256(samples.tobytes())


# What a line may be about besides the picture.
EXTRAS = {"samples16": wide_digest, "metadata": metadata_digest, "preview": preview_digest}


@functools.lru_cache(maxsize=4)
def load_model(path):
    return parse_model(Path(path).read_bytes())


def outcome(job):
    """(name, what, what decoding gave, seconds); runs in a process of its own."""
    path, what, model_path = job
    started = time.monotonic()
    try:
        data, model, detail = path.read_bytes(), load_model(model_path), ""
        if what in EXTRAS:
            result = EXTRAS[what](data, model)
        else:
            result = digest(decode(data, model)[1])
    except Refused as refusal:
        result, detail = f"refused {refusal.rule}", refusal.message
    except Exception as error:  # a crash is a failure of this file, not of the others
        result, detail = "crashed", repr(error)
    return path.name, what, result, detail, time.monotonic() - started


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
    for name, what in sorted(expected.keys()):
        if name not in present:
            print(f"FAIL  {name}: there is no such file")
            failed += 1
    wanted_of = [(name, "") for name in present]
    wanted_of += [(name, what) for name, what in expected if what and name in present]
    jobs = [(present[name], what,
             str(options.folder / models[name] if name in models else options.model))
            for name, what in wanted_of]
    with multiprocessing.Pool(max(1, options.jobs)) as pool:
        for name, what, result, detail, seconds in pool.imap(outcome, jobs):
            wanted = expected.get((name, what), "(not in digests.txt)")
            name = f"{name} {what}".strip()
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
