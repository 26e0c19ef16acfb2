"""A stand-in for the Hugging Face hub on loopback: what our client uses of its interface."""

import base64
import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

TOKEN = "hf_stand_in"


class HubServer(ThreadingHTTPServer):
    """One revision per repository, and a store of large files by checksum."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server_port}"
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.large: dict[str, bytes] = {}
        self.uploads: list[str] = []
        self.requests: list[str] = []
        self.uploads_left: int | None = None
        self.cut_downloads = 0
        self.private: list[bool] = []
        self.thread = threading.Thread(target=self.serve_forever, args=(0.01,))
        self.thread.start()

    def close(self):
        self.shutdown()
        self.thread.join()
        self.server_close()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def body(self):
        if self.headers.get("Transfer-Encoding") == "chunked":
            blocks = []
            while size := int(self.rfile.readline(), 16):
                blocks.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(blocks)
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def answer(self, content, code=200, **headers):
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(code)
        for key, value in headers.items():
            self.send_header(key.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def route(self):
        path = unquote(urlsplit(self.path).path)
        self.server.requests.append(f"{self.command} {path}")
        for pattern, method in ROUTES:
            found = re.fullmatch(f"{self.command} {pattern}", f"{self.command} {path}")
            if found:
                method(self, *found.groups())
                return
        self.answer({"error": "not here"}, 404)

    do_GET = do_POST = do_PUT = do_HEAD = route

    def allowed(self):
        if self.headers.get("Authorization") == f"Bearer {TOKEN}":
            return True
        self.answer({"error": "no write access"}, 403)
        return False

    def create(self):
        asked = json.loads(self.body())
        if not self.allowed():
            return
        name = "/".join(filter(None, (asked.get("organization"), asked["name"])))
        kind = asked.get("type") or "model"
        self.server.private.append(
            asked.get("visibility") == "private" or bool(asked.get("private"))
        )
        if f"{kind}s/{name}" in self.server.repositories:
            self.answer({"url": f"{self.server.address}/{name}"}, 409)
            return
        self.server.repositories[f"{kind}s/{name}"] = {}
        self.answer({"url": f"{self.server.address}/{name}", "name": name, "id": "1"})

    def preupload(self, repository):
        asked = json.loads(self.body())
        if repository not in self.server.repositories:
            self.answer({}, 404, X_Error_Code="RepoNotFound")
            return
        self.answer(
            {
                "files": [
                    {
                        "path": file["path"],
                        "uploadMode": "lfs" if file["path"].endswith(".tar") else "regular",
                        "shouldIgnore": False,
                    }
                    for file in asked["files"]
                ]
            }
        )

    def batch(self, _):
        objects = [
            {"oid": wanted["oid"], "size": wanted["size"]}
            | (
                {}
                if wanted["oid"] in self.server.large
                else {"actions": {"upload": {"href": f"{self.server.address}/lfs/{wanted['oid']}"}}}
            )
            for wanted in json.loads(self.body())["objects"]
        ]
        self.answer({"transfer": "basic", "objects": objects})

    def upload(self, oid):
        data = self.body()
        if self.server.uploads_left == 0:
            self.answer({"error": "down"}, 400)
            return
        if self.server.uploads_left is not None:
            self.server.uploads_left -= 1
        assert hashlib.sha256(data).hexdigest() == oid
        self.server.large[oid] = data
        self.server.uploads.append(oid)
        self.answer(b"")

    def validate(self):
        asked = json.loads(self.body())
        assert asked["content"].startswith("---\n")
        self.answer({"errors": [], "warnings": []})

    def commit(self, repository):
        lines = [json.loads(line) for line in self.body().splitlines()]
        if not self.allowed():
            return
        files = self.server.repositories[repository]
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.server.large[value["oid"]]
            elif line["key"] == "deletedFile":
                del files[value["path"]]
        oid, name = "c" * 40, repository.removeprefix("models/")
        self.answer({"commitUrl": f"{self.server.address}/{name}/commit/{oid}", "commitOid": oid})

    def tree(self, repository, folder):
        if repository not in self.server.repositories:
            self.answer({}, 404, X_Error_Code="RepoNotFound")
            return
        below = f"{folder}/" if folder else ""
        files = self.server.repositories[repository]
        found = [
            {"type": "file", "path": path, "size": len(data), "oid": "0" * 40}
            for path, data in sorted(files.items())
            if path.startswith(below)
        ]
        if below and not found:
            self.answer({}, 404, X_Error_Code="EntryNotFound")
            return
        self.answer(found)

    def resolve(self, kind, repository, path):
        data = self.server.repositories.get(f"{kind or 'models/'}{repository}", {}).get(path)
        if data is None:
            self.answer({}, 404, X_Error_Code="EntryNotFound")
            return
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        start = int(wanted[1]) if wanted else 0
        headers = {"ETag": f'"{hashlib.sha256(data).hexdigest()}"', "X-Repo-Commit": "c" * 40}
        self.send_response(206 if wanted else 200)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(data) - start))
        if wanted:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.end_headers()
        if self.command == "HEAD":
            return
        rest = data[start:]
        if self.server.cut_downloads and path.endswith(".tar"):
            self.server.cut_downloads -= 1
            self.wfile.write(rest[: len(rest) // 2])
            self.close_connection = True
            return
        self.wfile.write(rest)

    def log_message(self, *_):
        pass


_NAME = r"([\w.-]+/[\w.-]+)"
_KIND = r"((?:models|datasets)/[\w.-]+/[\w.-]+)"
ROUTES = [
    (r"/api/repos/create", Handler.create),
    (rf"/api/{_KIND}/preupload/[\w.-]+", Handler.preupload),
    (rf"/(?:datasets/)?{_NAME}\.git/info/lfs/objects/batch", Handler.batch),
    (r"/lfs/([0-9a-f]{64})", Handler.upload),
    (r"/api/validate-yaml", Handler.validate),
    (rf"/api/{_KIND}/commit/[\w.-]+", Handler.commit),
    (rf"/api/{_KIND}/tree/[\w.-]+(?:/(.+))?", Handler.tree),
    (rf"/(datasets/)?{_NAME}/resolve/[\w.-]+/(.+)", Handler.resolve),
]
