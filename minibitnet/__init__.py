"""minibitnet: BitNet (1-bit language models) in pure NumPy, written to be read.

    model, tokenizer, history = minibitnet.fit(text)          # or minibitnet.load("runs/tiny")
    model.generate("The "), model.logits(ids), model.layers(), model.trace(ids), model.pack(), model.save(DIR)
    minibitnet.draw_loss(history)

Names and modules load on first use (PEP 562), so that ``import minibitnet`` costs nothing. README.md says in
which order to read the source.
"""
import difflib
import importlib
import sys
from pathlib import Path

__version__ = "0.1.0"

_HOMES = {
    "Fit": "fitting",
    "History": "fitting",
    "LanguageModel": "language_model",
    "Layer": "looking",
    "ModelConfig": "nn.config",
    "Quantized": "quant",
    "TrainConfig": "nn.training",
    "Transformer": "nn.model",
    "UserError": "errors",
    "check": "course.grading",
    "check_env": "course.showing",
    "grade": "course.grading",
    "show": "course.showing",
    "absmax_int8": "quant",
    "absmean_ternary": "quant",
    "dequantize": "quant",
    "draw_attention": "drawing",
    "draw_bytes": "drawing",
    "draw_histogram": "drawing",
    "draw_loss": "drawing",
    "draw_weights": "drawing",
    "fit": "fitting",
    "from_pretrained": "pretrained",
    "load": "api",
    "quantize_model": "ptq.quantize",
    "register_variant": "variants",
    "sign_binary": "quant",
    "straight_through": "nn.ste",
    "vjp_error": "nn.gradcheck",
}
__all__ = sorted([*_HOMES, "__version__"])


def _lazy(package, homes):
    """Let a package import its modules, and the names in homes {name: module}, when they are asked for."""
    [folder] = package.__path__

    def names():
        return sorted({*homes, *(path.stem for path in Path(folder).glob("[a-z]*.py")),
                       *(path.parent.name for path in Path(folder).glob("*/__init__.py"))})

    def find(name):
        if name in homes:
            value = getattr(importlib.import_module(f".{homes[name]}", package.__name__), name)
        elif name in names():
            value = importlib.import_module(f".{name}", package.__name__)
        else:
            near = difflib.get_close_matches(name, names(), 1)
            raise AttributeError(f"module {package.__name__!r} has no attribute {name!r}" +
                                 (f"; did you mean {near[0]!r}?" if near else ""))
        setattr(package, name, value)            # found once
        return value
    special = [name for name in vars(package) if name.startswith("__")]
    package.__getattr__, package.__dir__ = find, lambda: sorted({*names(), *special})


_lazy(sys.modules[__name__], _HOMES)
for _folder in Path(__file__).parent.glob("*/__init__.py"):                  # they are empty
    _lazy(importlib.import_module(f".{_folder.parent.name}", __name__), {})
