#!/usr/bin/env python3
"""The websockets package as a peer.

    websocket_peer.py ADDRESS AUTHORITY PATH TEXT...   opens ws://AUTHORITY/PATH at ADDRESS, prints what comes back for each TEXT
"""

import socket
import sys

from websockets.sync.client import connect


def main(address, authority, path, *texts):
    host, port = address.rsplit(":", 1)
    connection = socket.create_connection((host, int(port)), timeout=10)
    with connect(f"ws://{authority}{path}", sock=connection, proxy=None, open_timeout=10) as ws:
        for text in texts:
            ws.send(text)
            print(ws.recv(timeout=10))


if __name__ == "__main__":
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
