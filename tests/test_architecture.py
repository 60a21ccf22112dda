"""Imports point down. The table below is the only home of the floors; every module must be in it."""
import ast
from pathlib import Path

import pytest

import minibitnet

ROOT = Path(minibitnet.__file__).parent
FLOORS = {
    "errors": 0, "files": 0, "options": 1, "quant": 0, "packing": 0,
    "nn.autograd": 0, "nn.ops": 1, "nn.ste": 1, "nn.gradcheck": 1, "nn.optim": 1, "nn.config": 2, "nn.layers": 2, "nn.model": 3, "nn.training": 5,
    "text.bpe": 1, "text.bpe_files": 2, "text.tokenizer": 3, "text.downloads": 1, "text.corpora": 2, "text.storybook": 0, "text.grammar": 1,
    "text.tasks": 2, "text.streams": 3, "text.batches": 4,
    "formats.safetensors": 1, "formats.checkpoint": 2, "formats.rundir": 3, "formats.packed": 2,
    "inference.sampling": 1, "inference.cache": 1, "inference.kernels": 1, "inference.packed": 2, "inference.fixed_point": 0, "inference.integer": 2,
    "api": 6,
    "experiments.plotting": 6, "experiments.agreement": 6, "experiments.costs": 6, "experiments.trigram": 6, "experiments.peers": 6,
    "experiments.paper": 5, "experiments.results": 6, "experiments.rows": 6, "experiments.energy": 7, "experiments.counting": 6,
    **{f"experiments.{name}": 8 for name in ("bitlinear_flow", "components", "contexts", "energy_table", "equivalences", "experts", "largest_batch",
                                             "memory_ratios", "memory_table", "ninety_percent", "one_product", "operations", "parameters",
                                             "report_costs", "savings", "variance")},
    "experiments.energy_shares": 9, "experiments.report": 9,
    "experiments.timing": 6, "experiments.random_models": 6, "experiments.held_out": 6,
    "experiments.groups": 7, "experiments.joules": 7, "experiments.latency": 7, "experiments.throughput": 8, "experiments.kv_cache": 8,
    "_command": 7, "train": 10, "evaluate": 10, "generate": 10, "pack": 10, "tokenizer": 10, "bench": 10, "data": 10, "reproduce": 10, "__main__": 10,
}
COMMANDS = {name for name, floor in FLOORS.items() if floor == 10} | {"_command"}


def modules():
    for path in ROOT.rglob("*.py"):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        if path.name != "__init__.py":
            yield name, ast.parse(path.read_text(encoding="utf-8"))


def imports(name, tree):
    """(module of ours or "", top-level name of another's) for every import, also those inside functions."""
    package = name.split(".")[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (("", alias.name.split(".")[0]) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield "", node.module.split(".")[0]
        elif isinstance(node, ast.ImportFrom):
            base = package[:len(package) - node.level + 1] + (node.module.split(".") if node.module else [])
            if ".".join(base) in FLOORS:
                yield ".".join(base), ""
            else:
                yield from ((".".join([*base, alias.name]), "") for alias in node.names)


def violations(name, tree):
    for ours, other in imports(name, tree):
        if ours == "__version__":
            continue
        if other == "minibitnet":
            yield f"{name} imports minibitnet by its absolute name, which hides the floor"
        if ours and ours not in FLOORS:
            yield f"{name} imports {ours}, which has no floor"
        elif ours and FLOORS[ours] >= FLOORS[name]:
            yield f"{name} (floor {FLOORS[name]}) imports {ours} (floor {FLOORS[ours]})"
        if name in ("quant", "packing") and ours:
            yield f"{name} imports {ours}"
        if name.startswith("inference.") and ours.startswith("nn.") and ours != "nn.ops":
            yield f"{name} imports {ours}; of nn/ only ops.py is for inference"
        if other == "matplotlib" and name != "experiments.plotting":
            yield f"{name} imports matplotlib"
        if other == "torch" and name != "experiments.peers":
            yield f"{name} imports torch"
        if other == "argparse" and name not in COMMANDS:
            yield f"{name} imports argparse"
        if other in ("pickle", "marshal", "shelve"):
            yield f"{name} imports {other}"
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("eval", "exec"):
            yield f"{name} calls {node.func.id}"
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "np.random" and node.attr not in ("default_rng", "Generator"):
            yield f"{name} uses {ast.unparse(node)}: randomness comes from an explicit Generator"


def test_every_module_has_a_floor():
    assert {name for name, _ in modules()} == set(FLOORS)


def test_imports_point_down():
    assert [v for name, tree in modules() for v in violations(name, tree)] == []


@pytest.mark.parametrize("name, code, message", [
    ("nn.ops", "from .model import Transformer", "nn.ops (floor 1) imports nn.model (floor 3)"),
    ("quant", "from minibitnet.nn.model import Transformer", "quant imports minibitnet by its absolute name, which hides the floor"),
    ("nn.ste", "from . import ops", "nn.ste (floor 1) imports nn.ops (floor 1)"),
    ("quant", "from .errors import UserError", "quant imports errors"),
    ("inference.sampling", "def f():\n    from ..nn import autograd", "inference.sampling imports nn.autograd; of nn/ only ops.py is for inference"),
    ("formats.checkpoint", "from ..experiments import plotting", "formats.checkpoint (floor 2) imports experiments.plotting (floor 6)"),
    ("api", "import matplotlib.pyplot", "api imports matplotlib"),
    ("text.corpora", "import argparse", "text.corpora imports argparse"),
    ("text.corpora", "import pickle", "text.corpora imports pickle"),
    ("nn.optim", "exec('1')", "nn.optim calls exec"),
    ("nn.optim", "np.random.seed(0)", "nn.optim uses np.random.seed: randomness comes from an explicit Generator"),
    ("train", "from .newcomer import x", "train imports newcomer.x, which has no floor"),
])
def test_planted_violations_are_seen(name, code, message):
    assert message in list(violations(name, ast.parse(code)))
