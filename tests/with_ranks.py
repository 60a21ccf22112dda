"""Training on several ranks of MPI gives the bytes of one process, whatever happens to the ranks:

    python tests/with_ranks.py --out data/results/with_ranks.json

Every arm on 1, 2, 3, 5 and 8 ranks of 1 and 2 threads, in both ways to keep the optimizer; a run that was
interrupted on three ranks and goes on with two; ranks with an address each, in network namespaces of this
machine (as root, with iproute2; otherwise left out); and runs of which a rank is killed at a random moment.
About 20 minutes on two processors. Needs mpi4py and mpiexec (pip install mpi4py mpich).
"""
import argparse
import hashlib
import json
import os
import random
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

from minibitnet import mpi
from minibitnet.measure import results

STEPS, RANKS, THREADS, ARMS = 100, (1, 2, 3, 5, 8), (1, 2), ("ternary", "binary", "float")
MODEL = (f"--data pets --tokenizer byte --d-model 32 --n-layers 2 --n-heads 2 --context 64 --batch 88 "
         f"--steps {STEPS} --save-every 10").split()          # eleven shards
TRAIN = [sys.executable, "-m", "minibitnet.train"]
FILES = "last.safetensors", "best.safetensors"
BRIDGE, SPACES = "10.77.0.", 3
SPREAD = "same, optimizer spread"
END = 60                                         # seconds after which those that are left hang


# ---- runs

def command(n, *arguments, start=()):
    """The command of a run on n ranks; 0: of one process without MPI."""
    return [*([*(start or [mpi.launcher()]), "-n", str(n)] if n else []), *TRAIN, *map(str, arguments)]


def new(linear, threads, out, *more):
    return [*MODEL, "--linear", linear, "--threads", threads, "--out", out, *more]


