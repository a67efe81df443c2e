"""Files come whole and right or not at all; a server on this machine plays the network."""

import contextlib
import hashlib
import re
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

import dlpipe.data.download
from dlpipe.data.download import Download, fetch
from dlpipe.errors import DataError
from dlpipe.runs.file_manifest import cache_folder

CONTENT = bytes(range(256)) * 11


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_GET(self):
        self.server.asked.append((self.path, self.headers.get("Range")))
        getattr(self, self.path.strip("/").partition(".")[0])()

    def send(self, body, status=200, length=None, **headers):
        self.send_response(status)
        for name, value in {"Content-Length": length or len(body), **headers}.items():
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(body)

    def whole(self):
        self.send(CONTENT)

    def resumable(self):
        start = int(re.findall(r"bytes=(\d+)-", self.headers.get("Range", "bytes=0-"))[0])
        self.send(CONTENT[start:], 206 if start else 200)

    def broken(self):
        self.send(CONTENT[:700], length=len(CONTENT))

    def wrong(self):
        self.send(CONTENT[::-1])

    def large(self):
        self.send(CONTENT + b"!")

    def missing(self):
        self.send(b"no", 404)

    def busy(self):
        self.send(b"no", 503)

    def again(self):
        self.send(b"", 302, Location="/whole.bin")

    def file(self):
        self.send(b"", 302, Location="file:///etc/passwd")

    def ftp(self):
        self.send(b"", 302, Location="ftp://127.0.0.1/whole.bin")

    def https(self):
        self.send(b"", 302, Location="https://127.0.0.1/whole.bin")

    def garbage(self):
        self.wfile.write(b"this is not HTTP\r\n\r\n")


@pytest.fixture(scope="module")
def server():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.asked = []
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def pinned(server, monkeypatch):
    """Return the pin of a file whose name says how the server behaves."""
    monkeypatch.setenv("no_proxy", "*")
    server.asked.clear()

    def pinned(behavior, content=CONTENT):
        url = f"http://127.0.0.1:{server.server_port}/{behavior}.bin"
        return Download(url, hashlib.sha256(content).hexdigest(), len(content))

    return pinned


def files(folder: Path):
    return sorted(path.name for path in folder.rglob("[!.]*") if path.is_file())


def test_a_file_is_fetched_once(pinned, server, tmp_path):
    download = pinned("whole")

    path = fetch(download, cache=tmp_path)
    again = fetch(download, cache=tmp_path)

    assert path == again
    assert path.read_bytes() == CONTENT
    assert files(tmp_path) == ["whole.bin"]
    assert server.asked == [("/whole.bin", None)]


def test_what_another_process_downloads_meanwhile_is_waited_for(pinned, server, tmp_path, monkeypatch):
    @contextlib.contextmanager
    def locked(path):
        (path.parent / "whole.bin").write_bytes(CONTENT)  # the other process held the lock until now
        yield

    monkeypatch.setattr(dlpipe.data.download, "locked", locked)

    assert fetch(pinned("whole"), cache=tmp_path).read_bytes() == CONTENT
    assert server.asked == []


def test_the_lock_of_a_download_is_held_while_it_is_transferred(pinned, tmp_path, monkeypatch):
    def transfer(download, partial):
        lock = partial.with_name(".whole.bin.lock")
        code = f"import fcntl; fcntl.lockf(open({str(lock)!r}, 'a'), fcntl.LOCK_EX | fcntl.LOCK_NB)"
        assert "BlockingIOError" in subprocess.run([sys.executable, "-c", code], stderr=-1, text=True).stderr
        partial.write_bytes(CONTENT)

    monkeypatch.setattr(dlpipe.data.download, "_transfer", transfer)

    assert fetch(pinned("whole"), cache=tmp_path).read_bytes() == CONTENT


def test_what_is_in_the_cache_needs_no_network(pinned, server, tmp_path):
    path = fetch(pinned("whole"), cache=tmp_path)
    server.asked.clear()

    assert fetch(pinned("whole"), cache=tmp_path, offline=True) == path
    assert server.asked == []


def test_offline_says_what_is_missing(pinned, server, tmp_path):
    with pytest.raises(
        DataError, match=r"whole\.bin is missing and offline = true; fetch http://127.0.0.1:\d+/whole.bin"
    ):
        fetch(pinned("whole"), cache=tmp_path, offline=True)

    assert server.asked == []
    assert files(tmp_path) == []


def test_a_spoilt_copy_in_the_cache_is_fetched_again(pinned, tmp_path):
    path = fetch(pinned("whole"), cache=tmp_path)
    path.write_bytes(b"spoilt")

    assert fetch(pinned("whole"), cache=tmp_path).read_bytes() == CONTENT


def test_what_has_the_wrong_sha256_is_thrown_away(pinned, tmp_path):
    found = hashlib.sha256(CONTENT[::-1]).hexdigest()

    with pytest.raises(DataError, match=f"has sha256 {found}, expected {pinned('wrong').sha256}; it was discarded"):
        fetch(pinned("wrong"), cache=tmp_path)

    assert files(tmp_path) == []


