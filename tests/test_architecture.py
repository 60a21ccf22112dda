"""Imports point down. The table below is the only home of the floors; every module must be in it."""
import ast
from pathlib import Path

import pytest

import minibitnet

ROOT = Path(minibitnet.__file__).parent
ON_FLOOR = {
    -1: "exact_functions errors",
    0: "exact packing float16 files threads shapes nn.autograd nn.ranks text.kinds stories.storybook "
       "interop.ggml "
       "experiments.lines experiments.replacing",
    1: "data_files exact_attention quant options nn.optim mpi text.bpe text.downloads stories.building "
       "formats.safetensors inference.fixed_point experiments.uncertainty",
    2: "variants nn.ops nn.ste nn.gradcheck text.bpe_files text.corpora stories.walk formats.checkpoint "
       "interop.gguf "
       "stories.pets course.exercise course.showing inference.sampling inference.scoring inference.kernels "
       "experiments.stability experiments.equal_cost experiments.end_tasks "
       "ptq.elimination ptq.levels ptq.smoothquant",
    3: "nn.config nn.layers text.tokenizer text.streams stories.entropy formats.rundir formats.packed "
       "inference.cache inference.integer_convert ptq.gptq ptq.quip",
    4: "nn.model text.batches stories.tasks inference.packed_engine inference.integer ptq.calibration "
       "interop.huggingface writing",
    5: "interop.gguf_model looking ptq.distill",
    6: "nn.training measure.costs experiments.paper",
    7: "language_model measure.agreement measure.cluster measure.counting measure.held_out "
       "measure.peers measure.plotting "
       "measure.random_models measure.results measure.timing measure.trigram experiments.claims",
    8: "_command api ptq.quantize measure.train_bench measure.kernel_bench measure.decode_bench "
       "experiments.energy experiments.capacity experiments.bitlinear experiments.groups "
       "experiments.joules experiments.latency experiments.recipes "
       "experiments.markdown experiments.ablations experiments.plan",
    9: "jobs drawing pretrained interop.soundness "
       "measure.step_profile measure.prompt_bench measure.ranks_bench experiments.kv_cache "
       "experiments.weights experiments.comparisons experiments.operations experiments.throughput "
       "experiments.edge experiments.engines_page experiments.quality_page experiments.speed_page "
       "experiments.training_run experiments.scaling experiments.verdicts "
       "experiments.miniatures experiments.ranks_page "
       "course.poster_numbers",
    10: "fitting measure.model_bench interop.source interop.readings "
        "experiments.miniature_costs experiments.miniature_parts "
        "experiments.quantized_run course.poster course.map "
        "course.quantizers course.gradients course.straight_through course.bitlinear "
        "course.transformer course.training course.packing course.integers "
        "course.map_pictures course.quantizers_pictures course.gradients_pictures "
        "course.straight_through_pictures course.bitlinear_pictures course.transformer_pictures "
        "course.training_pictures course.packing_pictures course.integers_pictures",
    11: "interop.examination together "
        "experiments.after_training experiments.few_bits experiments.runner course.grading",
    12: "experiments.distillation experiments.trained_sizes",
    13: "experiments.catalogue experiments.trained_parts experiments.trained_quantized",
    14: "experiments.trained_page experiments.report",
    15: "experiments.pages",
    16: "convert inspect train evaluate generate pack plot tokenizer bench data reproduce __main__",
}
FLOORS = {name: floor for floor, names in ON_FLOOR.items() for name in names.split()}
COMMANDS = {*ON_FLOOR[16].split(), "_command"}
# these stand alone, but for what is named here
ALONE = {"exact": {"exact_functions"}, "exact_attention": {"exact"}, "quant": {"exact"}, "packing": set(),
         "float16": set()}


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
    """What a module may not do, in words."""
    for ours, other in imports(name, tree):
        if ours == "__version__":
            continue
        if other == "minibitnet":
            yield f"{name} imports minibitnet by its absolute name, which hides the floor"
        if ours:
            yield from violations_within(name, ours)
        if other == "matplotlib" and name != "measure.plotting":
            yield f"{name} imports matplotlib"
        if other == "mpi4py" and name != "mpi":
            yield f"{name} imports mpi4py"
        if other == "torch" and name != "measure.peers":
            yield f"{name} imports torch"
        if other == "argparse" and name not in COMMANDS:
            yield f"{name} imports argparse"
        if other in ("pickle", "marshal", "shelve"):
            yield f"{name} imports {other}"
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("eval", "exec"):
            yield f"{name} calls {ast.unparse(node.func)}"
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "np.random":
            if node.attr not in ("default_rng", "Generator") and name != "exact_functions":
                source = ast.unparse(node)
                yield f"{name} uses {source}: randomness comes from an explicit Generator"


