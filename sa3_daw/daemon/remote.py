"""The daemon's own CURVE keys: new at each start, but kept where other machines are to know them. Knows no socket."""

from __future__ import annotations

import os

import zmq

from sa3_daw.config import DaemonConfig
from sa3_daw.errors import RequestError
from sa3_daw.protocol.endpoints import check_owned

KEY_FILE = "server_key"


def server_keys(config: DaemonConfig) -> tuple[bytes, bytes]:
    """Return public and secret key. With ``listen`` they lie in the data folder, readable by their owner alone.

    Raises RequestError when the file is not to be trusted or cannot be written.
    """
    if not config.listen:
        return zmq.curve_keypair()
    path = config.data_dir / KEY_FILE
    try:
        if not path.exists():
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(zmq.curve_keypair()[1])
        if os.name == "posix":
            check_owned(path)
        secret = path.read_bytes()
        return zmq.curve_public(secret), secret
    except (OSError, ValueError, zmq.ZMQError) as error:
        raise RequestError(
            f"the server's key {path} cannot be used: {error}", field="listen", value=config.listen
        ) from error
