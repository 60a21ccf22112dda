"""Where the files of data/ are found."""
import pytest

from minibitnet import data_files
from minibitnet.data_files import packaged
from minibitnet.errors import UserError


def test_packaged_files_are_found_in_the_wheel_or_the_checkout(tmp_path, monkeypatch):
    """In the checkout's data/ only where there is a pyproject.toml: a folder site-packages/data is somebody
    else's."""
    monkeypatch.setattr(data_files, "__file__", str(tmp_path / "minibitnet" / "data_files.py"))
    (tmp_path / "data").mkdir()
    (tmp_path / "data/f").write_text("")
    with pytest.raises(UserError, match="f is neither in"):
        packaged("f")
    (tmp_path / "pyproject.toml").write_text("")
    assert packaged("f") == tmp_path / "data/f"
    (tmp_path / "minibitnet/_data").mkdir(parents=True)
    (tmp_path / "minibitnet/_data/f").write_text("")
    assert packaged("f") == tmp_path / "minibitnet/_data/f"
