"""List the commands:  python -m minibitnet"""
from . import __version__

COMMANDS = {
    "train": "train a model from scratch (start with --tiny)",
    "evaluate": "loss, perplexity and bits per byte of a trained model",
    "generate": "let a trained model write",
    "pack": "two bits a weight, and a table of bytes",
    "data": "make, fetch, list and measure corpora",
    "tokenizer": "train a byte-pair vocabulary, look at one, encode with one",
    "reproduce": "the papers' tables, figures and claims, beside ours",
    "bench": "our speed beside PyTorch's, in one run",
}

print(f"minibitnet {__version__}: BitNet (1-bit language models) in pure NumPy\n")
for name, what in COMMANDS.items():
    print(f"  python -m minibitnet.{name:<10} {what}")
print("\nEach one explains itself with --help.")
