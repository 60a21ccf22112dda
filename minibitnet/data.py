"""Make, fetch, list and measure corpora:  python -m minibitnet.data list"""
from . import _command  # first: from here on Ctrl-C is heard

from functools import partial
from pathlib import Path

from .data_files import packaged
from .errors import UserError
from .files import write_atomically
from .stories import entropy, walk
from .text.corpora import DOCUMENT_END, WITH_GRAMMAR, load_corpus, pieces, texts
from .text.downloads import DOWNLOADS, data_folder, fetch, text_path
from .text.streams import count
from .text.tokenizer import make_tokenizer

DESCRIPTION = """Corpora, the texts that models are trained on.

    python -m minibitnet.data list                    what there is, its licence, and where
    python -m minibitnet.data fetch tinyshakespeare   download, check, keep; then --data tinyshakespeare
    python -m minibitnet.data make stories --seed 0   write a text from a grammar whose entropy is known
    python -m minibitnet.data info book.txt           measure a text: bytes, lines, documents, tokens

What is fetched lies in minibitnet in your cache folder, or in $MINIBITNET_DATA. So do, in its folder
streams, the tokens of every text of more than 67 MB that was trained on or scored, 2 or 4 bytes each;
delete them as you like, they are made anew. Each of the four has a --help."""

SIZES = {"stories": 1_400_000, "pets": 151_600}       # bytes: 2,518 stories, 2,000 pets


def main(argv):
    """argv -> exit code."""
    actions = {"make": make_text, "fetch": fetch_text, "list": list_texts, "info": measure}
    return _command.dispatch("data", DESCRIPTION, actions, argv)


def make_text(argv):
    """Write a corpus of a grammar to a file."""
    parser = _command.Parser(
        "data make", "Write a text whose source is known, so that its perplexity floor is known too.")
    parser.add_argument("what", choices=WITH_GRAMMAR,
                        help="stories of half a page, or pets: one line each, of a grammar to know by heart")
    parser.add_argument("--seed", type=int, default=0, metavar="N",
                        help="another seed, from 0 to 2^32 - 1, other stories (%(default)s)")
    parser.add_argument("--size", type=_command.positive_int, metavar="BYTES",
                        help=f"about this long ({SIZES['stories']:,}; pets {SIZES['pets']:,})")
    parser.add_argument("--out", type=_command.path, metavar="FILE",
                        help="(stories.txt, or pets.txt)")
    parser.add_argument("--overwrite", action="store_true", help="replace FILE")
    args = parser.parse_args(argv)
    if not 0 <= args.seed < 2**32:
        raise UserError(f"--seed {args.seed}: expected a whole number from 0 to {2**32 - 1:,}")
    out, language = args.out or Path(f"{args.what}.txt"), entropy.languages()[args.what]
    _command.new_file(out, args.overwrite)
    data = walk.corpus(args.seed, args.size or SIZES[args.what], language).encode("utf-8")
    if not data:
        a_story = entropy.expected(language).characters + len(walk.SEPARATOR)
        raise UserError(f"--size {args.size}: expected room for a story, about {a_story:.0f} bytes")
    write_atomically(out, [data], len(data))
    print(f"{out}: {len(data):,} bytes of {args.what}, seed {args.seed}")
    return _command.DONE


def fetch_text(argv):
    """Download a corpus into the data folder, or copy it there from a file."""
    parser = _command.Parser(
        "data fetch", "Download a corpus once, check its sha256, and keep it where --data NAME finds it.")
    parser.add_argument("name", choices=tuple(DOWNLOADS))
    parser.add_argument("--from-file", type=_command.path, metavar="PATH",
                        help="a copy of the file that would be downloaded (of a zip: the zip), for rooms "
                             "without network")
    args = parser.parse_args(argv)
    download = DOWNLOADS[args.name]
    with _command.bar(total=download.size, unit="B", unit_scale=True) as bar:
        came = fetch(download, args.from_file, bar.update)
    print(f"{download.name}: licence {download.licence}, from {download.address}")
    for name in download.folder_names():
        path = text_path(name)
        print(f"{path}: {path.stat().st_size:,} bytes, "
              f"{'its sha256 is right' if came else 'was there already'}; use it with --data {name}")
    return _command.DONE


def list_texts(argv):
    """Print a table of the corpora that have a name."""
    _command.Parser("data list", "The corpora that have a name, and where they are.").parse_args(argv)
    rows = [("name", "bytes", "licence", "where")]
    for name in WITH_GRAMMAR:
        try:
            path = packaged(f"{name}.txt")
            rows.append((name, f"{path.stat().st_size:,}", "MIT", str(path)))
        except UserError:
            rows.append((name, "", "MIT", "missing from this installation"))
    try:
        rows.append(("pydoc", f"{load_corpus('pydoc').size:,}", "PSF", "part of Python"))
    except UserError:
        rows.append(("pydoc", "", "PSF", "this Python was installed without it"))
    for d in DOWNLOADS.values():
        for name in d.folder_names():
            path = text_path(name)
            there = path.is_file()
            where = str(path) if there else "not fetched" + f" (part of {d.name})" * (name != d.name)
            rows.append((name, f"{path.stat().st_size if there else d.size:,}", d.licence, where))
    for name, size, licence, where in rows:
        print(f"{name:20} {size:>12}  {licence:16}  {where}")
    print(f"\npython -m minibitnet.data fetch NAME puts one into {data_folder()}. The bytes of one that is "
          f"not fetched are its download's.")
    return _command.DONE


def measure(argv):
    """Print what a text is made of, and its tokens under a tokenizer."""
    parser = _command.Parser("data info", "Measure a text: any file, or a corpus that has a name.")
    parser.add_argument("file", metavar="FILE", help="a UTF-8 text file, or a name from `list`")
    parser.add_argument("--tokenizer", metavar="SPEC",
                        help="also count tokens: char, byte, bpe:SIZE, or the path of a tokenizer.json or "
                             "rank file")
    args = parser.parse_args(argv)
    corpus = load_corpus(args.file)
    bar = partial(_command.bar, total=corpus.size, unit="B", unit_scale=True)
    length, lines, last, characters = 0, 0, "", set()
    with bar() as progress:
        for text in corpus.chunks(progress.update):
            length, lines, last = length + len(text), lines + text.count("\n"), text[-1:] or last
            characters |= set(text)
    found = f"{number_of_documents(corpus):,}" if corpus.has_documents else "none (no line <|endoftext|>)"
    print(f"bytes       {corpus.size:,}\n"
          f"sha256      {corpus.sha256}\n"
          f"characters  {length:,}, {len(characters):,} of them distinct\n"
          f"lines       {lines + (last != chr(10)):,}\n"
          f"replaced    {corpus.replaced_in_words or '0 places are not UTF-8'}\n"
          f"documents   {found}")
    if args.tokenizer:
        tokenizer = make_tokenizer(args.tokenizer, texts(corpus), corpus.has_documents, _command.learning)
        with bar() as progress:
            tokens, ends, bytes_each = count(corpus, tokenizer, progress.update)
        but = f" but for {ends:,} ends of documents" if ends else ""
        print(f"tokens      {tokens:,} of {args.tokenizer}, {bytes_each:.3f} bytes each{but}")
    return _command.DONE


def number_of_documents(corpus):
    """How many documents that are not empty a corpus has."""
    n, empty = 0, True
    for piece in pieces(corpus.chunks()):
        n += empty and piece is not DOCUMENT_END              # the first piece of a document
        empty = piece is DOCUMENT_END
    return n


if __name__ == "__main__":
    _command.run(main)
