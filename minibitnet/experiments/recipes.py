"""The training runs that the pages of results show, each by the command that a reader types.

[b158] §1 says that ternary models match full precision in perplexity from 3 billion parameters on. These have
one million, and do not.

A run is a process of its own, ``python -m minibitnet.train ...`` into runs/recipes/NAME. One that is there
and finished is read, one that was interrupted goes on, so ``full`` may be stopped at any time. What a run
gives is the same on every machine, whoever made it.
"""
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from statistics import mean

from ..errors import UserError
from ..exact import exp_float
from ..formats import checkpoint
from ..formats.rundir import RunDirectory
from .lines import Experiment, Line

HOME = Path("runs/recipes")
FRESH, FRESH_TEXT = HOME / "fresh.txt", "data make stories --seed 1 --size 16000000"
REAL = "--data tinyshakespeare --context 64 --batch 12 --steps 2000 --eval-every 2000"
LONG = "--tokenizer bpe:512 --context 256 --batch 8 --steps 3200"
SMALL = "--d-model 64 --n-layers 2 --context 64 --steps 100"
VARIANTS = "ternary", "float", "binary"
RECIPES = {  # name: options of train
    **{f"tinyshakespeare-{variant}-{seed}": f"{REAL} --linear {variant} --seed {seed}"
       for variant in VARIANTS for seed in (0, 1, 2)},
    **{f"tiny-{seed}": f"--tiny --seed {seed}" for seed in (0, 1, 2)},
    **{f"tinyshakespeare-bpe-{variant}": f"{REAL} --linear {variant} --tokenizer bpe:512 --batch 6"
       for variant in ("ternary", "float")},
    **{f"stories-{variant}": f"--data stories {LONG} --linear {variant}" for variant in ("ternary", "float")},
    "fresh-float": f"--data {FRESH} {LONG} --val-fraction 0.02 --linear float",
}
TASKS = "tiny-0", "stories-ternary"      # runs that answer questions about stories
PACKED = "tiny-0"                        # the run whose engines are compared, and whose bytes are counted
QUICK = {f"quick-{variant}": f"--data stories --linear {variant} {SMALL}" for variant in VARIANTS}


def quick():
    """Of each variant 100 steps of a small model: seconds, and far from the end of a run."""
    return run_all(QUICK, [])


def full(progress=iter):
    """All of RECIPES: about an hour and a half on one core. tinyshakespeare must have been fetched."""
    if not FRESH.is_file():
        HOME.mkdir(parents=True, exist_ok=True)
        command(*FRESH_TEXT.split(), "--out", str(FRESH))
    there = sum(RunDirectory(HOME / name).is_finished() for name in RECIPES)
    model, found = str(HOME / PACKED), run_all(RECIPES, TASKS, progress)
    if there:
        found["note"] = f"{there} of its {len(RECIPES)} runs were there from earlier calls"
    compare = ("evaluate", "--model", model, "--compare", "--json", "--engine")
    found["engines"] = {engine: json.loads(command(*compare, engine)) for engine in ("packed", "integer")}
    trigrams = json.loads(command("evaluate", "--model", model, "--trigram", "--json"))
    found["trigram_loss"] = trigrams["trigram_loss"]
    found["bytes"] = json.loads(command("pack", "--model", model, "--float16", "--json"))
    return found


def run_all(recipes, tasks, progress=iter):
    """-> {"config": {name: command}, "runs": {name: what the run gave}, "tasks": {name: what
    ``evaluate --tasks stories`` says}}"""
    runs = {name: run(name, options) for name, options in progress(list(recipes.items()))}
    answers = {name: command("evaluate", "--model", str(HOME / name), "--tasks", "stories", "--json")
               for name in tasks}
    return {
        "config": {name: f"python -m minibitnet.train {options}" for name, options in recipes.items()},
        "runs": runs,
        "tasks": {name: json.loads(text) for name, text in answers.items()},
    }


def run(name, options):
    """Train, unless it is done -> the last evaluation's numbers, the model's name, its stories that are right
    of ten."""
    directory, said = RunDirectory(HOME / name), HOME / f"{name}.txt"
    path, packs = str(directory.path), "--linear float" not in options
    if not (directory.is_finished() and directory.packed.exists() == packs and said.is_file()):
        resumes = directory.last.is_file() and not directory.is_finished()
        anew = [*shlex.split(options), "--out", path, "--overwrite"]
        said.write_text(command("train", *(["--resume", path] if resumes else anew)), encoding="utf-8")
    evaluations = [line for line in directory.metrics() if "val_loss" in line]
    last = evaluations[-1]
    saved, _, _ = checkpoint.load_latest(directory.last, directory.prev)
    evaluated = last["floor"] and json.loads(command("evaluate", "--model", path, "--json"))
    stories = re.search(r"(\d+) of 10 stories", said.read_text(encoding="utf-8"))
    return {
        "val_loss": last["val_loss"],
        "val_ppl": last["val_ppl"],
        "bits_per_byte": last["bits_per_byte"],
        "train_loss": last["loss"],
        "best_val_loss": min(line["val_loss"] for line in evaluations),
        "floor": last["floor"],
        "excess_per_story": evaluated and evaluated["excess_per_document"],
        "tokens": last["tokens"],
        "parameters": sum(p.size for p in saved.parameters.values()),
        "settings": saved.config,
        "stories_of_10": stories and int(stories[1]),
        "model_sha256": checkpoint.parameters_sha256(saved.parameters),
    }


def command(*words):
    """What a command of ours prints; UserError with its last line where it fails."""
    done = subprocess.run([sys.executable, "-m", f"minibitnet.{words[0]}", *words[1:]],
                          capture_output=True, encoding="utf-8", env={**os.environ, "PYTHONUTF8": "1"})
    if done.returncode:
        last = (done.stderr.splitlines() or ["no message"])[-1]
        raise UserError(f"minibitnet.{shlex.join(words)}: exit {done.returncode}: {last}")
    return done.stdout


def in_words(r):
    """Every kind of run beside the same kind in full precision."""
    kinds = {}
    for row in r["runs"].values():
        settings = row["settings"]
        kind = settings["corpus"]["name"], settings["train"]["tokenizer"], row["tokens"]
        kinds.setdefault(kind, {}).setdefault(settings["model"]["linear"], []).append(row)
    for (corpus, tokenizer, tokens), variants in kinds.items():
        losses = {variant: mean(row["val_loss"] for row in runs) for variant, runs in variants.items()}
        for variant, runs in variants.items():
            loss, base = losses[variant], losses.get("float") if variant != "float" else None
            floor, n = runs[0]["floor"], len(runs)
            beside = "" if base is None else f", float {base:.3f}"
            above = "" if floor is None else f", perplexity / floor {exp_float(loss - floor):.3f}"
            scale = (f"{corpus}, {tokenizer}: {runs[0]['parameters']:,} parameters, {tokens:,} tokens, "
                     f"{n} run{'s' * (n > 1)}")
            yield Line(f"{variant}: the perplexity of full precision from 3B on",
                       f"{loss:.3f} nats a token{beside}{above}", scale,
                       differs=base is not None and loss > base)


EXPERIMENTS = {"recipes": Experiment(quick, in_words, full=full)}
