#!/usr/bin/env python3
"""A blob-server with other habits than the original's, for tests: streams, so that blobs may be of any size.

usage: oddserver.py DIR [--port N] [HABIT...]

Listens on 127.0.0.1 and prints its port. Habits:
    --old          HTTP/1.0: each connection is closed after one answer
    --chunked      bodies come in chunks, small ones too
    --sizes        bodies come with Content-Length, large ones too
    --created      201 for what is new, 204 for what is replaced, and no page with either
    --no-head      405 for HEAD
    --no-alive     404 for /alive
    --expect       417 for requests that ask first whether they may send (Expect: 100-continue)
    --continue     100 Continue before each answer to a POST
    --gzip         what it gives is compressed, whether asked for or not
    --redirect     301 for everything, to the same path below /moved
    --slow S       S seconds before each answer
    --early        answers a POST before its body has come, and reads that then
    --lower        header names in lower case
    --fold         a space before and behind each header's value
    --modified     Last-Modified with each blob
    --listing TEXT  the listing, in place of the true one
    --holes        zeroes become holes of the file
    --delete       takes DELETE
"""
import argparse
import email.utils
import gzip
import http.server
import json
import os
import sys
import time

PIECE = 1 << 18
ZEROES = bytes(PIECE)


class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *args):
        pass

    def handle_expect_100(self):
        if self.server.habit.expect:
            self.answer(417, b"no\n")
            return False
        return super().handle_expect_100()

    def send_header(self, key, value):
        h = self.server.habit
        super().send_header(key.lower() if h.lower else key, "  %s \t" % value if h.fold else value)

    def begin(self, status, length, headers=()):
        h = self.server.habit
        self.send_response_only(status)
        for key, value in headers:
            self.send_header(key, value)
        self.chunks = False
        if h.gzip:
            self.send_header("Content-Encoding", "gzip")
        if status == 204:
            pass
        elif (h.chunked or (length > 2048 and not h.sizes)) and not h.old:
            self.send_header("Transfer-Encoding", "chunked")
            self.chunks = True
        else:
            self.send_header("Content-Length", str(length))
        if h.old:
            self.close_connection = True
        self.end_headers()

    def piece(self, data):
        if self.chunks and data:
            self.wfile.write(b"%x\r\n" % len(data) + data + b"\r\n")
        elif data:
            self.wfile.write(data)

    def end(self):
        if self.chunks:
            self.wfile.write(b"0\r\n\r\n")

    def answer(self, status, body, headers=()):
        if self.server.habit.gzip:
            body = gzip.compress(body)
        self.begin(status, len(body), headers)
        if self.command != "HEAD" and status != 204:
            self.piece(body)
            self.end()

    def odd(self):
        """Is that all that it says?"""
        h = self.server.habit
        if h.slow:
            time.sleep(h.slow)
        if h.redirect and not self.path.startswith("/moved"):
            self.skip_body()
            self.answer(301, b"moved\n", [("Location", "/moved" + self.path)])
            return True
        self.path = self.path.replace("/moved", "", 1) if h.redirect else self.path
        return False

    def body(self):
        """The request's body, in pieces."""
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            while True:
                size = int(self.rfile.readline().split(b";")[0], 16)
                left = size
                while left:
                    data = self.rfile.read(min(left, PIECE))
                    if not data:
                        raise ConnectionError
                    left -= len(data)
                    yield data
                self.rfile.readline()
                if size == 0:
                    return
        left = int(self.headers.get("Content-Length", 0))
        while left:
            data = self.rfile.read(min(left, PIECE))
            if not data:
                raise ConnectionError
            left -= len(data)
            yield data

    def skip_body(self):
        for _ in self.body():
            pass

    def file(self):
        name = self.path[6:]
        good = self.path.startswith("/blob/") and name.isascii() and name.isalnum() and name == name.lower()
        return os.path.join(self.server.habit.dir, name) if good else None

    def do_GET(self):
        h = self.server.habit
        if self.odd():
            return
        if self.path == "/alive":
            self.answer(404 if h.no_alive else 200, b"alive")
        elif self.path == "/blobs":
            names = sorted(n for n in os.listdir(h.dir) if not n.endswith(".json"))
            self.answer(200, (h.listing if h.listing is not None else json.dumps(names)).encode())
        elif self.file() and os.path.isfile(self.file()):
            self.give(self.file())
        else:
            self.answer(404, b"404 page not found\n")

    def do_HEAD(self):
        if self.odd():
            return
        there = self.file() and os.path.isfile(self.file())
        self.answer(405 if self.server.habit.no_head else 200 if there else 404, b"")

    def do_DELETE(self):
        if self.odd():
            return
        if self.server.habit.delete and self.file() and os.path.isfile(self.file()):
            os.unlink(self.file())
            self.answer(200, b"gone\n")
        else:
            self.answer(404, b"404 - content is not hosted here.")

    def give(self, path):
        h = self.server.habit
        headers = []
        if os.path.exists(path + ".json"):
            with open(path + ".json") as f:
                headers = list(json.load(f).items())
        if h.modified:
            headers.append(("Last-Modified", email.utils.formatdate(os.stat(path).st_mtime, usegmt=True)))
        if h.gzip:
            with open(path, "rb") as f:
                self.answer(200, f.read(), headers)
            return
        self.begin(200, os.stat(path).st_size, headers)
        with open(path, "rb") as f:
            while data := f.read(PIECE):
                self.piece(data)
        self.end()

    def do_POST(self):
        h = self.server.habit
        if self.odd():
            return
        path = self.file()
        if not path:
            self.skip_body()
            self.answer(500, b"alphanumeric IDs only\n")
            return
        was = os.path.exists(path)
        if getattr(h, "continue"):
            self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if h.early:
            self.answer(200, b'{"status":"OK"}')
        with open(path, "wb") as f:
            for data in self.body():
                if h.holes and data == ZEROES[:len(data)]:
                    f.seek(len(data), os.SEEK_CUR)
                else:
                    f.write(data)
            f.truncate()
        meta = {k.title(): v for k, v in self.headers.items() if k.lower().startswith("x-")}
        if meta:
            with open(path + ".json", "w") as f:
                json.dump(meta, f, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        if not h.early:
            self.answer(204 if h.created and was else 201 if h.created else 200, b"" if h.created else b'{"status":"OK"}')


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request, client_address):
        pass


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("dir")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--slow", type=float, default=0)
    parser.add_argument("--listing")
    for name in ("old", "chunked", "sizes", "created", "no-head", "no-alive", "expect", "continue", "gzip", "redirect", "early",
                 "lower", "fold", "modified", "holes", "delete"):
        parser.add_argument("--" + name, action="store_true")
    args = parser.parse_args()
    os.makedirs(args.dir, exist_ok=True)
    Handler.protocol_version = "HTTP/1.0" if args.old else "HTTP/1.1"
    server = Server(("127.0.0.1", args.port), Handler)
    server.habit = args
    print(server.server_address[1], flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        sys.exit(0)


main()
