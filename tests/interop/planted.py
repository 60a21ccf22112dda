"""Faults, planted in a directory of Hugging Face and taken out again: what ``inspect`` has to name.

Each is a function of a Planter, which changes files and remembers how they were; so a directory of a
gigabyte is never copied.
"""
import json
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from minibitnet.float16 import BFLOAT16, rounded
from minibitnet.formats import safetensors
from minibitnet.interop import readings
from minibitnet.packing import pack_ternary, unpack_ternary

Q, UP, DOWN = "self_attn.q_proj", "mlp.up_proj", "mlp.down_proj"


class Planter:
    """Changes the files of a directory; ``restore`` undoes it all."""

    def __init__(self, folder):
        self.folder, self.undo = Path(folder), []
        self.weights = self.folder / "model.safetensors"
        self.stored = safetensors.stored(self.weights)[0]
        self.layers = 1 + max(int(name.split(".")[2]) for name in self.stored if ".layers." in name)

    def restore(self):
        while self.undo:
            self.undo.pop()()

    # ---- changes

    def patch(self, offset, data):
        """Other bytes in the file of weights."""
        with open(self.weights, "r+b") as f:
            f.seek(offset)
            old = f.read(len(data))
            f.seek(offset)
            f.write(data)
        if old != data:
            self.undo.append(lambda: self.patch_quietly(offset, old))

    def patch_quietly(self, offset, data):
        with open(self.weights, "r+b") as f:
            f.seek(offset)
            f.write(data)

    def cut(self, n):
        """The last n bytes of the weights."""
        size = self.weights.stat().st_size
        with open(self.weights, "r+b") as f:
            f.seek(size - n)
            old = f.read()
            f.truncate(size - n)
        self.undo.append(lambda: self.patch_quietly(size - n, old))

    def instead(self, name, data):
        """A file of other bytes, or none."""
        path = self.folder / name
        aside = path.with_name(path.name + ".aside")
        path.rename(aside)
        if data is not None:
            path.write_bytes(data)
        self.undo.append(lambda: aside.replace(path))

    def edit(self, name, change):
        """A JSON file, changed."""
        value = json.loads((self.folder / name).read_text(encoding="utf-8"))
        change(value)
        self.instead(name, json.dumps(value).encode())

    # ---- weights

    def name(self, kind, layer=0):
        return f"model.layers.{layer}.{kind}.weight"

    def names(self):
        return [name for name in self.stored if name.endswith("_proj.weight")]

    def write(self, name, change):
        """A tensor, changed by a function of its array, which gives another or changes it."""
        a = self.stored[name].read()
        found = change(a)
        self.patch(self.stored[name].offset, (a if found is None else found).tobytes())

    def number(self, name, value, at=0):
        """One number of a tensor."""
        tensor = self.stored[name]
        bits = np.float32([value]).view(np.uint32)
        data = (bits >> 16).astype(np.uint16).tobytes() if tensor.dtype == BFLOAT16 else \
            np.array([value], tensor.dtype).tobytes()
        self.patch(tensor.offset + at * tensor.dtype.itemsize, data)

    def recode(self, names, change):
        """Codes (n, m), changed."""
        for name in names:
            self.write(name, lambda bits: pack_ternary(np.ascontiguousarray(
                change(unpack_ternary(bits, 4 * len(bits))))))


def set_to(value, *keys):
    """A change of a JSON object."""
    def change(found):
        for key in keys[:-1]:
            found = found[key]
        found[keys[-1]] = value
    return change


# ---- the faults that a file shows: (what it is called here, the fault to be named, the change)

def inverted(p):
    for name in p.names():
        p.write(f"{name}_scale", lambda scale: rounded(1 / scale.astype(np.float32), scale.dtype))


def no_scales(p):
    for name in p.names():
        p.write(f"{name}_scale", np.ones_like)


def twin(p):
    p.write(p.name(UP, 1), lambda bits: p.stored[p.name(UP, 0)].read())


def rows(code):
    def fill(p):
        digit = code + 1
        p.write(p.name(UP), lambda bits: bits[:3].fill(digit * 0b01010101))
    return fill


