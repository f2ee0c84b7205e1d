#!/usr/bin/env python
"""A Redis in one Python process, good for a demo: no server to install, nothing kept."""

from fakeredis import TcpFakeServer

if __name__ == "__main__":
    server = TcpFakeServer(("127.0.0.1", 0))
    print(f"listening on port {server.server_address[1]}", flush=True)
    server.serve_forever()
