"""Python imports this first where its folder is on PYTHONPATH: no notebook needs a network."""
import socket

_connect = socket.socket.connect


def connect(self, address):
    """Only to this machine, where a notebook's own front end is."""
    here = ("127.0.0.1", "::1", "localhost")
    if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in here:
        raise OSError(f"no network for notebooks: {address}")
    return _connect(self, address)


socket.socket.connect = connect
