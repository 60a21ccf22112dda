"""A run's directory: what lies in it, who may write to it, and how it is read back.

    config.json         {"model": ModelConfig, "train": TrainConfig, "corpus": {"name", "sha256", "replaced",
                        "documents", "tokenizer_sha256"; "start", the sha256 of the weights that it began
                        with, if those are another model's}}, which every model file of the run repeats; and
                        "derived", what was not chosen, and "before", what it said before the run was made
                        longer: files of then are its own
    tokenizer.json      the tokenizer; its sha256 is in config.json (early runs lack it)
    env.json            versions, machine and the BLAS kernel that ran; no number of the run depends on them
    metrics.jsonl       one JSON object a line: step, tokens, loss, ppl, lr, weight_decay, grad_norm,
                        tokens_per_s, zero_fraction, flip_rate (shares of the weights' codes: zeros, and
                        changed by this step); at evaluations also val_loss, val_ppl, bits_per_byte,
                        floor (the lowest loss that any model can reach, null where the source of the text is
                        not known)
    last.safetensors    the newest checkpoint;  prev.safetensors  the one before
    best.safetensors    the parameters with the lowest validation loss
    packed.safetensors  the model in two bits a weight, to run (formats/packed.py)
    loss.png            the loss curves, where matplotlib is installed
"""
import errno
import hashlib
import json
import os
import platform
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from ..errors import UserError
from ..files import found, read_text, typed, write_atomically
from . import checkpoint

LOCKED = (errno.EWOULDBLOCK, *([errno.EACCES] if os.name == "nt" else []))     # somebody has the lock
FILES = ("config.json", "tokenizer.json", "env.json", "metrics.jsonl", "last.safetensors", "prev.safetensors",
         "best.safetensors", "packed.safetensors", "float16.safetensors", "loss.png")


class Taken(UserError):
    """Another process writes to the directory."""


