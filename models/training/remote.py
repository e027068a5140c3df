"""Train on a borrowed machine whose every command is bounded in time, and to which files go in pieces.

    here    python remote.py pack FOLDER... --out PIECES     shards of at most 40 MB (data.py pack; takes its options)
            python remote.py split CHECKPOINT PIECES         a checkpoint in pieces of 15 MB, for the way there
    there   python remote.py add PIECE...                    take in shards, and pieces of files (or of shards); a piece may be added twice
            python remote.py start ARGUMENTS...              start train.py in a session of its own; --data and --out are added. An older run becomes
                                                             run-1 and so on, unless --continue is among the arguments
            python remote.py watch SECONDS [--collect FOLDER]   wait that long, or till the end; show the end of the log, and the GPU; then collect
            python remote.py stop                            end the run, everything saved
            python remote.py collect FOLDER [--file last.pt] [--first N]   copy log, curves and the newest ema.pt out, in pieces of 15 MB
    here    python remote.py join FOLDER FILE                put a collected file together again

Everything there lies under $AEI_TRAIN_HOME (~/aei-train): data/ (which the trainer scans again every minute, so shards may come while it runs), files/ (joined
from pieces: `start --resume files/ema.pt`, paths are from there; a checkpoint that is not there is looked for in the folder at hand), run/, log. The trainer
outlasts the command that started it, not the machine: collect as you go, and let the last command be one `watch --collect`, where a machine that waits
for its next command may be lost. `collect` copies at most 4 pieces at a time, of which `--first` says where to begin:
ema.pt has 2, last.pt has 20 or more. All are of the file as it was when its piece 0 was collected.
"""
from __future__ import annotations

import argparse
import hashlib
import itertools
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

PIECE = 15_000_000  # bytes
AT_ONCE = 4         # pieces that `collect` copies
NAME = re.compile(r"(?P<file>.+)\.(?P<digest>[0-9a-f]{12})\.(?P<number>\d{3})of(?P<count>\d{3})")
FIRST_LINE = re.compile(r"from step \d+|waiting for the first one")  # of the trainer, where all has gone well
START_SECONDS = 60
HERE = Path(__file__).resolve().parent


def home() -> Path:
    return Path(os.environ.get("AEI_TRAIN_HOME", Path.home() / "aei-train")).absolute()  # the trainer works in there


