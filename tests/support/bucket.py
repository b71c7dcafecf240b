"""A bucket of Google Cloud Storage's JSON API on this machine, for the real clients to talk to.

What is here is what gcsfs, tensorstore and google-cloud-storage ask for: objects with generations
and preconditions, uploads of all three kinds, ranges, listings by prefix and delimiter in pages.
Anything else is answered by 501, so that a test which needs more fails.
"""

import base64
import hashlib
import itertools
import json
import re
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

PAGE = 1000  # names in a page of a listing, as the service has it
OBJECT = re.compile(r"(?:/download)?/storage/v1/b/([^/]+)/o/([^/]+)")
OBJECTS = re.compile(r"/storage/v1/b/([^/]+)/o")
BUCKET = re.compile(r"/storage/v1/b/([^/]+)")
UPLOAD = re.compile(r"/(?:resumable/)?upload/storage/v1/b/([^/]+)/o")


class Refusal(Exception):
    """An answer that is an error, by its HTTP status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Stored(NamedTuple):
    content: bytes
    generation: int
    updated: str


class Store(ThreadingHTTPServer):
    """Buckets by name, each a dict of objects by name.

    Attributes:
      next_statuses: refusals for the next requests about objects, in order, such as [503, 429];
        google-cloud-storage asks for a bucket's own description whenever it likes.
      lost: what of the next requests is lost with their connection, in order: "request", which
        then never came, "answer", or nothing, "".
      log: (method, path with query) of every request.
    """

    daemon_threads = True
    request_queue_size = 128  # 5 by default: more clients at once than that would be turned away

    def __init__(self, *buckets: str) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.buckets: dict[str, dict[str, Stored]] = {name: {} for name in buckets}
        self.uploads: dict[str, tuple[str, str, dict[str, str], bytearray]] = {}
        self.finished: dict[str, dict[str, str]] = {}
        self.next_statuses: list[int] = []
        self.lost: Iterator[str] = iter(())
        self.log: list[tuple[str, str]] = []
        self.lock = threading.Lock()
        self.numbers = itertools.count()
        self._generation = time.time_ns() // 1000

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, *_: object) -> None:
        """Nothing: clients that are killed leave broken connections behind."""

    def objects(self, bucket: str) -> dict[str, Stored]:
        if bucket not in self.buckets:
            raise Refusal(404, f"The specified bucket does not exist: {bucket}")
        return self.buckets[bucket]

    def get(self, bucket: str, name: str, query: dict[str, str]) -> Stored:
        found = self.objects(bucket).get(name)
        check(found, query)
        if found is None or query.get("generation", str(found.generation)) != str(found.generation):
            raise Refusal(404, f"No such object: {bucket}/{name}")
        return found

    def put(self, bucket: str, name: str, content: bytes, query: dict[str, str]) -> Stored:
        """All of an object at once, which is what makes a write atomic."""
        with self.lock:
            check(self.objects(bucket).get(name), query)
            self._generation += 1
            updated = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
            stored = Stored(bytes(content), self._generation, updated)
            self.buckets[bucket][name] = stored
        return stored

    def delete(self, bucket: str, name: str, query: dict[str, str]) -> None:
        with self.lock:
            self.get(bucket, name, query)
            del self.buckets[bucket][name]

    def listing(self, bucket: str, query: dict[str, str]) -> dict[str, object]:
        """One page: objects below a prefix, and what stands between it and the next delimiter."""
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        most = min(int(query.get("maxResults", PAGE)), PAGE)
        begin = max(query.get("startOffset", ""), query.get("pageToken", ""))
        found: dict[str, Stored | None] = {}
        for name, stored in sorted(self.objects(bucket).items()):
            end = query.get("endOffset")
            if not name.startswith(prefix) or name < begin or (end and name >= end):
                continue
            head, cut, _ = name[len(prefix) :].partition(delimiter) if delimiter else (name, "", "")
            folder = prefix + head + cut
            found.setdefault(folder if cut else name, None if cut else stored)
            if len(found) > most:
                break
        names = list(found)
        here = {name: found[name] for name in names[:most]}
        items = [describe(bucket, name, stored) for name, stored in here.items() if stored]
        page: dict[str, object] = {"kind": "storage#objects", "items": items}
        folders = [name for name, stored in here.items() if stored is None]
        if folders:
            page["prefixes"] = folders
        if len(names) > most:
            page["nextPageToken"] = names[most]
        return page


def check(found: Stored | None, query: dict[str, str]) -> None:
    """Raises 412, or 304, where a precondition does not hold; 0 stands for "no such object"."""
    generation = str(found.generation) if found else "0"
    if query.get("ifGenerationMatch", generation) != generation:
        raise Refusal(412, "At least one of the pre-conditions you specified did not hold.")
    if query.get("ifGenerationNotMatch") == generation:
        raise Refusal(304, "")


def describe(bucket: str, name: str, stored: Stored) -> dict[str, str]:
    """An object's resource."""
    return {
        "kind": "storage#object",
        "name": name,
        "bucket": bucket,
        "generation": str(stored.generation),
        "metageneration": "1",
        "size": str(len(stored.content)),
        "md5Hash": base64.b64encode(hashlib.md5(stored.content).digest()).decode(),
        "updated": stored.updated,
        "timeCreated": stored.updated,
        "storageClass": "STANDARD",
    }


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Store
    losing = ""
    wbufsize = -1  # an answer in one packet, not a line at a time

    def handle_one(self) -> None:
        content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = urlsplit(self.path)
        self.losing = "" if BUCKET.fullmatch(parts.path) else next(self.server.lost, "")
        if self.losing == "request":
            self._hang_up()
            return
        query = {key: values[-1] for key, values in parse_qs(parts.query).items()}
        self.server.log.append((self.command, self.path))
        try:
            if self.server.next_statuses and not BUCKET.fullmatch(parts.path):
                raise Refusal(self.server.next_statuses.pop(0), "as the test wishes")
            self._serve(parts.path, query, content)
        except Refusal as refusal:
            error = {"error": {"code": refusal.status, "message": str(refusal)}}
            self._answer(json.dumps(error).encode(), refusal.status)

    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = do_HEAD = handle_one

    def _serve(self, path: str, query: dict[str, str], content: bytes) -> None:
        if match := UPLOAD.fullmatch(path):
            self._upload(unquote(match[1]), query, content)
        elif match := OBJECT.fullmatch(path):
            bucket, name = unquote(match[1]), unquote(match[2])
            if self.command == "DELETE":
                self.server.delete(bucket, name, query)
                self._answer(b"", 204)
            elif self.command == "GET" and query.get("alt") == "media":
                self._download(self.server.get(bucket, name, query))
            elif self.command == "GET":
                self._json(describe(bucket, name, self.server.get(bucket, name, query)))
            else:
                raise Refusal(501, self.command)
        elif self.command == "GET" and (match := OBJECTS.fullmatch(path)):
            self._json(self.server.listing(unquote(match[1]), query))
        elif self.command == "GET" and (match := BUCKET.fullmatch(path)):
            self.server.objects(unquote(match[1]))
            self._json({"kind": "storage#bucket", "name": unquote(match[1])})
        else:
            raise Refusal(501, f"{self.command} {path}")

    def _download(self, stored: Stored) -> None:
        content, headers = stored.content, {"x-goog-generation": str(stored.generation)}
        match = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if not match:
            self._answer(content, 200, headers)
            return
        begin, size = int(match[1]), len(content)
        end = min(int(match[2] or size - 1), size - 1)
        if begin > end:
            raise Refusal(416, "InvalidRange: the requested range cannot be satisfied")
        headers["Content-Range"] = f"bytes {begin}-{end}/{size}"
        self._answer(content[begin : end + 1], 206, headers)

    def _upload(self, bucket: str, query: dict[str, str], content: bytes) -> None:
        if "upload_id" in query:
            self._go_on(query["upload_id"], content)
        elif query.get("uploadType") == "resumable":
            name = query.get("name") or json.loads(content)["name"]
            self.server.objects(bucket)
            number = f"upload-{next(self.server.numbers)}"
            self.server.uploads[number] = (bucket, name, query, bytearray())
            address = f"{self.server.address}/upload/storage/v1/b/{bucket}/o?upload_id={number}"
            self._answer(b"", 200, {"Location": address})
        elif query.get("uploadType") == "multipart":
            name, body = related(self.headers["Content-Type"], content)
            self._json(describe(bucket, name, self.server.put(bucket, name, body, query)))
        else:  # uploadType=media
            stored = self.server.put(bucket, query["name"], content, query)
            self._json(describe(bucket, query["name"], stored))

    def _go_on(self, number: str, content: bytes) -> None:
        """A piece of a resumable upload; the object is there once the last one is.

        Who asks again, since the answer to the last piece was lost, gets it again.
        """
        if number in self.server.finished:
            self._json(self.server.finished[number])
            return
        bucket, name, query, received = self.server.uploads[number]
        if self.command == "DELETE":
            del self.server.uploads[number]
            raise Refusal(499, "")
        received += content
        total = self.headers.get("Content-Range", f"/{len(received)}").rpartition("/")[2]
        if total != str(len(received)):
            self._answer(b"", 308, {"Range": f"bytes=0-{len(received) - 1}"})
            return
        stored = self.server.put(bucket, name, bytes(received), query)
        del self.server.uploads[number]
        self.server.finished[number] = describe(bucket, name, stored)
        self._json(self.server.finished[number])

    def _json(self, data: object) -> None:
        self._answer(json.dumps(data).encode(), 200, {"Content-Type": "application/json"})

    def _answer(self, content: bytes, status: int, headers: dict[str, str] | None = None) -> None:
        if self.losing == "answer":
            self._hang_up()
            return
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if status not in (204, 304):
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if status not in (204, 304) and self.command != "HEAD":
            self.wfile.write(content)

    def _hang_up(self) -> None:
        """End the connection by a reset, as the network does."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass


def related(content_type: str, body: bytes) -> tuple[str, bytes]:
    """multipart/related -> the name in its JSON part, and the other part as it is."""
    boundary = content_type.partition("boundary=")[2].strip("\"'").encode()
    _, first, second, _ = re.split(rb"\r?\n?--" + re.escape(boundary), body)
    heads = [re.split(rb"\r?\n\r?\n", part, maxsplit=1)[1] for part in (first, second)]
    return json.loads(heads[0])["name"], heads[1]


@contextmanager
def serve(*buckets: str) -> Iterator[Store]:
    """A store of empty buckets, while this lasts."""
    with Store(*buckets) as store:
        threading.Thread(target=store.serve_forever, daemon=True).start()
        yield store
        store.shutdown()


def environment(store: Store) -> dict[str, str]:
    """Variables that make the clients talk to the store and to nobody else, without credentials."""
    return {
        "STORAGE_EMULATOR_HOST": store.address,
        "TENSORSTORE_GCS_HTTP_URL": store.address,
        "GOOGLE_AUTH_TOKEN_FOR_TESTING": "nobody",
        "FSSPEC_GCS_TOKEN": "anon",
        "NO_GCE_CHECK": "true",
        # gcsfs asks for a bucket's layout over gRPC, which an HTTP server does not speak.
        "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",
    }
