"""The pages of data/results: every figure comes from a file there, which says by which command, where and
when it was made. A page is a function of its records, so a test can make it again and compare.
"""
from functools import partial
from pathlib import Path

from ..course import poster
from ..errors import UserError
from ..files import write_atomically
from ..measure import results
from . import engines_page, quality_page, ranks_page, report, speed_page, trained_page
from .catalogue import EXPERIMENTS
from .claims import rows
from .markdown import page, record, table

RECORDS = ("recipes", "train", "compile", "profile", *engines_page.DECODING, engines_page.PROMPTS, "kernels",
           *engines_page.INTEROP, *ranks_page.RECORDS, "latency", "throughput", "kv_cache", "exact",
           "stories-text")


def write(folder):
    """Write every page and draw every picture -> the names of the files; UserError, and no page, where a
    record is missing, or is not the one that a page is made of."""
    for name in RECORDS:
        record(name)
    for name, text in {name: made(name) for name in PAGES}.items():
        write_atomically(folder / name, [text.encode()], len(text.encode()))
    return [*PAGES, *(name for name, draw in PICTURES.items() if draw(folder / name))]


def made(name):
    """The text of a page; UserError where its records lack something."""
    try:
        return PAGES[name]()
    except (LookupError, TypeError, ValueError, AttributeError) as e:
        raise UserError(f"{name}: a record that it is made of lacks something ({type(e).__name__}: {e}): "
                        f"expected {', '.join(RECORDS)} as data/README.md says how to make them") from e


def index():
    """The list of pages and of files."""
    lines = []
    for name in sorted(path.stem for path in results.home().glob("*.json")):
        found = record(name)
        where = found["environment"]
        lines.append((f"[{name}.json]({name}.json)", f"`{found['command']}`", found.get("date", ""),
                      results.machine(found), where["numpy"], where.get("blas_kernel") or ""))
    text = ("Pages that `python -m minibitnet.reproduce pages` makes from the files beside them: what "
            "trained models reach ([quality](quality.md)), what the papers' trained rows need "
            "([trained](trained.md)), how fast they are trained ([speed](speed.md)), on several ranks too "
            "([ranks](ranks.md)), and run ([engines](engines.md)), and the papers, row by row "
            "([papers](papers.md)).")
    head = ("file", "command", "date", "machine", "NumPy", "BLAS kernel")
    return page("# Results", text, table(head, lines))


def papers():
    """The papers, row by row: what is counted, and what a record holds; of what depends on the machine that
    runs it, the command."""
    text, _, _ = report.page(rows(), Path("papers.md"), tell=lambda name: None,
                             draw=lambda experiment, result, path: experiment.figure is not None,
                             runs=lambda experiment: not (experiment.measured or experiment.full))
    return text


def draw_for_papers(name, path):
    """The picture of an experiment, of its record where there is one."""
    experiment, found = EXPERIMENTS[name], results.load(name)
    return report.draw(experiment, found["result"] if found else experiment.quick(), path)


PAGES = {"README.md": index, "quality.md": quality_page.quality, "speed.md": speed_page.speed,
         "ranks.md": ranks_page.ranks, "engines.md": engines_page.engines, "papers.md": papers,
         "trained.md": trained_page.trained}
PICTURES = {"quality.png": quality_page.draw, "speed.png": speed_page.draw,
            "ranks.png": ranks_page.draw, "engines.png": engines_page.draw, **trained_page.PICTURES,
            "poster.svg": poster.save} | {
    f"papers-{name}.png": partial(draw_for_papers, name)
    for name, experiment in EXPERIMENTS.items() if experiment.figure}
