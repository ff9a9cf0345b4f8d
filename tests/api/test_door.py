"""The door: who may enter, under which name, with what; nothing that is sent makes it answer 500 or repeat it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.client import HTTPConnection
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aios.api.body import strict_json
from aios.errors import InvalidSpec
from tests.support.plane import TOKEN, Served


@pytest.fixture(scope="module")
def http(plane: Served) -> Iterator[httpx.Client]:
    with plane.http() as client:
        yield client


def problem(response: httpx.Response) -> dict[str, Any]:
    """Return the body of a refusal, which must be problem+json."""
    assert response.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = response.json()
    assert body["status"] == response.status_code
    assert {"type", "title", "detail", "code"} <= set(body)
    return body


@pytest.mark.parametrize("given", ["", "Bearer", "Bearer wrong", f"Basic {TOKEN}", f"Bearer {TOKEN}x", "Bearer \xff"])
def test_nobody_enters_without_the_token(plane: Served, given: str) -> None:
    headers = {"Authorization": given.encode("latin-1")} if given else {}
    for path in ("/api/v1/status", "/api/v1/workloads", "/api/v1/openapi.json", "/nowhere"):
        response = httpx.get(plane.url + path, headers=headers, trust_env=False)
        assert response.status_code == 401, path
        assert response.headers["www-authenticate"] == "Bearer"
        assert problem(response)["code"] == "unauthorized"


def test_health_is_open_to_all(plane: Served) -> None:
    assert httpx.get(plane.url + "/healthz", trust_env=False).json()["status"] == "ok"


@pytest.mark.parametrize(
    "host, status",
    [
        ("localhost", 200),
        ("127.0.0.1:1", 200),
        ("[::1]:8420", 200),
        ("evil.example", 421),
        ("127.0.0.1.evil", 421),
        ("", 421),
    ],
)
def test_only_known_hosts_are_served(http: httpx.Client, host: str, status: int) -> None:
    assert http.get("/api/v1/status", headers={"Host": host}).status_code == status


BAD_BODIES = {
    "NaN": b'{"documents": [{"kind": "script", "num_cpus": NaN}]}',
    "infinity": b'{"documents": [{"kind": "script", "num_cpus": 1e999}]}',
    "minus infinity": b'{"documents": [-Infinity]}',
    "a lone surrogate": b'{"documents": [{"kind": "script", "name": "\\ud800"}]}',
    "a lone surrogate as key": b'{"documents": [{"\\udfff": 1}]}',
    "NUL": b'{"documents": [{"kind": "\\u0000"}]}',
    "a key twice": b'{"documents": [], "documents": []}',
    "no JSON": b"{documents",
    "no UTF-8": b'{"documents": ["\xff"]}',
    "nothing": b"",
    "a list": b"[]",
    "no documents": b'{"documents": []}',
    "an unknown key": b'{"documents": [{}], "secret": "hunter2"}',
    "very deep": b'{"documents": ' + b"[" * 5000 + b"]" * 5000 + b"}",
    "deep": b'{"documents": [' + b'{"a":' * 40 + b"1" + b"}" * 40 + b"]}",
    "a huge number": b'{"documents": [' + b"9" * 5000 + b"]}",
    "many values": b'{"documents": [[' + b"1," * 300_000 + b"1]]}",
    "a document that is text": b'{"documents": ["hunter2"]}',
    "a kind that is a list": b'{"documents": [{"kind": ["hunter2"]}]}',
}


@pytest.mark.parametrize("body", BAD_BODIES.values(), ids=BAD_BODIES.keys())
@pytest.mark.parametrize(
    "method, path", [("POST", "/api/v1/workloads"), ("POST", "/api/v1/plan"), ("PUT", "/api/v1/tenants")]
)
def test_a_bad_body_is_refused_and_not_repeated(
    plane: Served, http: httpx.Client, method: str, path: str, body: bytes
) -> None:
    before = plane.state.version
    response = http.request(method, path, content=body, headers={"Content-Type": "application/json"})
    assert response.status_code == 422, response.text
    problem(response)
    assert "hunter2" not in response.text
    assert plane.state.version == before


@pytest.mark.parametrize(
    "raw, says",
    [
        (b"[NaN]", "NaN and Infinity"),
        (b"[-Infinity]", "NaN and Infinity"),
        (b"[1e999]", "too large to be finite"),
        (b'{"a": 1, "b": {"c": 1, "c": 2}}', "given twice"),
        (b'["\\udfff"]', "lone surrogate"),
        (b'{"\\ud800": 1}', "lone surrogate"),
        (b'["\\u0000"]', "NUL"),
        (b"[" * 40 + b"]" * 40, "deeper than 32"),
        (b"[" * 100_000 + b"]" * 100_000, "nested"),
        (b"[12345678901234567890]", "more than 19 digits"),
        (b"[" + b"1," * 300_000 + b"1]", "more than 200000 values"),
        (b"[\xff]", "not UTF-8"),
        (b"[1,]", "not valid JSON"),
    ],
)
def test_what_is_no_plain_json_is_refused_by_name(raw: bytes, says: str) -> None:
    with pytest.raises(InvalidSpec, match=says):
        strict_json(raw)


def test_a_body_of_another_type_is_refused(http: httpx.Client) -> None:
    response = http.post("/api/v1/workloads", content=b"kind: script", headers={"Content-Type": "application/yaml"})
    assert response.status_code == 415
    problem(response)


def test_a_huge_body_is_refused_before_it_is_read(http: httpx.Client) -> None:
    """Its length is enough; and where it hides its length, so is its beginning."""
    raw = HTTPConnection(http.base_url.host, http.base_url.port, timeout=10)
    raw.putrequest("POST", "/api/v1/workloads")
    for name, value in (("Authorization", f"Bearer {TOKEN}"), ("Content-Length", str(9 * 2**20))):
        raw.putheader(name, value)
    raw.endheaders()
    assert raw.getresponse().status == 413
    raw.close()

    def endless() -> Iterator[bytes]:
        for _ in range(200):
            yield b" " * 2**17

    chunked = http.post("/api/v1/workloads", content=endless(), headers={"Content-Type": "application/json"})
    assert chunked.status_code == 413
    assert problem(chunked)["code"] == "too_large"


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/workloads?status=DOING",
        "/api/v1/workloads?all=perhaps",
        "/api/v1/events?after=-1",
        "/api/v1/events?limit=100000",
        "/api/v1/events?after=NaN",
        "/api/v1/workloads/x/wait?timeout_s=1e9",
        "/api/v1/workloads/x/wait?until=never",
        "/api/v1/workloads/%00/explain",
        "/api/v1/workloads/..%2f..%2fetc%2fpasswd",
        "/api/v1/packages/..%2f..%2fapi_token",
        "/api/v1/packages/abc",
        "/api/v1/nothing",
    ],
)
def test_a_bad_question_is_a_problem_document(http: httpx.Client, path: str) -> None:
    response = http.get(path)
    assert 400 <= response.status_code < 500
    problem(response)


def test_a_wrong_method_is_a_problem_document(http: httpx.Client) -> None:
    assert problem(http.delete("/api/v1/workloads"))["code"] == "method_not_allowed"


def test_a_package_is_what_its_name_says(plane: Served, http: httpx.Client) -> None:
    import hashlib

    content = b"PK\x05\x06" + b"\0" * 18
    digest = hashlib.sha256(content).hexdigest()
    wrong = http.put(f"/api/v1/packages/{'0' * 64}", content=content)
    assert wrong.status_code == 422
    assert list((plane.home / "storage" / "packages").iterdir()) == []
    assert http.put(f"/api/v1/packages/{digest}", content=content).status_code == 201
    again = http.put(f"/api/v1/packages/{digest}", content=content)
    assert (again.status_code, again.json()["existing"]) == (200, True)
    assert (plane.home / "storage" / "packages" / f"{digest}.zip").read_bytes() == content


def test_openapi_names_every_route(http: httpx.Client) -> None:
    paths = http.get("/api/v1/openapi.json").json()["paths"]
    routes = {"workloads", "plan", "tenants", "packages/{digest}", "nodes", "events", "status", "metrics"}
    assert {f"/api/v1/{route}" for route in routes} <= set(paths)
    assert "requestBody" in paths["/api/v1/workloads"]["post"]


def test_metrics_are_prometheus_text(http: httpx.Client) -> None:
    from prometheus_client.parser import text_string_to_metric_families

    names = {family.name for family in text_string_to_metric_families(http.get("/api/v1/metrics").text)}
    assert {"aios_nodes", "aios_events"} <= names


texts = st.text(st.characters(exclude_categories=[]), max_size=20)
numbers = st.one_of(st.integers(), st.floats(), st.booleans(), st.none())
values = st.recursive(
    st.one_of(texts, numbers), lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4)
)
WORDS = """
    name tenant priority num_cpus memory workers inputs outputs needs stages entrypoint resources topology
    label_selector labels quota weight parent source estimate env working_dir
