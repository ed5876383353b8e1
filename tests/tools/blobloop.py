#!/usr/bin/env python3
"""What a serial replication costs: lists one blob-server, and for each id HEAD at the other, GET here and POST there.

usage: blobloop.py FROM-PORT TO-PORT

One connection to each, kept open where the server lets it be, and no more work for a request than it takes.
"""
import json
import socket
import sys


class Connection:
    def __init__(self, port):
        self.port, self.sock, self.file = port, None, None

    def ask(self, method, path, body=None):
        if self.sock is None:
            self.sock = socket.create_connection(("127.0.0.1", self.port))
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.file = self.sock.makefile("rb", 65536)
        length = b"" if body is None else b"Content-Length: %d\r\n" % len(body)
        self.sock.sendall(b"%s %s HTTP/1.1\r\nHost: x\r\n%s\r\n%s" % (method, path, length, body or b""))
        status = int(self.file.readline().split()[1])
        size, chunked, close = 0, False, False
        while (line := self.file.readline().lower()) != b"\r\n":
            if line.startswith(b"content-length:"):
                size = int(line[15:])
            chunked |= line.startswith(b"transfer-encoding:")
            close |= line.startswith(b"connection: close")
        content = b"" if method == b"HEAD" else self.chunks() if chunked else self.file.read(size)
        if close:
            self.sock.close()
            self.sock = None
        return status, content

    def chunks(self):
        parts = []
        while size := int(self.file.readline(), 16):
            parts.append(self.file.read(size))
            self.file.readline()
        self.file.readline()
        return b"".join(parts)


def main():
    source, target = Connection(int(sys.argv[1])), Connection(int(sys.argv[2]))
    for name in json.loads(source.ask(b"GET", b"/blobs")[1]):
        path = b"/blob/" + name.encode()
        if target.ask(b"HEAD", path)[0] == 200:
            continue
        status, content = source.ask(b"GET", path)
        if status != 200 or target.ask(b"POST", path, content)[0] != 200:
            sys.exit("%s failed" % name)


main()