class RunDirectory:
    """Opened for writing by one process at a time: ``create`` or ``resume``, then ``close``."""

    def __init__(self, path):
        self.path = Path(path)
        self.last, self.prev, self.best, self.packed = (self.path / f"{name}.safetensors"
                                                        for name in ("last", "prev", "best", "packed"))
        self._lock = self.note = None            # note: what whoever writes to it should know

    # ---- writing

    def create(self, config, tokenizer, *, overwrite=False, replace_finished=False):
        """Make the directory, or empty it of a run: of any with overwrite, of a finished one with
        replace_finished."""
        if os.path.dirname(place := os.path.realpath(self.path)) == place:
            raise UserError(f"{self.path} is the root of a disk: expected a directory of its own for the run")
        present = [name for name in FILES if (self.path / name).exists()]
        if present and not overwrite and not self.is_run():
            raise UserError(f"{self.path} holds {', '.join(present)}, but no run: expected a new directory "
                            "(or replace them with --overwrite)")
        if present and not overwrite and not (replace_finished and self.is_finished()):
            state = "a finished run" if self.is_finished() else "an unfinished run"
            raise UserError(f"{self.path} holds {state}: expected a new directory; go on with "
                            f"{typed('--resume', self.path)}, or replace it with --overwrite")
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            way = next(path for path in (self.path, *self.path.parents)
                       if path.exists() or path.is_symlink())
            raise UserError(f"{self.path}: expected a directory to write the run to, {way} is in the way, "
                            f"{found(way)}") from None
        except PermissionError as e:
            raise UserError(f"{self.path}: {e.strerror}: expected a place to write the run to; "
                            "give another with --out") from None
        with self.let_go():
            self._take()
            self._write("config.json", json.dumps(config, indent=2) + "\n")
            self._write("tokenizer.json", tokenizer_json(tokenizer))
            self._write("env.json", json.dumps(environment(), indent=2) + "\n")
            self._write("metrics.jsonl", "")
            for name in present:                 # only now: a full disk would have shown before
                if name.endswith((".safetensors", ".png")):
                    (self.path / name).unlink()

    def change(self, config):
        """Another config.json for the same run."""
        with self.let_go():
            self._write("config.json", json.dumps(config, indent=2) + "\n")

    def resume(self, settings):
        """Take over the run with this config.json -> (Checkpoint or None before the first save, a note or
        None)."""
        if not (self.path / "config.json").is_file():
            raise UserError(f"{self.path}: expected the directory of a run (no config.json in it)")
        with self.let_go():
            self._take()
            if not self.last.exists() and not self.prev.exists():
                if "start" in settings["corpus"]:
                    raise UserError(f"{self.path} began with another model's weights, and there is no "
                                    "checkpoint with them: begin anew, with --init-from and --overwrite")
                return None, None
            foreign = checkpoint.foreign_to(settings, self.configurations())
            newest, _, note = checkpoint.load_latest(self.last, self.prev, check=foreign)
            if note:                         # or the next save would move the damaged file over the good one
                os.replace(self.prev, self.last)
            return newest, note

    def cut_metrics(self, step):
        """Drop the lines after this step: they belong to steps that will be made again."""
        kept = (line for line in self.metrics() if line["step"] <= step)
        self._write("metrics.jsonl", "".join(json.dumps(line) + "\n" for line in kept))

    def log(self, line):
        try:
            with open(self.path / "metrics.jsonl", "a", encoding="utf-8") as f:
                f.write(json.dumps(line) + "\n")
        except OSError as e:
            raise OSError(e.errno, f"cannot write {self.path / 'metrics.jsonl'}: {e.strerror}") from None

    @contextmanager
    def let_go(self):
        """Where this block fails, the directory is no longer ours: a notebook goes on."""
        try:
            yield
        except BaseException:
            self.close()
            raise

    def close(self):
        if self._lock is not None:
            self._lock.close()           # which releases it; the file stays: another process may wait on it
            self._lock = None

    # ---- reading

    def metrics(self):
        """The lines of metrics.jsonl as dictionaries. What is not a line of ours is passed over: a killed run
        may end in half a line."""
        path, lines = self.path / "metrics.jsonl", []
        for text in read_text(path, errors="replace").splitlines() if path.exists() else ():
            try:
                line = json.loads(text)
            except (ValueError, RecursionError):
                continue
            if isinstance(line, dict) and isinstance(line.get("step"), int) and all(
                    isinstance(v, int | float | None) for v in line.values()):
                lines.append(line)
        return lines

    def configurations(self):
        """What the files of this run may carry as their configuration: that of config.json, and those that it
        had before it was made longer. None without a config.json."""
        path = self.path / "config.json"
        if not path.exists():
            return None
        try:
            config = json.loads(read_text(path))
            before = config.pop("before", [])
            config.pop("derived", None)
            return [config, *before]
        except UserError:                        # of a path that is no file; also a ValueError
            raise
        except (ValueError, RecursionError, AttributeError, TypeError):
            raise UserError(f"{path}: expected the JSON object of a run's configuration; the file is "
                            f"damaged") from None

    def is_run(self):
        """Is there a run, of whatever age and state?"""
        try:
            described = {"model", "train"} <= {*(self.configurations() or [{}])[0]}
        except UserError:                        # of a damaged one
            described = True
        return described or any(path.exists() for path in (self.last, self.prev, self.best, self.packed))

    def is_finished(self):
        try:
            newest, _, _ = checkpoint.load_latest(self.last, self.prev)
            config, *_ = self.configurations() or [newest.config]
            return newest.step >= config["train"]["steps"]
        except (UserError, KeyError, TypeError):
            return False

    # ---- inside

    def _take(self):
        """Make it ours, without what a kill left of a save."""
        self.note = self._acquire()
        for litter in self.path.glob("*.tmp-*"):
            name, _, number = litter.name.rpartition(".tmp-")
            if name in FILES and number.isdecimal():         # or it is somebody else's
                litter.unlink()

    def _write(self, name, text):
        data = text.encode("utf-8")
        write_atomically(self.path / name, [data], len(data))

    def _acquire(self):
        """Lock the file .lock until the process ends, however it ends: the system releases it, so a lock is
        never stale -> a note where the disk has no locks, or None."""
        path = self.path / ".lock"
        if path.exists() and not path.is_file():             # to open a FIFO would wait without end
            raise UserError(f"{path} is not a regular file: expected the lock of this run, or none")
        try:
            self._lock = open(path, "w", encoding="utf-8")
        except OSError as e:
            raise UserError(f"{self.path}: {e.strerror}: expected a directory to write the run to") from None
        try:
            if os.name == "nt":
                import msvcrt
                msvcrt.locking(self._lock.fileno(), msvcrt.LK_NBLCK, 1)
            else:
                import fcntl
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as e:
            if e.errno not in LOCKED:                        # a disk without locks (some network disks)
                return f"{self.path}: its disk has no locks ({e.strerror}): start no second run in it"
            self._lock.close()
            self._lock = None
            raise Taken(f"{self.path}: another process is writing to this run; "
                        "wait for it, or give another --out") from None
        return None


def tokenizer_json(tokenizer):
    """The text of tokenizer.json."""
    return json.dumps(tokenizer.to_json(), ensure_ascii=True) + "\n"


def tokenizer_sha256(tokenizer):
    """What ``sha256sum tokenizer.json`` prints."""
    return hashlib.sha256(tokenizer_json(tokenizer).encode("ascii")).hexdigest()


def environment():
    """Versions and machine, for env.json."""
    from .. import __version__
    import threadpoolctl                         # here, for a command that writes no file needs it not
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    pools = threadpoolctl.threadpool_info()
    kernels = sorted({pool["architecture"] for pool in pools if "architecture" in pool})
    return {"minibitnet": __version__, "python": sys.version.split()[0], "numpy": np.__version__,
            "blas": f"{blas.get('name')} {blas.get('version')}", "blas_kernel": ", ".join(kernels) or None,
            "platform": f"{platform.system()} {platform.release().split('-')[0]}",
            "machine": platform.machine(), "processor": processor(), "cpus": os.cpu_count()}


def processor():
    """The processor's model, where the system names it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):             # not Linux, or a processor that Linux does not name
        return platform.processor() or platform.machine()