def violations_within(name, ours):
    """Of a module's import of another one of ours."""
    if ours not in FLOORS:
        yield f"{name} imports {ours}, which has no floor"
    elif FLOORS[ours] >= FLOORS[name]:
        yield f"{name} (floor {FLOORS[name]}) imports {ours} (floor {FLOORS[ours]})"
    if name in ALONE and ours not in ALONE[name]:
        yield f"{name} imports {ours}"
    if name.startswith("inference.") and ours.startswith("nn.") and ours != "nn.ops":
        yield f"{name} imports {ours}; of nn/ only ops.py is for inference"
    within = name.startswith("experiments.") or name == "reproduce"
    if ours.startswith("experiments.") and not within:
        yield f"{name} imports {ours}: nobody but reproduce enters experiments/"


# Where results are made, every number is exact or rounded by one IEEE operation that is written there
# (exact.py): what a library adds up in an order of its own, or rounds in its own way, is refused. In kernels
# and integer.py all numbers are whole.
RESULTS = """
    quant
    nn.autograd nn.ops nn.ste nn.layers nn.model nn.optim nn.training
    inference.packed_engine inference.cache inference.sampling inference.scoring inference.fixed_point
    inference.integer_convert
    text.batches stories.building stories.walk stories.entropy
    api train evaluate
""".split()
PRODUCTS = set("""
    matmul dot vdot vecdot matvec vecmat inner outer einsum tensordot kron linalg convolve
""".split())
SUMS = set("sum mean nansum nanmean std var average reduceat trapezoid".split())
FUNCTIONS = set("""
    exp exp2 expm1 log log2 log10 log1p tanh sinh cosh sin cos tan arctan arctanh power float_power
    cbrt hypot logaddexp pow erf default_rng Generator random
""".split())
ALLOWED = {  # sums of whole numbers
    ("evaluate", "sum((max((len(model.encode(item.context + choice)) for choice in item.choices))"
                 " > model.config.context + 1 for item in items))"),
    ("nn.training", "sum((codes.size for codes in after))"),
    ("nn.training", "sum((np.count_nonzero(codes) for codes in after))"),
    ("nn.training", "sum((np.count_nonzero(p != q) for p, q in zip(before, after)))"),
    ("text.batches", "sum((tokenizer.count_bytes(tokens[i:i + 2 ** 20])"
                     " for i in range(1, len(tokens), 2 ** 20)))"),
    ("text.batches", "sum((wanted[document] for document in learnt))"),
    ("text.batches", "counts.sum"),
    ("stories.building", "sum(weights)"),
    ("stories.walk", "sum((weight for opening, weight in zip(openings, weights)"
                     " if opening.startswith(rest)))"),
    ("stories.walk", "sum(weights)"),
    ("stories.walk", "sum(element.weights)"),
    ("stories.entropy", "sum(map(str.isspace, text))"),
    ("stories.entropy", "sum(element.weights)"),
    ("stories.entropy", "sum(map(len, texts))"),
    ("stories.entropy", "sum((sum(map(str.isspace, text)) for text in texts))"),
    ("train", "sum(map(is_story, stories))"),
}
OF_NUMPY = "np", "math", "np.random"


def inexact(tree):
    """What a result module may not do, as its source."""
    for node in ast.walk(tree):
        if is_inexact(node):
            yield ast.unparse(node)


def is_inexact(node):
    """Is this a product of matrices, an inexact power, a sum or a function of a library's?"""
    if isinstance(node, (ast.BinOp, ast.AugAssign)):
        power = isinstance(node.op, ast.Pow) and not exact_power(node)
        return isinstance(node.op, ast.MatMult) or power
    if isinstance(node, ast.Attribute):
        of_library = node.attr in PRODUCTS | FUNCTIONS and ast.unparse(node.value) in OF_NUMPY
        return node.attr in SUMS | {"dot"} or of_library
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("sum", "pow")


def exact_power(node):
    """A power of a whole number, or of two: 2**k, 2.0**-k, 10**6; x**2."""
    if isinstance(node, ast.BinOp):
        base, exponent = node.left, node.right
    else:
        base, exponent = node.target, node.value
    if isinstance(base, ast.Constant) and base.value in (2, 4):
        return True
    whole = isinstance(base, ast.Constant) and isinstance(base.value, int)
    return isinstance(exponent, ast.Constant) and (exponent.value == 2 or whole)


