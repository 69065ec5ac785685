"""EmpatheticDialogues: its archive's format, quirks included, and its download, from a server of the test's own."""

from __future__ import annotations

import functools
import hashlib
import http.server
import io
import logging
import tarfile
import threading

import pytest

from empathy_gym.simulators.errors import ConfigError, EngineError
from empathy_gym.simulators.exchanges import empathetic_dialogues as source
from empathy_gym.simulators.exchanges import load_exchanges

HEADER = "conv_id,utterance_idx,context,prompt,speaker_idx,utterance,selfeval,tags\n"
TRAIN = HEADER + (
    "hit:0_conv:1,1,sentimental,I remember fireworks,1,I remember going to the fireworks_comma_ just us two.,5|5|5,\n"
    "hit:0_conv:1,2,sentimental,I remember fireworks,0,Was this a \"friend\" you were in love with?,5|5|5,\n"
    "hit:0_conv:1,3,sentimental,I remember fireworks,1,This was a best friend. ,5|5|5,\n"
    "hit:0_conv:1,4,sentimental,I remember fireworks,0,Where has she gone?,5|5|5,\n"
    "hit:0_conv:1,5,sentimental,I remember fireworks,1,We no longer talk.,5|5|5,\n"
    "hit:1_conv:2,2,afraid,noise,3,What did you do?,5|5|5,\n"
    "hit:1_conv:2,1,afraid,noise,2,I hear noises at night.,5|5|5,\n"
    "hit:2_conv:3,1,proud,son,4,My son won.,5|5|5,\n"
    "hit:2_conv:3,2,proud,son,4,I cried.,5|5|5,\n"
    "hit:2_conv:3,3,proud,son,5,Congratulations!,5|5|5,\n"
)  # fmt: skip
TEST = (
    HEADER
    + "hit:9_conv:9,1,sad,dog,1,He died.,5|5,\nhit:9_conv:9,2,sad,dog,2,So sorry.,5|5,,a_comma_b|c_pipe_d\n"
)


def archive(files):
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as tar:
        for name, text in files.items():
            info = tarfile.TarInfo(f"empatheticdialogues/{name}")
            info.size = len(text.encode())
            tar.addfile(info, io.BytesIO(text.encode()))
    return data.getvalue()


FILES = {"train.csv": TRAIN, "valid.csv": TEST, "test.csv": TEST}
DATA = archive(FILES)


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "empatheticdialogues.tar.gz"
    file.write_bytes(DATA)
    return file


def test_every_utterance_of_the_listeners_is_a_response_to_all_before_it(path):
    found = load_exchanges(f"empathetic-dialogues:train@{path}")
    assert [(x.emotion, len(x.context), x.response) for x in found] == [
        ("sentimental", 1, 'Was this a "friend" you were in love with?'),
        ("sentimental", 3, "Where has she gone?"),
        ("afraid", 1, "What did you do?"),
        ("proud", 1, "Congratulations!"),
    ]
    assert found[0].context == ("I remember going to the fireworks, just us two.",)
    assert found[2].context == ("I hear noises at night.",), "rows come in any order"
    assert found[3].context == ("My son won. I cried.",), "two lines of one speaker are one utterance"
    assert {x.split for x in found} == {"train"} and len({x.id for x in found}) == 4
    assert not any("hit" in x.id or "conv" in x.id for x in found)


def test_a_line_with_candidates_has_nine_columns(path):
    (one,) = load_exchanges(f"empathetic-dialogues:test@{path}")
    assert (one.context, one.response, one.split) == (("He died.",), "So sorry.", "test")


def test_a_folder_of_the_files_does_as_well_as_the_archive(path, tmp_path):
    folder = tmp_path / "there" / "empatheticdialogues"
    folder.mkdir(parents=True)
    for name, text in FILES.items():
        (folder / name).write_text(text, "utf-8")
    expected = load_exchanges(f"empathetic-dialogues:train@{path}")
    for place in (folder, folder.parent):
        assert load_exchanges(f"empathetic-dialogues:train@{place}") == expected


def test_a_conversation_with_a_damaged_line_is_left_out_and_named(tmp_path, caplog):
    many = HEADER + "".join(f"c:{i},{n},sad,p,{n},text {n} of {i},5,\n" for i in range(200) for n in (1, 2))
    (tmp_path / "train.csv").write_text(many + "c:7,x,sad\n", "utf-8")
    with caplog.at_level(logging.WARNING, "empathy_gym"):
        assert len(load_exchanges(f"empathetic-dialogues:train@{tmp_path}")) == 199
    assert "1 damaged lines" in caplog.text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            TRAIN.replace("utterance,self", "text,self"),
            r"train.csv: no column 'utterance'; its columns are conv_id",
        ),
        ("", "no column 'conv_id'"),
        (HEADER, "holds no conversation"),
        (HEADER + "a,b\n" * 3, "3 of 3 lines are damaged"),
    ],
)
def test_a_file_that_is_not_as_published_is_one_error(tmp_path, text, message):
    (tmp_path / "train.csv").write_text(text, "utf-8")
    with pytest.raises(ConfigError, match=message) as raised:
        load_exchanges(f"empathetic-dialogues:train@{tmp_path}")
    assert "\n" not in str(raised.value)