def hole(p):
    tensor = p.stored[p.name(UP)]
    p.patch(tensor.offset + 7, bytes(tensor.shape[1] * 3 // 4))


def signs_alone(p):
    p.recode([p.name(UP)], lambda codes: np.where(codes > 0, 1, -1).astype(np.int8))


def empty_rows(p):
    p.write("model.embed_tokens.weight", lambda a: a[32:90].fill(0))


def one_more_token(p):
    def more(saved):
        used = {t["id"] for t in saved["added_tokens"]} | set(saved["model"]["vocab"].values())
        size = json.loads((p.folder / "config.json").read_text())["vocab_size"]
        saved["added_tokens"] += [{"id": i, "content": f"<|more {i}|>", "special": True, "lstrip": False,
                                   "rstrip": False, "normalized": False, "single_word": False}
                                  for i in range(max(used) + 1, size + 1)]
    p.edit("tokenizer.json", more)


def end_is_a_letter(p):
    for name in ("config.json", "generation_config.json"):
        p.edit(name, set_to(65, "eos_token_id"))


SHOWN = {
    "truncated": ("damaged file", lambda p: p.cut(1000)),
    "an HTML page": ("damaged file", lambda p: p.instead("model.safetensors", b"<html>not found</html>")),
    "a Git LFS pointer": ("damaged file", lambda p: p.instead(
        "model.safetensors", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")),
    "NaN in a gain": ("damaged file", lambda p: p.number("model.norm.weight", np.nan)),
    "infinite embedding": ("damaged file", lambda p: p.number("model.embed_tokens.weight", np.inf, 77)),
    "bits 11": ("damaged file", lambda p: p.patch(p.stored[p.name(Q)].offset + 5, b"\xff")),
    "a scale of 0": ("damaged file", lambda p: p.number(f"{p.name(Q)}_scale", 0)),
    "another width": ("damaged file", lambda p: p.edit("config.json", set_to(400, "intermediate_size"))),
    "no quantization_config": ("damaged file", lambda p: p.edit("config.json", lambda c: c.pop(
        "quantization_config"))),
    "a layer too many": ("damaged file", lambda p: p.edit("config.json", set_to(
        p.layers + 1, "num_hidden_layers"))),
    "scales inverted": ("scale convention", inverted),
    "legacy class": ("scale convention", lambda p: p.edit("config.json", set_to(
        "bitlinear", "quantization_config", "linear_class"))),
    "a scale 256 times": ("scale out of line", lambda p: p.write(f"{p.name(Q)}_scale", lambda s: rounded(
        256 * s.astype(np.float32), s.dtype))),
    "no scales": ("scales lost", no_scales),
    "1e30 in the embedding": ("number out of line", lambda p: p.number("model.embed_tokens.weight", 1e30, 9)),
    "a hole": ("hole", hole),
    "rows of -1": ("constant rows", rows(-1)),
    "rows of 0": ("constant rows", rows(0)),
    "a layer written twice": ("twins", twin),
    "empty rows": ("empty rows", empty_rows),
    "gains of 0": ("dead gains", lambda p: p.write("model.layers.0.input_layernorm.weight",
                                                   lambda a: a.fill(0))),
    "signs alone": ("no zeros", signs_alone),
    "zeros alone": ("zeros alone", lambda p: p.write(p.name(UP), lambda bits: bits.fill(0b01010101))),
    "one token too many": ("tokenizer", one_more_token),
    "no tokenizer": ("tokenizer", lambda p: p.instead("tokenizer.json", None)),
    "end is a letter": ("end of text", end_is_a_letter),
}

# ---- and those that only running it tells

HEARD = {
    "scales inverted": ("scale convention", inverted),
    "legacy class": SHOWN["legacy class"],
    "another activation": ("activation", lambda p: p.edit("config.json", lambda c: c.update(
        hidden_act="silu" if c["hidden_act"] == "relu2" else "relu2"))),
    "four neighbours a byte": ("row order", lambda p: p.recode(p.names(), lambda codes: codes.reshape(
        len(codes) // 4, 4, -1).transpose(1, 0, 2).reshape(codes.shape))),
    "bytes from the other end": ("bit order", lambda p: p.recode(p.names(), readings.other_end_first)),
    "00 for 0": ("code map", lambda p: p.recode(p.names(), lambda codes: np.array(
        [1, -1, 0], np.int8)[codes + 1])),
    "signs exchanged": ("signs", lambda p: p.recode(p.names(), np.negative)),
    "gate and up exchanged": ("gate and up", lambda p: exchange(p, "mlp.gate_proj", UP)),
    "another base": ("rotary base", lambda p: p.edit("config.json", lambda c: c["rope_parameters"].update(
        rope_theta=500_000.0 if c["rope_parameters"]["rope_theta"] == 10_000 else 10_000.0))),
    "pairs of neighbours": ("rotary order", lambda p: interleave(p)),
    "shuffled tokens": ("predicts nothing", lambda p: p.write("model.embed_tokens.weight",
                                                              lambda a: a[::-1].copy())),
}


def exchange(p, one, other):
    for layer in range(p.layers):
        for end in ("", "_scale"):
            names = p.name(one, layer) + end, p.name(other, layer) + end
            first, second = (p.stored[name].read() for name in names)
            p.write(names[0], lambda a: second)
            p.write(names[1], lambda a: first)


def interleave(p):
    config = json.loads((p.folder / "config.json").read_text())
    half = (config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]) // 2
    names = [p.name(f"self_attn.{which}_proj", layer) for layer in range(p.layers) for which in "qk"]
    p.recode(names, lambda codes: codes.reshape(len(codes) // (2 * half), 2, half, -1).transpose(
        0, 2, 1, 3).reshape(codes.shape))


@contextmanager
def planted(folder, plant):
    """The directory with a fault, within this block."""
    planter = Planter(folder)
    try:
        plant(planter)
        yield
    finally:
        planter.restore()
