"""Imports point down. The table below is the only home of the floors; every module must be in it."""
import ast
from pathlib import Path

import pytest

import minibitnet

ROOT = Path(minibitnet.__file__).parent
FLOORS = {
    "exact_functions": -1, "exact": 0, "packing": 0, "float16": 0, "quant": 1, "variants": 2,
    "errors": 0, "files": 0, "threads": 0, "options": 1,
    "nn.autograd": 0, "nn.ops": 2, "nn.ste": 2, "nn.gradcheck": 2, "nn.optim": 1, "nn.config": 3, "nn.layers": 3,
    "nn.model": 4, "nn.training": 6,
    "text.bpe": 1, "text.bpe_files": 2, "text.tokenizer": 3, "text.downloads": 1, "text.corpora": 2, "stories.storybook": 0, "stories.building": 1, "stories.walk": 2, "stories.entropy": 3,
    "stories.tasks": 4, "text.streams": 3, "text.batches": 4,
    "formats.safetensors": 1, "formats.checkpoint": 2, "formats.rundir": 3, "formats.packed": 3,
    "inference.sampling": 2, "inference.cache": 3, "inference.kernels": 2, "inference.packed": 4, "inference.fixed_point": 1, "inference.integer_convert": 3, "inference.integer": 4,
    "api": 7,
    "measure.plotting": 7, "measure.agreement": 7, "measure.costs": 6, "measure.trigram": 7, "measure.peers": 7,
    "experiments.paper": 6, "measure.results": 7, "experiments.claims": 7, "experiments.lines": 0, "experiments.energy": 8, "measure.counting": 7,
    **{f"experiments.{name}": 9 for name in ("bitlinear_flow", "components", "contexts", "energy_table", "equivalences", "experts", "largest_batch",
                                             "memory_ratios", "memory_table", "ninety_percent", "one_product", "operations", "parameters",
                                             "report_costs", "savings", "variance")},
    "experiments.energy_shares": 10, "experiments.report": 10,
    "measure.timing": 7, "measure.random_models": 7, "measure.held_out": 7,
    "measure.train_bench": 8, "measure.kernel_bench": 8, "measure.decode_bench": 8, "measure.step_profile": 9,
    "experiments.groups": 8, "experiments.recipes": 8, "experiments.pages": 10, "experiments.joules": 8, "experiments.latency": 8, "experiments.throughput": 9, "experiments.kv_cache": 9,
    "_command": 8, "jobs": 10, "train": 11, "evaluate": 11, "generate": 11, "pack": 11, "tokenizer": 11, "bench": 11, "data": 11, "reproduce": 11, "__main__": 11,
}
COMMANDS = {name for name, floor in FLOORS.items() if floor == 11} | {"_command"}


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
        if name in ("exact", "quant", "packing", "float16") and ours and (name, ours) not in {("quant", "exact"), ("exact", "exact_functions")}:
            yield f"{name} imports {ours}"
        if name.startswith("inference.") and ours.startswith("nn.") and ours != "nn.ops":
            yield f"{name} imports {ours}; of nn/ only ops.py is for inference"
        if ours.startswith("experiments.") and not name.startswith("experiments.") and name != "reproduce":
            yield f"{name} imports {ours}: nobody but reproduce enters experiments/"
        if other == "matplotlib" and name != "measure.plotting":
            yield f"{name} imports matplotlib"
        if other == "torch" and name != "measure.peers":
            yield f"{name} imports torch"
        if other == "argparse" and name not in COMMANDS:
            yield f"{name} imports argparse"
        if other in ("pickle", "marshal", "shelve"):
            yield f"{name} imports {other}"
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("eval", "exec"):
            yield f"{name} calls {node.func.id}"
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "np.random" and node.attr not in ("default_rng", "Generator") and name != "exact_functions":
            yield f"{name} uses {ast.unparse(node)}: randomness comes from an explicit Generator"


# Where results are made, every number is exact or rounded by one IEEE operation that is written there (exact.py): what a library adds up in an order of
# its own, or rounds in its own way, is refused. In kernels and integer.py all numbers are whole.
RESULTS = ("quant", "nn.autograd", "nn.ops", "nn.ste", "nn.layers", "nn.model", "nn.optim", "nn.training", "inference.packed", "inference.cache",
           "inference.sampling", "inference.fixed_point", "inference.integer_convert", "text.batches",
           "stories.building", "stories.walk", "stories.entropy", "api", "train", "evaluate")
PRODUCTS = {"matmul", "dot", "vdot", "vecdot", "matvec", "vecmat", "inner", "outer", "einsum", "tensordot", "kron", "linalg", "convolve"}
SUMS = {"sum", "mean", "nansum", "nanmean", "std", "var", "average", "reduceat", "trapezoid"}
FUNCTIONS = {"exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "tanh", "sinh", "cosh", "sin", "cos", "tan", "arctan", "arctanh", "power", "float_power",
             "cbrt", "hypot", "logaddexp", "pow", "erf", "default_rng", "Generator", "random"}