def test_what_is_no_archive_is_one_error(tmp_path):
    wrong = tmp_path / "wrong.tar.gz"
    wrong.write_bytes(b"no archive")
    with pytest.raises(ConfigError, match="cannot be read as the archive"):
        load_exchanges(f"empathetic-dialogues:train@{wrong}")
    wrong.write_bytes(DATA[: len(DATA) // 2])
    with pytest.raises(ConfigError, match=r"cannot be read as the archive|no train.csv"):
        load_exchanges(f"empathetic-dialogues:train@{wrong}")
    with pytest.raises(ConfigError, match=r"There is no train.csv in"):
        load_exchanges(f"empathetic-dialogues:train@{_other(tmp_path)}")
    with pytest.raises(ConfigError, match="There is nothing at"):
        load_exchanges("empathetic-dialogues:train@/no/where")


def _other(tmp_path):
    path = tmp_path / "other.tar.gz"
    path.write_bytes(archive({"readme.txt": "hello"}))
    return path


# -- the download ----------------------------------------------------------------------------------------


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves the archive; breaks off, refuses ranges or fails as the server's `plan` says, a word a request."""

    def do_GET(self):
        server = self.server
        plan = server.plan.pop(0) if server.plan else "whole"
        given = self.headers.get("Range")
        server.asked.append((plan, given))
        if plan == "fail":
            self.send_error(503)
            return
        start = int(given.removeprefix("bytes=").rstrip("-")) if given and plan != "no ranges" else 0
        if start >= len(DATA):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(DATA) - start))
        self.end_headers()
        body = DATA[start:]
        self.wfile.write(body[: len(body) // 2] if plan == "break" else body)

    def log_message(self, *arguments):
        """Say nothing."""


@pytest.fixture
def server(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    served = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served.plan, served.asked = [], []
    thread = threading.Thread(target=served.serve_forever, daemon=True)
    thread.start()
    served.load = functools.partial(
        source.load,
        "train",
        url=f"http://127.0.0.1:{served.server_port}/empatheticdialogues.tar.gz",
        sha256=hashlib.sha256(DATA).hexdigest(),
    )
    served.cache = tmp_path / "cache" / "empathy-gym" / "data"
    yield served
    served.shutdown()
    served.server_close()


def test_it_is_downloaded_once(server):
    first = server.load()
    assert len(first) == 4 and server.load() == first
    assert len(server.asked) == 1
    assert [file.name for file in server.cache.iterdir()] == ["empatheticdialogues.tar.gz"]


def test_an_interrupted_download_is_one_error_and_goes_on_where_it_stopped(server):
    server.plan = ["break"]
    with pytest.raises(EngineError, match=r"could not be downloaded .* bytes of it are kept") as raised:
        server.load()
    assert "\n" not in str(raised.value) and "empathetic-dialogues:train@" in str(raised.value)
    half = (server.cache / "empatheticdialogues.tar.gz.part").stat().st_size
    assert half == len(DATA) // 2
    assert len(server.load()) == 4
    assert server.asked[-1] == ("whole", f"bytes={half}-")


def test_a_server_without_ranges_begins_again(server):
    server.plan = ["break", "no ranges"]
    with pytest.raises(EngineError):
        server.load()
    assert len(server.load()) == 4


def test_a_wrong_checksum_is_one_error_and_leaves_nothing(server):
    with pytest.raises(ConfigError, match=r"is not the file expected: its SHA-256 is \w{64}, not 00"):
        server.load(sha256="00")
    assert not list(server.cache.iterdir())
    assert len(server.load()) == 4


def test_a_part_of_something_else_is_thrown_away(server):
    server.cache.mkdir(parents=True)
    (server.cache / "empatheticdialogues.tar.gz.part").write_bytes(b"x" * (len(DATA) + 5))
    with pytest.raises(ConfigError, match="It was removed"):
        server.load()
    assert len(server.load()) == 4


def test_a_spoiled_cache_is_named(server):
    server.load()
    (server.cache / "empatheticdialogues.tar.gz").write_bytes(b"spoiled")
    with pytest.raises(ConfigError, match="Remove it, and it is downloaded again"):
        server.load()


def test_a_server_that_fails_is_one_error(server):
    server.plan = ["fail"]
    with pytest.raises(EngineError, match="503"):
        server.load()
    with pytest.raises(EngineError, match="could not be downloaded"):
        server.load(url="http://127.0.0.1:9/x.tar.gz")


def test_the_checksum_in_force_is_that_of_the_published_archive():
    assert source.URL.startswith("https://dl.fbaipublicfiles.com/parlai/empatheticdialogues/")
    assert len(source.SHA256) == 64