# ---- floors

def test_every_module_has_a_floor():
    assert {name for name, _ in modules()} == set(FLOORS)
    assert len(FLOORS) == len(" ".join(ON_FLOOR.values()).split()), "and no module has two"


def test_no_folder_does_anything_when_it_is_imported():
    """An __init__.py with an import would be a module without a floor. (The package's own has the table of
    its names.)"""
    assert [path for path in ROOT.glob("*/__init__.py") if path.read_text(encoding="utf-8").strip()] == []


def test_nothing_is_imported_by_a_name_in_a_text():
    """But for the table of public names, and what the first word of a command names."""
    calls = "import_module", "run_module", "__import__"
    by_text = {name for name, tree in modules() for node in ast.walk(tree)
               if getattr(node, "attr", getattr(node, "id", "")) in calls}
    assert by_text == {"__main__"}


def test_imports_point_down():
    assert [v for name, tree in modules() for v in violations(name, tree)] == []


@pytest.mark.parametrize("name, code, message", [
    ("nn.ops", "from .model import Transformer",
     "nn.ops (floor 2) imports nn.model (floor 4)"),
    ("quant", "from minibitnet.nn.model import Transformer",
     "quant imports minibitnet by its absolute name, which hides the floor"),
    ("nn.ste", "from . import ops",
     "nn.ste (floor 2) imports nn.ops (floor 2)"),
    ("quant", "from .errors import UserError",
     "quant imports errors"),
    ("inference.sampling", "def f():\n    from ..nn import autograd",
     "inference.sampling imports nn.autograd; of nn/ only ops.py is for inference"),
    ("formats.checkpoint", "from ..measure import plotting",
     "formats.checkpoint (floor 2) imports measure.plotting (floor 7)"),
    ("api", "import matplotlib.pyplot",
     "api imports matplotlib"),
    ("train", "from .experiments.paper import table",
     "train imports experiments.paper: nobody but reproduce enters experiments/"),
    ("text.corpora", "import argparse",
     "text.corpora imports argparse"),
    ("text.corpora", "import pickle",
     "text.corpora imports pickle"),
    ("nn.optim", "exec('1')",
     "nn.optim calls exec"),
    ("nn.optim", "np.random.seed(0)",
     "nn.optim uses np.random.seed: randomness comes from an explicit Generator"),
    ("train", "from .newcomer import x",
     "train imports newcomer.x, which has no floor"),
])
def test_planted_violations_are_seen(name, code, message):
    assert message in list(violations(name, ast.parse(code)))


def folders_that_import_each_other(edges):
    """edges: (folder, folder) of every import between two of them -> those that go both ways."""
    return {(a, b) for a, b in edges if a < b and (b, a) in edges}


def test_no_two_folders_import_each_other():
    pairs = [(name, ours) for name, tree in modules() for ours, _ in imports(name, tree)]
    folders = {(name.split(".")[0], ours.split(".")[0]) for name, ours in pairs
               if "." in name and "." in ours}
    edges = {(a, b) for a, b in folders if a != b}
    assert ("inference", "nn") in edges and folders_that_import_each_other(edges) == set()
    assert folders_that_import_each_other(edges | {("nn", "inference")}) == {("inference", "nn")}


# ---- results

def test_results_are_made_of_exact_operations():
    """What is left are the sums of whole numbers in ALLOWED. (Of floats sum() is another sum from Python 3.12
    on.)"""
    found = {(name, what) for name, tree in modules() if name in RESULTS for what in inexact(tree)}
    assert found == ALLOWED


@pytest.mark.parametrize("code", [
    "y = w @ x", "w @= x", "np.einsum('ij,jk', a, b)", "a.dot(b)", "np.exp(x)", "math.log(x)", "x ** 0.5",
    "beta ** t", "x.mean(0)", "e.sum(-2)", "np.add.reduceat(x, i)", "np.random.default_rng(0)",
    "np.random.random()", "sum(losses)", "np.linalg.norm(x)", "10 ** -x"])
def test_planted_inexact_operations_are_seen(code):
    assert list(inexact(ast.parse(code)))


@pytest.mark.parametrize("code", [
    "2**24", "x ** 2", "2.0 ** -k", "math.fsum(x)", "np.sqrt(x)", "np.rint(x / y)", "x.max(0)"])
def test_exact_operations_pass(code):
    assert list(inexact(ast.parse(code))) == []
