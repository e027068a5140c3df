#!/usr/bin/env python3
"""Speed and memory of the devices that work on this machine, native first: `benches/devices.py AEI PICTURE [--rounds 5] [--threads 1,2]`.

Each round runs every device once, so that what else the machine does falls on all of them; the best of all rounds counts. A run takes the picture four times in
one process, and the first time, which loads networks, is told apart. Processor time is that of the whole run, files included, and
the steadiest of the numbers. Peak memory is the process's. Needs Python alone; AEI is a release build.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

COPIES = 4


def run(aei, arguments, environment):
    """Seconds that each picture took, without reading and writing files; seconds of processor time in all; the peak of memory in MiB."""
    process = subprocess.Popen([aei, *arguments], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, env=environment)
    text = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        raise SystemExit(text)
    return [float(s) for s in re.findall(r"coded (?:and written )?in ([0-9.]+) s", text)], usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("aei")
    parser.add_argument("picture", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", default="1,2")
    arguments = parser.parse_args()
    aei = shutil.which(arguments.aei) or str(Path(arguments.aei).resolve())

    report = json.loads(subprocess.run([aei, "devices", "--json"], check=True, capture_output=True, text=True).stdout)
    devices = {"native": None}
    for library in report["libraries"]:
        for device in library.get("devices", []):
            if device["usable"]:
                devices.setdefault(device["device"], library)
    for name, library in devices.items():
        print(f"{name}: " + (f"ONNX Runtime {library['version']}" if library else report["native"]["kernel"]))

    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        pictures = [folder / f"{n}{arguments.picture.suffix}" for n in range(COPIES)]
        for picture in pictures:
            shutil.copy(arguments.picture, picture)
        subprocess.run([aei, "encode", "-Q", *pictures, "-o", f"{folder}/coded/"], check=True)
        info = json.loads(subprocess.run([aei, "info", "--json", folder / "coded/0.aei"], check=True, capture_output=True, text=True).stdout)
        megapixels = info["width"] * info["height"] / 1e6
        best = {}
        for _ in range(arguments.rounds):
            for threads in arguments.threads.split(","):
                for device, library in devices.items():
                    environment = dict(os.environ, **({"ORT_DYLIB_PATH": library["path"]} if library else {}))
                    for command in ["encode", "decode"]:
                        inputs = pictures if command == "encode" else [folder / f"coded/{n}.aei" for n in range(COPIES)]
                        options = ["-v", "-f", "-j", threads, "--device", device, "-o", f"{folder}/out/"]
                        # The cheapest format to write.
                        options += ["--format", "bmp"] if command == "decode" else []
                        times, seconds, memory = run(aei, [command, *options, *inputs], environment)
                        old = best.get((threads, device, command), (9e9, 9e9, 9e9, 9e9))
                        best[threads, device, command] = (min(old[0], times[0]), min(old[1], *times[1:]), min(old[2], memory), min(old[3], seconds))
    print(f"\n{info['width']}x{info['height']}, best of {arguments.rounds} rounds\n")
    print("| device, threads | encode MP/s | decode MP/s | processor seconds per MP, encode / decode | first picture, encode / decode | peak memory, encode / decode |")
    print("|---|--:|--:|--:|--:|--:|")
    for threads in arguments.threads.split(","):
        for device in devices:
            encode, decode = (best[threads, device, command] for command in ["encode", "decode"])
            print(
                f"| {device}, {threads} | {megapixels / encode[1]:.2f} | {megapixels / decode[1]:.2f} "
                f"| {encode[3] / megapixels / COPIES:.2f} / {decode[3] / megapixels / COPIES:.2f} "
                f"| {encode[0]:.2f} s / {decode[0]:.2f} s | {encode[2]:.0f} MB / {decode[2]:.0f} MB |"
            )


if __name__ == "__main__":
    main()
