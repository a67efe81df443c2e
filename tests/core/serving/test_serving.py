"""A served model answers what ``dlpipe predict`` answers, in batches, and keeps to its limits."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from importlib import util

import httpx
import pytest

from dlpipe.commands.serve import serve as serve_command
from dlpipe.engine.prediction import predict
from dlpipe.errors import InputError, PluginError
from dlpipe.registry.loading import load_plugins
from dlpipe.serving.application import PAGE, _json, application
from dlpipe.serving.batcher import Batcher, Item, QueueFull
from dlpipe.serving.model import ServedModel
from dlpipe.serving.server import serve

JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def tagger(toy_run):
    return toy_run("tagger")


def ask(trained, *requests, lines=None, model=None, **limits):
    """Return the responses to requests (method, path, options) that are sent at the same time."""
    chosen = {"batch_size": 4, "max_wait_ms": 0, "max_bytes": 1000} | limits
    app = application(model or ServedModel(trained), log=(lines if lines is not None else []).append, **chosen)

    async def send():
        transport = httpx.ASGITransport(app)
        async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport, base_url="http://x") as own:
            return await asyncio.gather(*(own.request(method, path, **options) for method, path, options in requests))

    return asyncio.run(send())


def post(content, **options):
    return ("POST", "/predict", {"json": content} | options)


def test_the_answers_are_those_of_predict(tagger):
    texts = ["1 2 3", "9"]
    expected = [json.dumps(each) for each in predict(tagger, [("", text) for text in texts])]

    one, several = ask(tagger, post({"item": texts[0]}), post({"items": texts}))

    assert one.text == expected[0]
    assert several.text == f"[{', '.join(expected)}]"
    assert one.headers["content-type"] == "application/json"


def test_requests_that_arrive_together_go_through_the_model_together(tagger):
    sizes = []
    hook = tagger.model.register_forward_pre_hook(
        lambda module, given, named: sizes.append(len(named["tokens"])), with_kwargs=True
    )

    found = ask(tagger, *(post({"item": str(number)}) for number in range(1, 9)), max_wait_ms=2000)

    hook.remove()
    assert sizes == [4, 4]
    assert [each.json()["item"] for each in found] == [str(number) for number in range(1, 9)]


FORM = '{"item": "…"} or {"items": ["…", …]}'


@pytest.mark.parametrize(
    ("request_", "status", "text"),
    [
        (post({"item": "one"}), 422, "item 1: 'one': expected numbers from 1 to 9"),
        (post({"items": ["1", "two"]}), 422, "item 2: 'two': expected numbers from 1 to 9"),
        (
            ("POST", "/predict", {"content": b"{", "headers": JSON}),
            400,
            f"the body is not JSON: JSONDecodeError: Expecting property name enclosed in double quotes: line 1 column 2 "
            f"(char 1); expected {FORM}",
        ),
        (post([1]), 400, f"expected {FORM}"),
        (post({"items": []}), 400, f'"items" is not a list with at least one item; expected {FORM}'),
        (post({"items": [7]}), 400, f"item 1 is of type int; expected {FORM}"),
        (post({"item": "1" * 2000}), 413, "the body has more than 1,000 bytes, the limit of this server"),
        (post({"items": ["1"] * 33}), 413, "33 items; expected at most 32 in one request"),
        (
            ("POST", "/predict", {"content": b"1 2", "headers": {"Content-Type": "text/plain"}}),
            415,
            f"Content-Type text/plain: expected application/json with {FORM}",
        ),
        (("GET", "/predict", {}), 405, "GET /predict: expected POST /predict, GET /health and GET /"),
        (("GET", "/../etc", {}), 404, "GET /etc: expected POST /predict, GET /health and GET /"),
        (("GET", "/health/", {}), 404, "GET /health/: expected POST /predict, GET /health and GET /"),
    ],
)
def test_what_cannot_be_answered_is_refused_with_the_reason(tagger, request_, status, text):
    (found,) = ask(tagger, request_)

    assert (found.status_code, found.json()) == (status, {"error": text})


def test_answers_are_json_also_with_half_of_a_surrogate_pair_and_numbers_that_are_not_finite():
    assert _json({"item": "\ud800", "value": float("nan")}).body == b'{"item": "\\ud800", "value": null}'


def test_a_body_without_a_length_is_limited_too(tagger):
    async def parts():
        for _ in range(100):
            yield b"1" * 100

    (found,) = ask(tagger, ("POST", "/predict", {"content": parts(), "headers": JSON}))

    assert found.status_code == 413


def test_a_full_queue_is_said_with_the_time_to_come_back(tagger):
    free = threading.Event()
    model = ServedModel(tagger)
    answers = model.answers
    model.answers = lambda items: free.wait(10) and answers(items)
    timer = threading.Timer(0.3, free.set)
    timer.start()

    found = ask(tagger, *(post({"items": ["1"] * 4}) for _ in range(12)), model=model)

    statuses = sorted(each.status_code for each in found)
    assert statuses[0] == 200
    assert statuses[-1] == 503
    refused = next(each for each in found if each.status_code == 503)
    assert refused.headers["retry-after"] == "1"
    assert re.fullmatch(r"\d+ items are waiting, of at most 32; try again later", refused.json()["error"])


def test_an_item_on_which_the_model_fails_does_not_concern_the_others(tagger):
    lines, model = [], ServedModel(tagger)
    answers = model.answers

    def fails(items):
        if any(item.text == "9" for item in items):
            raise RuntimeError("nine")
        return answers(items)

    model.answers = fails

    good, bad = ask(tagger, post({"item": "1"}), post({"item": "9"}), model=model, lines=lines, max_wait_ms=500)

    assert good.status_code == 200
    assert (bad.status_code, bad.json()["error"]) == (500, "item 1: the model failed; the log of the server says why")
    assert "RuntimeError: nine" in lines


def test_each_request_is_one_line_of_the_log(tagger):
    lines = []

    ask(tagger, post({"items": ["1", "2"]}), lines=lines)

    assert re.fullmatch(r"127.0.0.1 POST /predict 200 2 items \d+\.\d ms", lines[0])


def test_the_model_is_described(tagger):
    (found,) = ask(tagger, ("GET", "/health", {}))

    about = found.json()
    assert about["status"] == "ready"
    assert about["run"] == tagger.run.name
    assert (about["checkpoint"], about["items"], about["precision"]) == (1, "text", "float32")


def test_a_client_cannot_make_the_server_read_a_file(toy_run, tmp_path):
    secret = tmp_path / "secret.txt"
    secret.write_text("1 2")
    files = toy_run("tagger", "files")
    content = base64.b64encode(b"3").decode()

    by_name, by_content, raw = ask(
        files,
        post({"item": str(secret)}),
        post({"item": {"name": str(secret), "content": content}}),
        ("POST", "/predict", {"content": b"3", "headers": {"Content-Type": "application/octet-stream"}}),
    )

    assert by_name.status_code == 400
    assert by_name.json()["error"].startswith("item 1 is a text; a server reads no files that a client names; expected")
    assert len(by_content.json()["label"]) == len(raw.json()["label"]) == 1  # of the content, not of the file


@pytest.mark.parametrize(
    ("content", "reason"), [("A", "Invalid base64-encoded string"), ("é", "string argument should contain only ASCII")]
)
def test_a_content_that_is_not_base64_is_refused(toy_run, content, reason):
    (found,) = ask(toy_run("tagger", "files"), post({"item": {"content": content}}))

    assert found.status_code == 400
    assert found.json()["error"].startswith(f'item 1: "content" is not base64: {reason}')


def test_data_that_does_not_say_what_its_items_are_is_not_served(toy_run):
    with pytest.raises(
        InputError,
        match=r'\[data\] use = "toy.silent": this data takes no items from a client; expected data with text_items = True '
        r"or encode_content\(item, content\), since a client must not name files",
    ):
        ServedModel(toy_run("tagger", "silent"))


@pytest.mark.parametrize("application", ["dlpipe_generative.generate:generate", "dlpipe_audio.search:search"])
def test_a_model_whose_application_takes_the_items_is_not_served(tagger, monkeypatch, application):
    monkeypatch.setattr("dlpipe.serving.model.application_of", lambda stage: application)

    with pytest.raises(InputError, match=rf"`dlpipe predict` hands the items of this run to {application}, which answ"):
        ServedModel(tagger)


def test_an_application_without_items_prevents_no_answers_for_items(tagger, monkeypatch):
    monkeypatch.setattr("dlpipe.serving.model.application_of", lambda stage: "dlpipe_rl.play:play")

    assert ask(tagger, post({"item": "1 2"}))[0].status_code == 200


def test_the_page_asks_nobody_but_its_server(tagger):
    (found,) = ask(tagger, ("GET", "/", {}))

    page = PAGE.read_text()
    assert found.text == page
    assert "default-src 'none'" in found.headers["content-security-policy"]
    assert not re.search(r"https?:|//\w|@import|innerHTML|src=", page)


def test_a_batcher_answers_what_waits_before_it_stops():
    batcher = Batcher(lambda items: [{"text": item.text} for item in items], batch_size=2, max_wait_s=9, capacity=9)
    waiting = batcher.submit([Item("a"), Item("b"), Item("c")])

    batcher.close()

    assert [each.result(0) for each in waiting] == [{"text": "a"}, {"text": "b"}, {"text": "c"}]


def test_a_full_batch_does_not_wait_for_more_items():
    batcher = Batcher(lambda items: [{"text": item.text} for item in items], batch_size=2, max_wait_s=900, capacity=9)

    waiting = batcher.submit([Item("a"), Item("b")])

    assert [each.result(10) for each in waiting] == [{"text": "a"}, {"text": "b"}]
    batcher.close()


def test_a_port_in_use_is_an_error(tagger):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(
            InputError,
            match=rf"--host 127.0.0.1 --port {port}: Address already in use; choose another port, or --port 0 for a free",
        ):
            serve(
                tagger,
                host="127.0.0.1",
                port=port,
                batch_size=1,
                max_wait_ms=0,
                max_bytes=9,
                notice=print,
                log=print,
            )


def test_a_missing_extra_is_said_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.setattr(util, "find_spec", lambda name: None)

    with pytest.raises(
        PluginError,
        match="dlpipe serve needs starlette and uvicorn, which are not installed; install with: pip install ",
    ):
        serve_command.main(["somewhere"], standalone_mode=False, obj=load_plugins())


@pytest.mark.slow
def test_a_server_answers_what_is_in_flight_when_it_is_stopped(tagger):
    command = [sys.executable, "-m", "dlpipe", "serve", str(tagger.run), "--port", "0", "--max-wait-ms", "1500"]
    server = subprocess.Popen([*command, "--allow-local-plugins"], stderr=subprocess.PIPE, text=True)
    first = server.stderr.readline()
    address = re.search(r"http://\S+/", first)[0]
    assert httpx.get(f"{address}health").json()["status"] == "ready"
    found = []
    asking = threading.Thread(target=lambda: found.append(httpx.post(f"{address}predict", json={"item": "1 2"})))

    asking.start()
    time.sleep(0.5)
    server.send_signal(signal.SIGTERM)
    asking.join()
    _, rest = server.communicate(timeout=30)

    assert found[0].json()["item"] == "1 2"
    assert server.returncode == 0
    assert re.search(r"127.0.0.1 POST /predict 200 1 item", rest)


def test_a_client_that_has_left_is_not_answered_and_stops_no_other():
    asked, goes_on = [], threading.Event()

    def run(items):
        asked.extend(item.text for item in items)
        goes_on.wait(10)
        return [{"text": item.text} for item in items]

    batcher = Batcher(run, batch_size=1, max_wait_s=0, capacity=9)
    first, gone, last = batcher.submit([Item("a"), Item("b"), Item("c")])

    assert gone.cancel()
    goes_on.set()

    assert (first.result(10), last.result(10)) == ({"text": "a"}, {"text": "c"})
    assert asked == ["a", "c"]
    batcher.close()


def test_a_batcher_that_stops_takes_no_more_items():
    batcher = Batcher(lambda items: [{}] * len(items), batch_size=2, max_wait_s=0, capacity=9)
    batcher.close()

    with pytest.raises(QueueFull, match="0 items are waiting, of at most 9; try again later"):
        batcher.submit([Item("a")])
