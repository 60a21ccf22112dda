"""Make and look at byte-pair vocabularies:  python -m minibitnet.tokenizer train --data book.txt
--vocab-size 1024 --out book.tiktoken"""
from . import _command  # first: from here on Ctrl-C is heard

from .errors import UserError
from .files import typed
from .text import bpe, bpe_files
from .text.corpora import load_corpus, texts
from .text.streams import count
from .text.tokenizer import EXPECTED, BPETokenizer, bpe_size, load_tokenizer, make_tokenizer

DESCRIPTION = """train --data FILE --vocab-size N --out FILE.tiktoken    learn N - 1 tokens of bytes from a
                                                        text; an end token makes N
show FILE                                               a vocabulary's size, longest and last tokens
encode --tokenizer FILE TEXT                            the tokens of a text, and their ids

Each one explains itself: python -m minibitnet.tokenizer train --help. The file is what --tokenizer of
minibitnet.train takes."""


def main(argv):
    """argv -> exit code."""
    actions = {"train": train, "show": show, "encode": encode}
    return _command.dispatch("tokenizer", DESCRIPTION, actions, argv)


def train(argv):
    """Learn byte-pair encoding from a text and write its rank file."""
    parser = _command.Parser("tokenizer train", "Learn byte-pair encoding from a text: the most frequent "
                                                "pair of neighbours becomes a token, again and again.")
    parser.add_argument("--data", required=True, metavar="PATH",
                        help="a UTF-8 text file, or a name from python -m minibitnet.data list")
    parser.add_argument("--vocab-size", required=True, metavar="N",
                        help="tokens, with the 256 bytes and the end token")
    parser.add_argument("--out", required=True, type=_command.path, metavar="FILE.tiktoken",
                        help="the rank file to write: a line \"base64 rank\" for each token")
    parser.add_argument("--overwrite", action="store_true", help="replace FILE.tiktoken")
    args = parser.parse_args(argv)
    _command.new_file(args.out, args.overwrite)
    if not args.out.parent.is_dir():
        raise UserError(f"{args.out}: {args.out.parent} is not a directory: expected one to write the file "
                        f"to")
    size, corpus = bpe_size(args.vocab_size), load_corpus(args.data)
    with _command.bar(total=corpus.size, unit="B", unit_scale=True, desc="read") as bar:
        ranks = bpe.train(texts(corpus, bar.update), size - 1, _command.learning)
    bpe_files.write_ranks(args.out, ranks)
    tokenizer = BPETokenizer(bpe_files.with_end(ranks))
    _, _, bytes_each = count(corpus, tokenizer)
    print(f"{args.out}: {tokenizer.vocab_size:,} tokens, {bytes_each:.3f} bytes per token on {corpus.name}")
    print(f"Try: python -m minibitnet.train {typed('--data', args.data)} {typed('--tokenizer', args.out)}")
    return _command.DONE


def show(argv):
    """Print the size of a vocabulary, its longest and its last tokens."""
    parser = _command.Parser("tokenizer show", "The size of a vocabulary, its longest and its last tokens.")
    parser.add_argument("tokenizer", metavar="FILE",
                        help="a rank file, or a tokenizer.json of a run or of Hugging Face")
    parser.add_argument("--tokens", type=_command.positive_int, default=10, metavar="N",
                        help="how many to show (%(default)s)")
    args = parser.parse_args(argv)
    tokenizer = load_tokenizer(args.tokenizer)
    print(f"{args.tokenizer}: {tokenizer.vocab_size:,} tokens, end token {tokenizer.end}")
    if isinstance(tokenizer, BPETokenizer):
        tokens = list(tokenizer.vocabulary.ranks)
        print("longest ", *map(in_words, sorted(tokens, key=len, reverse=True)[:args.tokens]))
        print("last    ", *map(in_words, tokens[-args.tokens:]))
    return _command.DONE


def encode(argv):
    """Print the tokens of a text, and their ids."""
    parser = _command.Parser("tokenizer encode", "The tokens of a text, and their ids.")
    parser.add_argument("--tokenizer", required=True, metavar="FILE", help=EXPECTED)
    parser.add_argument("text", metavar="TEXT")
    args = parser.parse_args(argv)
    tokenizer = make_tokenizer(args.tokenizer, args.text)
    ids = tokenizer.encode(args.text).tolist()
    print(*(repr(tokenizer.decode([i])) for i in ids))
    print(*ids)
    return _command.DONE


def in_words(token):
    """Bytes as a quoted text where they are one."""
    return repr(token.decode("utf-8", "backslashreplace"))


if __name__ == "__main__":
    _command.run(main)