def split(source: Path, out: Path, first: int = 0, most: int | None = None) -> list[Path]:
    """Pieces NAME.DIGEST.000of002 of a file: the digest keeps pieces of two versions apart."""
    data = source.read_bytes()
    count = max(1, -(-len(data) // PIECE))
    digest = hashlib.sha256(data).hexdigest()[:12]
    out.mkdir(parents=True, exist_ok=True)
    paths = []
    for i in range(first, count if most is None else min(count, first + most)):
        paths.append(out / f"{source.name}.{digest}.{i:03d}of{count:03d}")
        paths[-1].write_bytes(data[i * PIECE:(i + 1) * PIECE])
    return paths


def join(pieces: list[Path], out: Path) -> bool:
    """Put the pieces of one file together; False while some are missing."""
    names = {p: NAME.fullmatch(p.name) for p in pieces}
    names = {p: m for p, m in names.items() if m}
    versions = {(m["file"], m["digest"], m["count"]) for m in names.values()}
    if not versions:
        raise ValueError(f"there are no pieces of {out.name}")
    if len(versions) != 1:
        raise ValueError(f"these are pieces of {len(versions)} files: {sorted(p.name for p in names)}")
    ((_, digest, count),) = versions
    by_number = {int(m["number"]): p for p, m in names.items()}
    if sorted(by_number) != list(range(int(count))):
        return False
    data = b"".join(by_number[i].read_bytes() for i in range(int(count)))
    if hashlib.sha256(data).hexdigest()[:12] != digest:
        raise ValueError(f"{out.name}: a piece is damaged")
    out.parent.mkdir(parents=True, exist_ok=True)
    part = out.with_name(out.name + ".part")
    part.write_bytes(data)
    os.replace(part, out)
    return True


def add(paths: list[Path]) -> int:
    data, pieces, joined = home() / "data", home() / "pieces", home() / "files"
    for folder in (data, pieces, joined):
        folder.mkdir(parents=True, exist_ok=True)
    failed = 0
    for path in paths:
        match = NAME.fullmatch(path.name)
        target = (pieces if match else data) / path.name
        part = target.with_name("." + target.name)  # hidden from the trainer until it is whole
        try:
            shutil.copyfile(path, part)
            os.replace(part, target)
            whole = match and (data if match["file"].endswith(".tar") else joined) / match["file"]
            if whole and join([p for p in pieces.iterdir() if p.name.startswith(f"{match['file']}.{match['digest']}.")], whole):
                print(f"{whole.relative_to(home())} is whole")
        except (OSError, ValueError) as e:  # the others are taken in all the same
            print(f"{path.name}: {e}", file=sys.stderr)
            failed = 1
    print(f"{len(list(data.glob('*')))} files of data")
    return failed


def running() -> int | None:
    """Process id of the trainer, if it runs."""
    try:
        pid = int((home() / "pid").read_text())
        if "train.py" not in Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace"):
            return None
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        return None if state == "Z" else pid
    except (OSError, ValueError, IndexError):
        return None


def checkpoint_at_hand(arguments: list[str]) -> list[str]:
    """The arguments, with the whole path of a checkpoint to resume that is in the folder at hand and not in ours, which is where the trainer looks."""
    def whole(value: str) -> str:
        return str(Path(value).absolute()) if Path(value).exists() and not (home() / value).exists() else value

    out = []
    for before, word in zip(["", *arguments], arguments):
        if before == "--resume":
            word = whole(word)
        elif word.startswith("--resume="):
            word = "--resume=" + whole(word.removeprefix("--resume="))
        out.append(word)
    return out


def aside(arguments: list[str]) -> tuple[Path | None, list[str]]:
    """Move an older run out of the way of a new one: where to, and the arguments, of which those that name its files follow."""
    run = home() / "run"
    going_on = any(len(w) > len("--con") and "--continue".startswith(w) for w in arguments)
    if going_on or not any((run / name).exists() for name in ("last.pt", "log.jsonl")):
        return None, arguments
    moved = next(p for n in itertools.count(1) if not (p := home() / f"run-{n}").exists())
    run.rename(moved)
    shutil.rmtree(home() / "collected", ignore_errors=True)

    def follow(word: str) -> str:
        option, equals, value = word.rpartition("=")
        path = home() / value
        return option + equals + str(moved / path.relative_to(run)) if path.is_relative_to(run) else word

    return moved, [follow(w) for w in arguments]


def start(arguments: list[str]) -> int:
    if running():
        print(f"a run is under way already: process {running()}", file=sys.stderr)
        return 1
    (home() / "data").mkdir(parents=True, exist_ok=True)
    moved, arguments = aside(checkpoint_at_hand(arguments))
    before = (home() / "log").stat().st_size if (home() / "log").exists() else 0
    command = [sys.executable, "-u", str(HERE / "train.py"), "--data", str(home() / "data"), "--out", str(home() / "run"), *arguments]
    with open(home() / "log", "ab") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=home(), start_new_session=True)
    (home() / "pid").write_text(str(process.pid))
    end, said, code = time.time() + START_SECONDS, "", None
    while time.time() < end and code is None and not FIRST_LINE.search(said):
        time.sleep(0.2)
        code = process.poll()  # before the log is read, so that what it said last is in there
        said = (home() / "log").read_bytes()[before:].decode(errors="replace")
    if code or (code == 0 and not FIRST_LINE.search(said)):
        print(f"{said[-2000:]}\nthe trainer has ended", file=sys.stderr)
        if moved and not (home() / "run" / "last.pt").exists():  # it did nothing: the run before stays where it was
            shutil.rmtree(home() / "run", ignore_errors=True)
            moved.rename(home() / "run")
        elif moved:
            print(f"the run before is {moved.name} now", file=sys.stderr)
        return 1
    if moved:
        print(f"the run before is {moved.name} now")
    print(f"started: process {process.pid}" + ("" if FIRST_LINE.search(said) else f", which has not said anything of its pictures in {START_SECONDS} s: see `watch`"))
    return 0


def watch(seconds: float, lines: int = 12) -> None:
    end = time.time() + seconds
    while time.time() < end and running():
        time.sleep(min(2, max(0, end - time.time())))
    log = home() / "log"
    print("".join(log.read_text(errors="replace").splitlines(keepends=True)[-lines:]) if log.exists() else "no log", end="")
    print("running" if running() else "not running")
    if shutil.which("nvidia-smi"):
        subprocess.run(["nvidia-smi", "--query-gpu=utilization.gpu,memory.used,clocks.sm", "--format=csv,noheader"], check=False)


def stop(seconds: float = 60) -> int:
    pid = running()
    if pid:
        os.kill(pid, signal.SIGTERM)
        end = time.time() + seconds
        while running() and time.time() < end:
            time.sleep(0.2)
    print("still running" if running() else "not running")
    return int(bool(running()))


def collect(out: Path, name: str, first: int) -> int:
    out.mkdir(parents=True, exist_ok=True)
    for extra in ("log.jsonl", "curves.png"):
        if (home() / "run" / extra).exists():
            shutil.copyfile(home() / "run" / extra, out / extra)
    source, kept = home() / "run" / name, home() / "collected" / name  # the run goes on writing new ones
    if first == 0 or not kept.exists():
        if not source.exists():
            print(f"run/{name} is not there (yet: the first one comes after --save-minutes)", file=sys.stderr)
            return 1
        kept.parent.mkdir(exist_ok=True)
        shutil.copyfile(source, kept)
    paths = split(kept, out, first, AT_ONCE)
    for path in paths:
        print(path.name, path.stat().st_size)
    left = -(-kept.stat().st_size // PIECE) - first - len(paths)
    if left > 0:
        print(f"{left} more from --first {first + len(paths)}")
    return 0


def main(argv: list[str] | None = None) -> int:
    argv = sys.argv[1:] if argv is None else argv
    if argv and argv[0] == "pack":
        return subprocess.run([sys.executable, str(HERE / "data.py"), *argv], check=False).returncode
    if argv and argv[0] == "start":
        return start(argv[1:])
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = p.add_subparsers(dest="verb", required=True, metavar="pack|split|add|start|watch|stop|collect|join")
    v = verbs.add_parser("split")
    v.add_argument("file", type=Path)
    v.add_argument("out", type=Path)
    v = verbs.add_parser("add")
    v.add_argument("pieces", type=Path, nargs="+")
    v = verbs.add_parser("watch")
    v.add_argument("seconds", type=float)
    v.add_argument("--collect", type=Path, metavar="FOLDER", help="then copy log, curves and the newest ema.pt out, whether the run has ended or not")
    verbs.add_parser("stop")
    v = verbs.add_parser("collect")
    v.add_argument("out", type=Path)
    v.add_argument("--file", default="ema.pt", help="of the run [default: ema.pt]")
    v.add_argument("--first", type=int, default=0, help="number of the first piece to copy")
    v = verbs.add_parser("join")
    v.add_argument("folder", type=Path)
    v.add_argument("out", type=Path)
    a = p.parse_args(argv)
    try:
        if a.verb == "split":
            print(*(path.name for path in split(a.file, a.out)), sep="\n")
        elif a.verb == "add":
            return add(a.pieces)
        elif a.verb == "watch":
            watch(a.seconds)
            return collect(a.collect, "ema.pt", 0) if a.collect else 0
        elif a.verb == "stop":
            return stop()
        elif a.verb == "collect":
            return collect(a.out, a.file, a.first)
        elif not join([p for p in a.folder.iterdir() if p.name.startswith(a.out.name + ".")], a.out):
            print("some pieces are missing", file=sys.stderr)
            return 1
    except (OSError, ValueError) as e:
        print(f"{a.verb}: {e}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
