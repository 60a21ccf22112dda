import json

import pytest

from minibitnet.errors import UserError
from minibitnet.formats.rundir import RunDirectory
from minibitnet.text.tokenizer import ByteTokenizer

CONFIG = {"model": {}, "train": {"steps": 3}, "corpus": {}}


def test_metrics_pass_over_what_is_not_a_line_of_ours(tmp_path):
    """Half a line, another object, an array, bytes that are not UTF-8: only the two whole lines remain."""
    run = RunDirectory(tmp_path)
    (tmp_path / "metrics.jsonl").write_bytes(b'{"step": 1, "loss": 2.0}\n{"a"}\n[1]\n{"loss": 1}\n'
                                             b'\xff\xfe\n{"step": 2}\n{"step": 3, "lo')
    assert [line["step"] for line in run.metrics()] == [1, 2]


def test_resume_keeps_the_lines_up_to_the_checkpoint_and_removes_litter(tmp_path):
    """Line 2 belongs to a step that will be made again."""
    run = RunDirectory(tmp_path / "run")
    run.create(CONFIG, ByteTokenizer())
    run.log({"step": 1})
    run.log({"step": 2})
    run.close()
    (tmp_path / "run/last.safetensors.tmp-123").write_bytes(b"half")
    assert run.resume(CONFIG) == (None, None)
    run.cut_metrics(1)
    run.close()
    assert run.metrics() == [{"step": 1}] and not list((tmp_path / "run").glob("*.tmp-*"))


def test_a_run_is_not_replaced_unasked(tmp_path):
    run = RunDirectory(tmp_path / "run")
    run.create(CONFIG, ByteTokenizer())
    run.close()
    for options in ({}, {"replace_finished": True}):
        with pytest.raises(UserError, match="holds an unfinished run"):
            RunDirectory(tmp_path / "run").create(CONFIG, ByteTokenizer(), **options)
    (tmp_path / "run/notes.txt").write_text("mine")
    run.create(CONFIG | {"corpus": {"name": "new"}}, ByteTokenizer(), overwrite=True)
    run.close()
    assert json.loads((tmp_path / "run/config.json").read_text())["corpus"] == {"name": "new"}
    assert (tmp_path / "run/notes.txt").read_text() == "mine"           # what is not the run's own stays