def test_what_is_too_large_is_stopped_and_thrown_away(pinned, tmp_path):
    with pytest.raises(DataError, match="is larger than the expected 2,816 bytes"):
        fetch(pinned("large"), cache=tmp_path)

    assert files(tmp_path) == []


def test_a_transfer_that_breaks_off_is_gone_on_with(pinned, server, tmp_path):
    with pytest.raises(
        DataError, match="the connection ended after 700 of 2,816 bytes; retry to continue the download"
    ):
        fetch(pinned("broken"), cache=tmp_path)
    assert files(tmp_path) == ["broken.bin.part"]
    part = next(tmp_path.rglob("*.part"))
    part.rename(part.with_name("resumable.bin.part"))

    path = fetch(pinned("resumable"), cache=tmp_path)

    assert path.read_bytes() == CONTENT
    assert server.asked[-1] == ("/resumable.bin", "bytes=700-")
    assert files(tmp_path) == ["resumable.bin"]


def test_a_server_that_knows_no_ranges_is_asked_for_everything(pinned, tmp_path):
    folder = tmp_path / pinned("whole").sha256[:16]
    folder.mkdir()
    (folder / "whole.bin.part").write_bytes(CONTENT[:100])

    assert fetch(pinned("whole"), cache=tmp_path).read_bytes() == CONTENT


def test_a_spoilt_beginning_is_thrown_away_and_the_next_try_is_right(pinned, tmp_path):
    folder = tmp_path / pinned("resumable").sha256[:16]
    folder.mkdir()
    (folder / "resumable.bin.part").write_bytes(b"x" * 100)

    with pytest.raises(DataError, match="discarded"):
        fetch(pinned("resumable"), cache=tmp_path)

    assert fetch(pinned("resumable"), cache=tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize("length", [len(CONTENT), len(CONTENT) + 5])
def test_a_beginning_as_long_as_the_file_starts_anew(pinned, server, tmp_path, length):
    folder = tmp_path / pinned("resumable").sha256[:16]
    folder.mkdir()
    (folder / "resumable.bin.part").write_bytes(b"x" * length)

    assert fetch(pinned("resumable"), cache=tmp_path).read_bytes() == CONTENT
    assert server.asked == [("/resumable.bin", None)]


def test_a_redirect_is_followed(pinned, tmp_path):
    assert fetch(pinned("again"), cache=tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("scheme", "message"),
    [
        ("file", r"302 Found - Redirection to url 'file:///etc/passwd' is not allowed; retry to continue"),
        ("ftp", r"/ftp.bin redirects to ftp://127.0.0.1/whole.bin; redirects to a different scheme are not followed"),
        ("https", r"/https.bin redirects to https://127.0.0.1/whole.bin; redirects to a different scheme are not"),
    ],
)
def test_a_redirect_to_another_scheme_is_not_followed(pinned, server, tmp_path, scheme, message):
    with pytest.raises(DataError, match=message):
        fetch(pinned(scheme), cache=tmp_path)

    assert len(server.asked) == 1
    assert files(tmp_path) == []


@pytest.mark.parametrize(
    ("behavior", "message"),
    [
        ("missing", "missing.bin cannot be fetched to .*missing.bin: 404 Not Found; retry to continue the download"),
        ("busy", "busy.bin cannot be fetched to .*busy.bin: 503 Service Unavailable"),
        ("garbage", "garbage.bin cannot be fetched to .*: this is not HTTP"),
    ],
)
def test_what_the_server_says_is_told(pinned, tmp_path, behavior, message):
    with pytest.raises(DataError, match=message):
        fetch(pinned(behavior), cache=tmp_path)

    assert files(tmp_path) == []


def test_a_server_that_is_not_there_is_named(pinned, tmp_path):
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as gone:
        url = f"http://127.0.0.1:{gone.server_port}/x.bin"

    with pytest.raises(DataError, match=f"{url} cannot be fetched to .*: .*refused; retry to continue the download"):
        fetch(Download(url, "0" * 64, 5), cache=tmp_path)


def test_a_cache_that_cannot_be_written_is_named(pinned, tmp_path):
    (tmp_path / "file").write_text("")

    with pytest.raises(DataError, match="cannot be fetched to .*: Not a directory"):
        fetch(pinned("whole"), cache=tmp_path / "file")


def test_the_cache_is_where_the_environment_says(tmp_path, pinned, monkeypatch):
    monkeypatch.setenv("DLPIPE_CACHE", str(tmp_path))

    assert tmp_path in fetch(pinned("whole")).parents


@pytest.mark.parametrize(
    ("environ", "folder"),
    [
        ({"DLPIPE_CACHE": "/a", "XDG_CACHE_HOME": "/b"}, Path("/a")),
        ({"XDG_CACHE_HOME": "/b"}, Path("/b/dlpipe")),
        ({"XDG_CACHE_HOME": ""}, cache_folder({})),
    ],
)
def test_the_cache_folder_follows_the_environment(environ, folder):
    assert cache_folder(environ) == folder


def test_the_default_cache_lies_in_the_home_folder():
    assert Path.home() in cache_folder({}).parents
