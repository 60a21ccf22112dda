"""Where the project's folder data/ is: in a checkout beside the package, in a wheel inside it."""
from pathlib import Path

from .errors import UserError


def packaged(name):
    """The path of a file of data/ ("stories.txt", "paper/b1_table_1.json"), which a wheel carries as
    minibitnet/_data."""
    in_wheel, root = Path(__file__).parent / "_data", checkout()
    for folder in (in_wheel, root and root / "data"):
        if folder and (folder / name).is_file():
            return folder / name
    raise UserError(f"{name} is neither in {in_wheel} nor in the data folder of a checkout: is this "
                    f"installation complete?")


def checkout():
    """The folder of the checkout that this package is in, or None: a folder site-packages/data is somebody
    else's."""
    folder = Path(__file__).parent.parent
    return folder if (folder / "pyproject.toml").is_file() else None