ALLOWED = {  # sums of whole numbers
    ("evaluate", "sum((max((len(model.encode(item.context + choice)) for choice in item.choices)) > model.config.context + 1 for item in items))"),
    ("nn.training", "sum((p.size for p, _ in codes))"), ("nn.training", "sum((np.count_nonzero(p != q) for p, q in codes))"),
    ("nn.training", "sum((q.size - np.count_nonzero(q) for _, q in codes))"),
    ("text.batches", "sum((tokenizer.count_bytes(tokens[i:i + 2 ** 20]) for i in range(1, len(tokens), 2 ** 20)))"),
    ("text.batches", "sum((wanted[document] for document in learnt))"), ("text.batches", "counts.sum"),
    ("stories.walk", "sum((weight for opening, weight in zip(openings, weights) if opening.startswith(rest)))"),
    ("stories.entropy", "sum(map(str.isspace, text))"), ("stories.entropy", "sum(part.weights)"), ("stories.walk", "sum(weights)"), ("stories.building", "sum(weights)"), ("stories.walk", "sum(part.weights)"), ("stories.entropy", "sum(map(len, texts))"),
    ("stories.entropy", "sum((sum(map(str.isspace, text)) for text in texts))"),
    ("train", "sum(map(is_story, stories))"),
}


def inexact(tree):
    """What a result module may not do, as its source."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.BinOp, ast.AugAssign)) and isinstance(node.op, ast.MatMult):
            yield ast.unparse(node)
        elif isinstance(node, (ast.BinOp, ast.AugAssign)) and isinstance(node.op, ast.Pow) and not exact_power(node):
            yield ast.unparse(node)
        elif isinstance(node, ast.Attribute) and (node.attr in SUMS | {"dot"} or node.attr in PRODUCTS | FUNCTIONS and
                                                  ast.unparse(node.value) in ("np", "math", "np.random")):
            yield ast.unparse(node)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("sum", "pow"):
            yield ast.unparse(node)


def exact_power(node):
    """A power of a whole number, or of two: 2**k, 2.0**-k, 10**6; x**2."""
    base, exponent = (node.left, node.right) if isinstance(node, ast.BinOp) else (node.target, node.value)
    return isinstance(base, ast.Constant) and base.value in (2, 4) or isinstance(exponent, ast.Constant) and (
        exponent.value == 2 or isinstance(base, ast.Constant) and isinstance(base.value, int))


def test_every_module_has_a_floor():
    assert {name for name, _ in modules()} == set(FLOORS)


def test_imports_point_down():
    assert [v for name, tree in modules() for v in violations(name, tree)] == []


@pytest.mark.parametrize("name, code, message", [
    ("nn.ops", "from .model import Transformer", "nn.ops (floor 2) imports nn.model (floor 4)"),
    ("quant", "from minibitnet.nn.model import Transformer", "quant imports minibitnet by its absolute name, which hides the floor"),
    ("nn.ste", "from . import ops", "nn.ste (floor 2) imports nn.ops (floor 2)"),
    ("quant", "from .errors import UserError", "quant imports errors"),
    ("inference.sampling", "def f():\n    from ..nn import autograd", "inference.sampling imports nn.autograd; of nn/ only ops.py is for inference"),
    ("formats.checkpoint", "from ..measure import plotting", "formats.checkpoint (floor 2) imports measure.plotting (floor 7)"),
    ("api", "import matplotlib.pyplot", "api imports matplotlib"),
    ("train", "from .experiments.paper import table", "train imports experiments.paper: nobody but reproduce enters experiments/"),
    ("text.corpora", "import argparse", "text.corpora imports argparse"),
    ("text.corpora", "import pickle", "text.corpora imports pickle"),
    ("nn.optim", "exec('1')", "nn.optim calls exec"),
    ("nn.optim", "np.random.seed(0)", "nn.optim uses np.random.seed: randomness comes from an explicit Generator"),
    ("train", "from .newcomer import x", "train imports newcomer.x, which has no floor"),
])
def test_planted_violations_are_seen(name, code, message):
    assert message in list(violations(name, ast.parse(code)))


def folders_that_import_each_other(edges):
    """edges: (folder, folder) of every import between two of them -> those that go both ways."""
    return {(a, b) for a, b in edges if a < b and (b, a) in edges}


def test_no_two_folders_import_each_other():
    edges = {(name.split(".")[0], ours.split(".")[0]) for name, tree in modules() for ours, _ in imports(name, tree) if "." in name and "." in ours}
    assert ("inference", "nn") in edges and folders_that_import_each_other({(a, b) for a, b in edges if a != b}) == set()
    assert folders_that_import_each_other(edges | {("nn", "inference")}) == {("inference", "nn")}


def test_results_are_made_of_exact_operations():
    """What is left are the sums of whole numbers in ALLOWED. (Of floats sum() is another sum from Python 3.12 on.)"""
    found = {(name, what) for name, tree in modules() if name in RESULTS for what in inexact(tree)}
    assert found == ALLOWED


@pytest.mark.parametrize("code", ["y = w @ x", "w @= x", "np.einsum('ij,jk', a, b)", "a.dot(b)", "np.exp(x)", "math.log(x)", "x ** 0.5", "beta ** t", "x.mean(0)",
                                  "e.sum(-2)", "np.add.reduceat(x, i)", "np.random.default_rng(0)", "np.random.random()", "sum(losses)", "np.linalg.norm(x)", "10 ** -x"])
def test_planted_inexact_operations_are_seen(code):
    assert list(inexact(ast.parse(code)))


@pytest.mark.parametrize("code", ["2**24", "x ** 2", "2.0 ** -k", "math.fsum(x)", "np.sqrt(x)", "np.rint(x / y)", "x.max(0)"])
def test_exact_operations_pass(code):
    assert list(inexact(ast.parse(code))) == []
