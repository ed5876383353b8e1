#!/usr/bin/env python3
"""A SoS blob-server for tests: answers as the original does, and misbehaves on demand.

usage: blobserver.py DIR [--port N] [--log FILE] [--control FILE] [--delete] [--keep-open] [--delay S]

Listens on 127.0.0.1 and prints its port. --delete: it takes DELETE, as the original does not; --keep-open: HEAD does not
close the connection, as in the original it does; --delay: each answer comes S seconds late, as from a disk or over a
network, while others are worked on. With --log each request becomes a line "METHOD PATH". With --control
the lines of a file say how to misbehave; it is read again when it changes:

    PATTERN ACTION [COUNT]      e.g.  "GET /blob/*" 500 2

PATTERN is a shell pattern for "METHOD PATH" (quoted as in a shell). COUNT: only so many times. ACTION:
    500 404 403 ...  that status, with a page        retry=S     503 with Retry-After: S
    slow=S           answers S seconds late          full        500, as the original when its disk is full
    cut=N            N bytes of the body, then cut   close       closes without an answer
    body=TEXT        200 with this body              corrupt     200, with the first byte of the body changed
    nolength         200 with neither length nor chunks, ended by closing
    page             200 with a page that is not what was asked for
    delete           it takes DELETE after all
"""
import argparse
import asyncio
import fnmatch
import json
import os
import re
import shlex
import sys

ID = re.compile(r"^[a-z0-9]+$")
REASONS = {200: "OK", 201: "Created", 204: "No Content", 301: "Moved Permanently", 403: "Forbidden", 404: "Not Found",
           429: "Too Many Requests", 500: "Internal Server Error", 503: "Service Unavailable", 507: "Insufficient Storage"}


def canonical(name):
    """As Go's textproto has header names."""
    return "-".join(part[:1].upper() + part[1:].lower() for part in name.split("-"))