def run(n, *arguments, start=()):
    """Train to the end -> seconds."""
    began = time.monotonic()
    done = subprocess.run(command(n, *arguments, start=start), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return round(time.monotonic() - began, 1)


def sha256(out):
    """Of what a run leaves: parameters and the optimizer's moments."""
    digest = hashlib.sha256()
    for name in FILES:
        digest.update((out / name).read_bytes())
    return digest.hexdigest()


def processes(out):
    """{rank: process id} of the ranks that have this directory in their command."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
            rank = [v for v in (folder / "environ").read_bytes().split(b"\0") if v.startswith(b"PMI_RANK=")]
        except OSError:                          # it has ended
            continue
        if rank and str(out).encode() in words and b"minibitnet.train" in words:
            found[int(rank[0].partition(b"=")[2])] = int(folder.name)
    return found


# ---- what is done to them

def every_number(folder, linear):
    """-> {"sha256", "runs": [[ranks, threads, is the optimizer's state spread, seconds, the same bytes]]}"""
    alone, rows = folder / "alone", []
    run(0, *new(linear, 1, alone))
    for n in RANKS:
        for threads in THREADS:
            for more in ([], ["--shard-optimizer"]):
                out = folder / f"{n}-{threads}-{len(more)}"
                seconds = run(n, *new(linear, threads, out, *more))
                rows.append([n, threads, bool(more), seconds, sha256(out) == sha256(alone)])
                print(linear, rows[-1], flush=True)
                shutil.rmtree(out)
    return {"sha256": sha256(alone), "runs": rows}


def interrupted(folder):
    """Three ranks hear SIGINT; two go on -> {"lines": that were said of it, "same"}"""
    out = folder / "interrupted"
    started = subprocess.Popen(command(3, *new("ternary", 1, out)), stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True)
    while not (out / "last.safetensors").exists():
        assert started.poll() is None, started.stderr.read()
        time.sleep(0.01)
    for process in processes(out).values():
        os.kill(process, signal.SIGINT)
    _, said = started.communicate(timeout=END)
    assert started.returncode == 130, said
    run(2, "--resume", out)
    lines = [line for line in said.splitlines() if "interrupted after step" in line]
    return {"lines": len(lines), "same": sha256(out) == sha256(folder / "alone")}


def killed(folder, rng, longest):
    """One of three ranks is killed at a random moment; two go on -> {"rank", "after", "ended": seconds until
    no rank was left, "said": lines that ranks said of it, "launcher": and mpiexec, "resumed": was there a
    checkpoint, "same"}; None where the run was done before."""
    out, moment, victim = folder / "killed", rng.uniform(0.3, longest), rng.randrange(3)
    shutil.rmtree(out, ignore_errors=True)
    started = subprocess.Popen(command(3, *new("ternary", 1, out)), stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True)
    time.sleep(moment)
    ranks = processes(out)
    if victim not in ranks:
        started.communicate(timeout=END)
        return None
    os.kill(ranks[victim], signal.SIGKILL)
    began = time.monotonic()
    while processes(out):
        assert time.monotonic() - began < END, f"ranks {sorted(processes(out))} hang"
        time.sleep(0.02)
    ended = time.monotonic() - began
    launcher, said = started.communicate(timeout=END)
    own = [line for line in said.splitlines() if not line.startswith("step ")]
    there = (out / "last.safetensors").exists()
    if there:
        run(2, "--resume", out)
    else:                                        # there is nothing yet to go on from
        run(2, *new("ternary", 1, out, "--overwrite"))
    return {"rank": victim, "after": round(moment, 2), "ended": round(ended, 2), "said": len(own),
            "launcher": ("\n" + launcher).partition("\n===")[2].count("\n"), "resumed": there,
            "same": sha256(out) == sha256(folder / "alone")}


@contextmanager
def namespaces(folder):
    """mpiexec and the options that put each rank into a network namespace with an address of its own."""
    def ip(*words):
        subprocess.run(["ip", *words], check=True, capture_output=True)
    names, address = [f"rank{i}" for i in range(SPACES)], [f"{BRIDGE}{i + 1}" for i in range(SPACES)]
    shell = folder / "shell"                     # in place of ssh: [options] address, command
    shell.write_text('#!/bin/sh\nwhile [ "${1#-}" != "$1" ]; do shift; done\n'
                     'host=$1; shift\nexec ip netns exec rank$((${host##*.} - 1)) sh -c "$*"\n')
    shell.chmod(0o755)
    try:
        for name in names:
            ip("netns", "add", name)
            ip("-n", name, "link", "set", "lo", "up")
        ip("-n", names[0], "link", "add", "bridge", "type", "bridge")
        ip("-n", names[0], "addr", "add", f"{address[0]}/24", "dev", "bridge")
        ip("-n", names[0], "link", "set", "bridge", "up")
        for i, name in enumerate(names[1:], start=1):
            ip("-n", names[0], "link", "add", f"to{i}", "type", "veth",
               "peer", "name", "cable", "netns", name)
            ip("-n", names[0], "link", "set", f"to{i}", "master", "bridge", "up")
            ip("-n", name, "addr", "add", f"{address[i]}/24", "dev", "cable")
            ip("-n", name, "link", "set", "cable", "up")
        yield ["ip", "netns", "exec", names[0], mpi.launcher(), "-launcher", "ssh", "-launcher-exec",
               str(shell), "-hosts", ",".join(address)]
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], capture_output=True)


def over_a_network(folder):
    """Three ranks with an address each -> {"ranks", "seconds", "same", SPREAD: the same too}, or
    None where that cannot be had."""
    if not (shutil.which("ip") and hasattr(os, "geteuid") and os.geteuid() == 0):
        print("left out: network namespaces need root and iproute2", file=sys.stderr)
        return None
    found, out = {"ranks": SPACES}, folder / "network"
    with namespaces(folder) as start:
        for key, more in (("same", []), (SPREAD, ["--shard-optimizer"])):
            found["seconds"] = run(SPACES, *new("ternary", 1, out, "--overwrite", *more), start=start)
            found[key] = sha256(out) == sha256(folder / "alone")
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=ARMS)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    began, result = time.monotonic(), {"config": {"steps": STEPS, "ranks": RANKS, "threads": THREADS,
                                                  "kills": args.kills, "seed": args.seed}}
    with tempfile.TemporaryDirectory() as folder:
        for linear in sorted(args.arms):         # ternary last: the rest is compared with it
            shutil.rmtree(Path(folder) / "alone", ignore_errors=True)
            result[linear] = every_number(Path(folder), linear)
        result["interrupted"] = interrupted(Path(folder))
        result["network"] = over_a_network(Path(folder))
        longest = run(3, *new("ternary", 1, Path(folder) / "whole"))
        rng, result["killed"] = random.Random(args.seed), []
        while len(result["killed"]) < args.kills:
            one = killed(Path(folder), rng, longest)
            print(one, flush=True)
            result["killed"] += [one] if one else []
    same = {arm: all(row[-1] for row in result[arm]["runs"]) for arm in args.arms}
    same["interrupted"] = result["interrupted"]["same"] and result["interrupted"]["lines"] == 1
    same["network"] = result["network"] is None or result["network"]["same"] and result["network"][SPREAD]
    same["killed"] = all(one["same"] and one["ended"] < 10 for one in result["killed"])
    if args.out:
        line = shlex.join(["python", "tests/with_ranks.py", *sys.argv[1:]])
        results.save(args.out, results.envelope(args.out.stem, result, time.monotonic() - began, line))
    print(json.dumps(same))
    sys.exit(not all(same.values()))


if __name__ == "__main__":
    main()
