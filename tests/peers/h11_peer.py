#!/usr/bin/env python3
"""h11 as a second opinion on HTTP/1.

    h11_peer.py    reads a line of hexadecimal bytes, prints the requests in them as JSON: [[METHOD, TARGET, LENGTH or null]...]
"""

import json
import sys

import h11


def requests(stream):
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    connection.receive_data(stream)
    connection.receive_data(b"")
    seen = []
    try:
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Request):
                # None until its end was seen.
                seen.append([event.method.decode(), event.target.decode("latin-1"), None])
                length = 0
            elif isinstance(event, h11.Data):
                length += len(event.data)
            elif isinstance(event, h11.EndOfMessage):
                seen[-1][2] = length
            elif event is h11.PAUSED:
                connection.send(h11.Response(status_code=200, headers=[("content-length", "0")]))
                connection.send(h11.EndOfMessage())
                connection.start_next_cycle()
            else:
                return seen
    except (h11.RemoteProtocolError, h11.LocalProtocolError):
        return seen


def main():
    for line in sys.stdin:
        print(json.dumps(requests(bytes.fromhex(line))), flush=True)


if __name__ == "__main__":
    main()