def go_json(fields):
    """As Go's encoder writes a map of strings."""
    text = json.dumps(fields, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    for char in "&<>\u2028\u2029":
        text = text.replace(char, "\\u%04x" % ord(char))
    text = text.replace("\\b", "\\u0008").replace("\\f", "\\u000c").replace("\x7f", "\x7f")
    return text.encode("utf-8", "surrogateescape")


class Rules:
    def __init__(self, path):
        self.path, self.seen, self.rules = path, None, []

    def action(self, what):
        if not self.path:
            return None
        try:
            st = os.stat(self.path)
        except FileNotFoundError:
            return None
        if self.seen != (st.st_mtime_ns, st.st_size, st.st_ino):
            self.seen = (st.st_mtime_ns, st.st_size, st.st_ino)
            with open(self.path) as f:
                lines = [shlex.split(line, comments=True) for line in f]
            self.rules = [[w[0], w[1], int(w[2]) if len(w) > 2 else -1] for w in lines if len(w) > 1]
        for rule in self.rules:
            if rule[2] != 0 and fnmatch.fnmatchcase(what, rule[0]):
                rule[2] -= 1
                return rule[1]
        return None


class Server:
    def __init__(self, args):
        self.dir, self.rules, self.can_delete = args.dir, Rules(args.control), args.delete
        self.keep_open = args.keep_open
        self.always = "slow=%f" % args.delay if args.delay else None
        self.log = open(args.log, "a", buffering=1) if args.log else None
        os.makedirs(self.dir, exist_ok=True)

    def path(self, name):
        return os.path.join(self.dir, name)

    def error(self, status, text):
        """As Go's http.Error."""
        return status, [("Content-Type", "text/plain; charset=utf-8"), ("X-Content-Type-Options", "nosniff")], \
            (text + "\n").encode()

    def answer(self, method, path, headers, body):
        if method == "GET" and path == "/alive":
            return 200, [("Content-Type", "text/plain; charset=utf-8")], b"alive"
        if method == "GET" and path == "/blobs":
            names = sorted(n for n in os.listdir(os.fsencode(self.dir)) if not n.endswith(b".json"))
            text = json.dumps([n.decode("utf-8", "replace") for n in names], ensure_ascii=False, separators=(",", ":"))
            return 200, [("Content-Type", "text/plain; charset=utf-8")], text.encode()
        if path.startswith("/blob/") and "/" not in path[6:] and path[6:] and \
                method in ("GET", "HEAD", "POST") + (("DELETE",) if self.can_delete else ()):
            if not ID.match(path[6:]):
                return self.error(500, "alphanumeric IDs only")
            return getattr(self, method.lower())(path[6:], headers, body)
        return 404, [("Content-Type", "text/plain; charset=utf-8")], b"404 - content is not hosted here."

    def head(self, name, headers, body):
        return (200 if os.path.exists(self.path(name)) else 404), [] if self.keep_open else [("Connection", "close")], None

    def get(self, name, headers, body):
        try:
            with open(self.path(name), "rb") as f:
                content = f.read()
        except OSError:
            return self.error(404, "404 page not found")
        out = [("Content-Type", "application/octet-stream")] if content else []
        try:
            with open(self.path(name) + ".json", "rb") as f:
                meta = json.loads(f.read().decode("utf-8", "surrogateescape"))
            out += sorted(meta.items())
            out = [h for h in out if h[0] != "Content-Type" or "X-Mime-Type" not in meta]
            if "X-Mime-Type" in meta:
                out.append(("Content-Type", meta["X-Mime-Type"]))
        except OSError:
            pass
        return 200, out, content

    def post(self, name, headers, body):
        meta = {}
        for key, value in headers:
            key = canonical(key)
            if key.startswith("X-") and key not in meta:
                meta[key] = value
        try:
            with open(self.path(name), "wb") as f:
                f.write(body)
            if meta:
                with open(self.path(name) + ".json", "wb") as f:
                    f.write(go_json(meta))
        except OSError:
            return self.error(500, "failed to write to storage")
        return 200, [("Content-Type", "text/plain; charset=utf-8")], go_json({"id": name, "status": "OK"})[:-1] + \
            b',"size":%d}' % len(body)

    def delete(self, name, headers, body):
        try:
            os.unlink(self.path(name))
        except OSError:
            return self.error(404, "404 page not found")
        if os.path.exists(self.path(name) + ".json"):
            os.unlink(self.path(name) + ".json")
        return 204, [], b""


class Connection(asyncio.Protocol):
    def __init__(self, server):
        self.server, self.buffer, self.busy, self.request = server, bytearray(), False, None

    def connection_made(self, transport):
        self.transport = transport
        self.room = asyncio.Event()
        self.room.set()

    def connection_lost(self, exc):
        self.room.set()

    def pause_writing(self):
        self.room.clear()

    def resume_writing(self):
        self.room.set()

    def data_received(self, data):
        self.buffer += data
        if not self.busy:
            self.work()

    def work(self):
        while not self.busy and not self.transport.is_closing():
            got = self.take()
            if got is None:
                return
            self.handle(*got)

    def take(self):
        """One whole request from the buffer, or None."""
        if self.request is None:
            end = self.buffer.find(b"\r\n\r\n")
            if end < 0:
                return None
            lines = bytes(self.buffer[:end]).decode("utf-8", "surrogateescape").split("\r\n")
            del self.buffer[:end + 4]
            method, path, version = lines[0].split(" ")
            headers = [(k, v.strip(" \t")) for k, _, v in (line.partition(":") for line in lines[1:])]
            low = {k.lower(): v for k, v in headers}
            self.request = (method, path, headers, low, version)
            self.body = bytearray()
            self.want = int(low.get("content-length", 0))
            if low.get("expect", "").lower() == "100-continue":
                self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        low = self.request[3]
        if "chunked" in low.get("transfer-encoding", ""):
            if not self.take_chunks():
                return None
        else:
            if len(self.buffer) < self.want:
                return None
            self.body = self.buffer[:self.want]
            del self.buffer[:self.want]
        request, self.request = self.request, None
        return request, bytes(self.body)

    def take_chunks(self):
        while True:
            end = self.buffer.find(b"\r\n")
            if end < 0:
                return False
            size = int(bytes(self.buffer[:end]).split(b";")[0], 16)
            if len(self.buffer) < end + 2 + size + 2:
                return False
            self.body += self.buffer[end + 2:end + 2 + size]
            del self.buffer[:end + 2 + size + 2]
            if size == 0:
                return True

    def handle(self, request, body):
        method, path, headers, low, version = request
        if self.server.log:
            self.server.log.write("%s %s\n" % (method, path))
        action = self.server.rules.action(method + " " + path) or self.server.always
        closing = low.get("connection", "").lower() == "close" or version == "HTTP/1.0"
        if action:
            self.busy = True
            asyncio.ensure_future(self.misbehave(action, method, path, headers, body, closing))
            return
        self.send(method, self.server.answer(method, path, headers, body), closing)

    def send(self, method, answer, closing, cut=None, length=True):
        status, headers, body = answer
        closing |= any(h == ("Connection", "close") for h in headers)
        lines = ["HTTP/1.1 %d %s" % (status, REASONS.get(status, "Status"))]
        lines += ["%s: %s" % h for h in headers]
        if closing and not any(h[0] == "Connection" for h in headers):
            lines.append("Connection: close")
        chunked = body is not None and len(body) > 2048 and length
        if body is not None and length and status != 204:
            lines.append("Transfer-Encoding: chunked" if chunked else "Content-Length: %d" % len(body))
        head = ("\r\n".join(lines) + "\r\n\r\n").encode("utf-8", "surrogateescape")
        body = body if body is not None and method != "HEAD" else b""
        if cut is not None:
            whole, body = body, body[:cut]
        if chunked:
            parts = []
            for at in range(0, len(body), 32768):
                piece = body[at:at + 32768]
                parts.append(b"%x\r\n%s\r\n" % (len(piece), piece))
            body = b"".join(parts) + (b"" if cut is not None else b"0\r\n\r\n")
        self.transport.write(head + body)
        if closing or cut is not None or not length:
            self.transport.close()

    async def misbehave(self, action, method, path, headers, body, closing):
        name, _, value = action.partition("=")
        good = None
        cut, length = None, True
        if name == "slow":
            await asyncio.sleep(float(value))
        elif name == "close":
            self.transport.abort()
        elif name == "full":
            good = self.server.error(500, "failed to write to storage")
        elif name == "retry":
            good = 503, [("Retry-After", value)], b"later\n"
        elif name == "body":
            good = 200, [], value.encode()
        elif name == "page":
            good = 200, [("Content-Type", "text/html")], b"<html><title>404 page not found</title></html>"
        elif name == "cut":
            cut = int(value)
        elif name == "delete":
            good = self.server.delete(path[6:], headers, body)
        elif name == "nolength":
            length = False
        elif name == "corrupt":
            status, head, content = self.server.answer(method, path, headers, body)
            good = status, head, bytes([content[0] ^ 1]) + content[1:]
        elif name.isdigit():
            good = self.server.error(int(name), "%s page" % name)
        if not self.transport.is_closing():
            if good is None:
                good = self.server.answer(method, path, headers, body)
            self.send(method, good, closing, cut, length)
        self.busy = False
        self.work()


async def serve(args):
    server = Server(args)
    loop = asyncio.get_running_loop()
    listening = await loop.create_server(lambda: Connection(server), "127.0.0.1", args.port, backlog=256)
    print(listening.sockets[0].getsockname()[1], flush=True)
    async with listening:
        await listening.serve_forever()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("dir")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--log")
    parser.add_argument("--control")
    parser.add_argument("--delete", action="store_true")
    parser.add_argument("--keep-open", action="store_true")
    parser.add_argument("--delay", type=float, default=0)
    try:
        asyncio.run(serve(parser.parse_args()))
    except KeyboardInterrupt:
        sys.exit(0)


main()
