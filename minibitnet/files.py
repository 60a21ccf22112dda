"""Files that are written whole or not at all, and what stands where one was expected."""
import contextlib
import errno
import os
import shlex
import shutil

from .errors import FileError, UserError, brief


def write_atomically(path, chunks, size, keep=None):
    """Write chunks (bytes-like) to path by way of path.tmp-PID: flushed to the disk, then renamed over path.
    A crash between the two renames leaves only ``keep``, whole: whoever reads path looks there next."""
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, "expected a file to write, this is a directory", str(path))
    if path.is_char_device() or path.is_block_device():      # a rename would put a file in the device's place
        raise OSError(errno.EINVAL, "expected a file to write, this is a device", str(path))
    temporary = path.with_name(f"{path.name}.tmp-{os.getpid()}")
    try:
        with open(temporary, "wb") as f:
            for chunk in chunks:
                f.write(chunk)
            f.flush()
            os.fsync(f.fileno())
        if keep is not None and path.exists():
            os.replace(path, keep)
        os.replace(temporary, path)
        sync_directory(path.parent)
    except OSError as e:
        space = f"{size:,} bytes needed, {free_space(path.parent)} free"
        raise FileError(e.errno, f"cannot write {path}: {e.strerror} ({space})") from None
    finally:                                     # also after Ctrl-C, or where the chunks raised
        with contextlib.suppress(OSError):       # never made, or the disk is read-only
            temporary.unlink()


def found(path):
    """What is there in place of a file, in words."""
    if path.is_symlink() and not path.exists():                  # or in a circle
        return f"a symbolic link to {os.readlink(path)}, which leads nowhere"
    return ("a directory" if path.is_dir() else "a file" if path.is_file() else
            "not a regular file" if path.exists() else "nothing")


def typed(flag, value):
    """A flag with its value as a shell takes them."""
    value = str(value)
    return f"{flag}{'=' if value.startswith('-') else ' '}{shlex.quote(value)}"


def directory_to_write(path):
    """The path of a directory to write to; UserError for what is none. ("" would be the current folder.)"""
    if not isinstance(path, str | os.PathLike) or not os.fspath(path):
        raise UserError(f"{brief(path)}: expected the name of a directory to write to")
    return possible(path)


def possible(path):
    """The path; UserError where none can be so long, or have a NUL in it."""
    try:
        os.lstat(path)
    except ValueError:
        raise UserError(f"{brief(path)}: expected a path, which has no NUL in it") from None
    except OSError as e:
        if e.errno == errno.ENAMETOOLONG:
            raise UserError(f"{brief(path)}: expected a path, this is too long for one") from None
    return path


def check_space(path, needed):
    """UserError where the disk of a path, which need not be there yet, has fewer bytes free."""
    existing = next(p for p in (path, *path.absolute().parents) if p.exists())
    with contextlib.suppress(OSError):                       # of a disk that does not tell
        free = shutil.disk_usage(existing).free
        if free < needed:
            raise UserError(f"{path}: the checkpoints need {needed:,} bytes, the disk has {free:,} free")


def sync_directory(path):
    """Make a rename durable, where the system lets a directory be opened (not on Windows) and the disk knows
    of it (some network disks do not)."""
    if os.name == "posix":
        fd = os.open(path, os.O_RDONLY)
        try:
            os.fsync(fd)
        except OSError as e:
            if e.errno not in (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS):
                raise
        finally:
            os.close(fd)


def free_space(path):
    """Free bytes on the disk of path, as text."""
    try:
        return f"{shutil.disk_usage(path).free:,}"
    except OSError:
        return "unknown"


def read_at_most(f, n):
    """What a file that was opened still has, but n bytes at most. (Asked for them, Python would set aside n
    bytes before it reads the first.)"""
    return f.read(min(n, max(0, os.fstat(f.fileno()).st_size - f.tell())))


def read_text(path, errors="strict"):
    """The text of a small file, a byte order mark dropped; UserError for a path that is no regular file (a
    FIFO would be waited for without end, a device may have no end)."""
    if path.exists() and not path.is_file():
        raise UserError(f"{path} is {found(path)}: expected a file of text")
    try:
        return path.read_text(encoding="utf-8-sig", errors=errors)
    except UnicodeDecodeError as e:
        raise UserError(f"{path}: byte {e.start:,} is not UTF-8: expected text in UTF-8 (PowerShell's > "
                        "writes UTF-16)") from None