"""
keys = st.sampled_from(WORDS.split())
documents = st.builds(
    lambda kind, rest: {"kind": kind, **rest},
    st.sampled_from(["script", "train", "pipeline", "tenant", "ingest", "serve", "evaluate"]) | values,
    st.dictionaries(keys | texts, values, max_size=5),
)


@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
@given(body=st.fixed_dictionaries({"documents": st.lists(documents | values, max_size=3)}) | values)
def test_no_body_makes_it_answer_500(http: httpx.Client, plane: Served, body: Any) -> None:
    content = json.dumps(body).encode()
    for method, path in (("POST", "/api/v1/plan"), ("PUT", "/api/v1/tenants"), ("POST", "/api/v1/workloads")):
        response = http.request(method, path, content=content, headers={"Content-Type": "application/json"})
        assert response.status_code < 500, (path, content, response.text)
        json.loads(response.content.decode("ascii"))


words = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
plain = st.none() | st.booleans() | st.integers(-(10**18), 10**18) | st.floats(allow_nan=False, allow_infinity=False)


@settings(deadline=None)
@given(st.recursive(plain | words, lambda one: st.lists(one, max_size=3) | st.dictionaries(words, one, max_size=3)))
def test_plain_json_is_read_as_it_is(value: Any) -> None:
    assert strict_json(json.dumps(value).encode()) == value
