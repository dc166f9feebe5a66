"""Documents over real sockets: uploaded, indexed, found, taken away."""

from __future__ import annotations

from typing import Any

import pytest

from secureai_appliance.core.ids import random_text
from tests.support.knowledge import BOUNDARY, form, ready, settled, upload_file, upload_form
from tests.support.running import Running

BASES = "/api/v1/knowledge"
BRAKES = "# Brakes\n\n## Fluid\n\nBrake fluid is changed every two years.\n\n## Pads\n\nPads are worn below 3 mm."
TYRES = "Winter tyres need at least 4 mm of profile. The pressure is checked every month. Part F-150 fits."


@pytest.fixture
def base(api: Running) -> str:
    return f"{BASES}/{api.ask('POST', BASES, {'name': random_text(10)}).json['id']}"


def find(api: Running, base: str, query: str, key: str = "", **fields: Any) -> list[dict[str, Any]]:
    answer = api.ask("POST", f"{base}/search", {"query": query, **fields}, key=key)
    assert answer.status == 200, answer.body
    found: list[dict[str, Any]] = answer.json["data"]
    return found


def test_a_file_is_uploaded_indexed_and_found(api: Running, base: str) -> None:
    made = upload_file(api, f"{base}/documents", BRAKES, "brakes.md", "text/markdown")
    assert made.status == 201, made.body
    assert (made.json["status"], made.json["filename"], made.json["progress"]) == ("queued", "brakes.md", 0)
    shown = settled(api, f"{base}/documents/{made.json['id']}")
    assert (shown["status"], shown["progress"], shown["error"]) == ("indexed", 1, None)
    assert shown["chunk_count"] >= 1
    best = find(api, base, "How often do I change the brake fluid?")[0]
    assert best["document_id"] == made.json["id"]
    assert "every two years" in best["text"]
    for mode in ("vector", "keyword"):
        assert "every two years" in find(api, base, "change brake fluid", mode=mode)[0]["text"]
    content = api.ask("GET", f"{base}/documents/{shown['id']}/content")
    assert content.body.decode() == BRAKES
    assert content.headers["content-disposition"] == 'attachment; filename="brakes.md"'
    assert content.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in content.headers["content-security-policy"]
    chunks = api.ask("GET", f"{base}/documents/{shown['id']}/chunks").json
    assert chunks["total"] == shown["chunk_count"]
    assert best["chunk_id"] in [chunk["id"] for chunk in chunks["data"]]
    assert api.ask("GET", base).json["chunk_count"] == shown["chunk_count"]


def test_the_same_bytes_come_into_a_base_once(api: Running, base: str) -> None:
    first = upload_file(api, f"{base}/documents", TYRES).json
    again = upload_file(api, f"{base}/documents", TYRES, "other name.txt")
    assert (again.status, again.json["error"]["details"]["id"]) == (409, first["id"])
    other = f"{BASES}/{api.ask('POST', BASES, {'name': random_text(10)}).json['id']}"
    assert upload_file(api, f"{other}/documents", TYRES).status == 201


def test_many_files_come_in_one_form_or_none_of_them(api: Running, base: str) -> None:
    body = form(("a.txt", b"first", "text/plain"), ("b.txt", b"second", "text/plain"), password="secret")
    made = upload_form(api, f"{base}/documents", body)
    assert [document["filename"] for document in made.json["documents"]] == ["a.txt", "b.txt"]
    twice = form(("c.txt", b"third", "text/plain"), ("d.txt", b"second", "text/plain"))
    assert upload_form(api, f"{base}/documents", twice).status == 409
    assert api.ask("GET", f"{base}/documents").json["total"] == 2


def test_a_form_that_is_refused_leaves_no_bytes_behind(api: Running, base: str) -> None:
    def lost() -> int:
        with api.appliance.store.read() as db:
            return int(db.value("SELECT COUNT(*) FROM blobs WHERE row_id NOT IN (SELECT blob_id FROM documents)"))

    large = b"large " * 400_000
    assert upload_file(api, f"{base}/documents", large, "large.txt").status == 201
    before = lost()
    other = ("other.txt", random_text(40).encode(), "text/plain")
    assert upload_form(api, f"{base}/documents", form(other, ("large.txt", large, "text/plain"))).status == 409
    assert upload_form(api, f"{base}/documents", form(other, x="1")).status == 400
    assert lost() == before


def test_a_large_file_comes_back_as_it_was(api: Running, base: str) -> None:
    data = bytes(range(256)) * 12_000
    made = upload_file(api, f"{base}/documents", data)
    assert api.ask("GET", f"{base}/documents/{made.json['id']}/content").body == data


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        (form(), 400, "file"),
        (form(("", b"x", "text/plain")), 400, "file"),
        (form(("a.txt", b"x", "text/plain"), surprise="1"), 400, "surprise"),
        (form(("a.txt", b"x", "text/plain"))[:-20], 400, None),
        (b"", 400, None),
    ],
)
def test_a_form_that_is_none_is_refused(api: Running, base: str, body: bytes, status: int, field: str | None) -> None:
    answer = upload_form(api, f"{base}/documents", body)
    assert (answer.status, answer.json["error"]["details"].get("field")) == (status, field)
    assert api.ask("GET", f"{base}/documents").json["total"] == 0


def test_something_else_than_a_form_is_415(api: Running, base: str) -> None:
    headers = {"Content-Type": "text/plain"}
    assert api.ask("POST", f"{base}/documents", b"x", headers=headers).status == 415


@pytest.mark.parametrize(
    ("kind", "body", "status"),
    [
        ("application/x-www-form-urlencoded", b"%PDF-1.4", 415),  # curl --data-binary
        ("application/pdf", b"%PDF-1.4" + bytes(2 << 20), 415),  # before it is too large for JSON
        ("", b"%PDF-1.4", 415),
        ("application/json", b"%PDF-1.4", 400),
        ("application/json", b'{"filename": "a.txt", "content": "text"}', 400),
        ("application/json", bytes(2 << 20), 413),
        ("application/json", b"", 400),
        ("multipart/form-data", b"%PDF-1.4", 415),
        ("multipart/form-data; boundary=x", b"%PDF-1.4", 400),
        ("application/octet-stream", b"%PDF-1.4", 405),  # curl -T
    ],
)
def test_a_file_that_is_sent_in_another_way_is_answered_with_the_line_that_works(
    api: Running, base: str, kind: str, body: bytes, status: int
) -> None:
    method = "PUT" if status == 405 else "POST"
    line = (
        f"curl -H 'Authorization: Bearer KEY' -F file=@FILE http://127.0.0.1:{api.port}/api/v1/knowledge/ID/documents"
    )
    answer = api.ask(method, f"{base}/documents", body, headers={"Content-Type": kind})
    assert answer.status == status
    assert answer.json["error"]["message"].endswith(line)
    if method == "POST":
        across = api.ask(method, "/api/v1/documents", body, headers={"Content-Type": kind}).json["error"]["message"]
        assert ("-F file=@FILE -F knowledge_base_id=…" in across) == ("multipart" not in kind)


@pytest.mark.parametrize(
    ("part", "hint"),
    [
        (b'name="document"; filename="a.txt"', "A file is sent in the field 'file', not in 'document'"),
        (b'name="files[]"; filename="a.txt"', "A file is sent in the field 'file', not in 'files[]'"),
        (b'name="file"', "curl sends one with '-F file=@FILE'"),
        (b'name="title"', "There is no field 'title'."),
        (b'name="password"', "Send at least one 'file'."),
    ],
)
def test_a_form_that_is_almost_right_says_what_is_not(api: Running, base: str, part: bytes, hint: str) -> None:
    body = f"--{BOUNDARY}\r\nContent-Disposition: form-data; ".encode() + part + b"\r\n\r\na.txt\r\n"
    refused = upload_form(api, f"{base}/documents", body + f"--{BOUNDARY}--\r\n".encode())
    assert refused.status == 400
    assert hint in refused.json["error"]["message"]


def test_a_form_that_names_another_base_than_its_path_goes_into_neither(api: Running, base: str) -> None:
    other = api.ask("POST", BASES, {"name": "other"}).json["id"]
    refused = upload_file(api, f"{base}/documents", knowledge_base_id=other)
    assert (refused.status, refused.json["error"]["details"]["constraint"]) == (400, "contradiction")
    own = api.ask("GET", base).json["slug"]
    assert upload_file(api, f"{base}/documents", knowledge_base_id=own).status == 201


def test_an_upload_repeated_under_its_key_is_one_document(api: Running, base: str) -> None:
    body, headers = form(("a.txt", b"once", "text/plain")), {"Idempotency-Key": random_text(8)}
    first = upload_form(api, f"{base}/documents", body, headers=headers)
    again = upload_form(api, f"{base}/documents", body, headers=headers)
    assert (first.status, again.status) == (201, 201)
    assert first.json["id"] == again.json["id"]
    other = form(("a.txt", b"other", "text/plain"))
    assert upload_form(api, f"{base}/documents", other, headers=headers).status == 422


def test_a_file_that_cannot_be_read_fails_with_its_code_and_holds_up_nobody(api: Running, base: str) -> None:
    bad = upload_file(api, f"{base}/documents", b"\x89PNG\r\n\x1a\n\0\0\0", "a.png").json["id"]
    empty = upload_file(api, f"{base}/documents", b"  \n ", "b.txt").json["id"]
    good = upload_file(api, f"{base}/documents", TYRES).json["id"]
    assert settled(api, f"{base}/documents/{good}")["status"] == "indexed"
    codes = [settled(api, f"{base}/documents/{each}")["error"]["code"] for each in (bad, empty)]
    assert codes == ["unsupported_type", "no_text"]
    failed = api.ask("GET", f"{base}/documents?status=failed").json
    assert {document["id"] for document in failed["data"]} == {bad, empty}


def test_a_deleted_document_is_found_no_more_and_its_bytes_may_come_again(api: Running, base: str) -> None:
    document = upload_file(api, f"{base}/documents", TYRES).json["id"]
    settled(api, f"{base}/documents/{document}")
    assert find(api, base, "winter tyres")
    assert api.ask("DELETE", f"/api/v1/documents/{document}").status == 204
    assert find(api, base, "winter tyres") == []
    assert api.ask("GET", f"{base}/documents/{document}").status == 404
    assert upload_file(api, f"{base}/documents", TYRES).status == 201


def test_documents_are_listed_across_bases_and_only_those_one_may_read(api: Running, base: str) -> None:
    ann, bob = api.make_user(f"{random_text(6)}@d.example"), api.make_user(f"{random_text(6)}@d.example")
    made = [api.ask("POST", BASES, {"name": name}, key=ann).json["id"] for name in ("one", "two")]
    for number, base_id in enumerate(made):
        body = form(("a.txt", b"text %d" % number, "text/plain"), knowledge_base_id=base_id)
        assert upload_form(api, "/api/v1/documents", body, key=ann).status == 201

    def seen(key: str) -> dict[str, str]:
        """The documents by base: those of other tests' bases may be everyone's."""
        listed = api.ask("GET", "/api/v1/documents", key=key).json["data"]
        return {each["knowledge_base_id"]: each["id"] for each in listed if each["knowledge_base_id"] in made}

    of_ann = seen(ann)
    assert (set(of_ann), seen(bob)) == (set(made), {})
    assert api.ask("GET", f"/api/v1/documents?knowledge_base_id={made[0]}", key=bob).status == 404
    body = form(("a.txt", b"x", "text/plain"), knowledge_base_id=made[0])
    assert upload_form(api, "/api/v1/documents", body, key=bob).status == 404
    for further in ("", "/content", "/chunks"):
        path = f"{BASES}/{made[0]}/documents/{of_ann[made[0]]}{further}"
        assert api.ask("GET", path, key=bob).status == 404
    assert api.ask("POST", f"{BASES}/{made[0]}/search", {"query": "text"}, key=bob).status == 404


def test_search_is_filtered_bounded_and_explained(api: Running, base: str) -> None:
    ids = [
        settled(api, f"{base}/documents/{upload_file(api, f'{base}/documents', text, name).json['id']}")["id"]
        for name, text in (("brakes.txt", BRAKES), ("tyres.txt", TYRES))
    ]
    assert {hit["document_id"] for hit in find(api, base, "profile of tyres")} == set(ids)
    only = find(api, base, "profile of tyres", filter={"document_ids": [ids[0]]})
    assert {hit["document_id"] for hit in only} == {ids[0]}
    assert find(api, base, "profile of tyres", filter={"content_types": ["application/pdf"]}) == []
    assert len(find(api, base, "profile of tyres", top_k=1)) == 1
    assert find(api, base, "profile of tyres", mode="vector", min_score=0.99) == []
    assert find(api, base, "tyres.txt", mode="keyword")[0]["document_id"] == ids[1]
    answer = api.ask("POST", f"{base}/search", {"query": "profile of tyres", "explain": True, "top_k": 1}).json
    assert answer["trace"]["vector"][0]["document_id"] == ids[1]
    assert answer["trace"]["cut"][0]["reason"] == "top_k"
    assert answer["data"][0]["ranks"] == {"vector": 1, "keyword": 1}


def test_another_chunking_is_built_beside_and_takes_the_place_of_the_old(api: Running, base: str) -> None:
    document = upload_file(api, f"{base}/documents", "\n\n".join(f"Sentence number {n}." for n in range(60))).json["id"]
    before = settled(api, f"{base}/documents/{document}")["chunk_count"]
    changed = api.ask("PATCH", base, {"chunking": {"size": 32, "overlap": 0}})
    assert changed.json["rebuilding"]["chunking"]["size"] == 32
    assert changed.json["chunking"]["size"] == 256
    assert find(api, base, "sentence number 59")
    after = ready(api, base)
    assert (after["chunking"]["size"], after["rebuilding"]) == (32, None)
    assert settled(api, f"{base}/documents/{document}")["chunk_count"] > before
    assert "59" in find(api, base, "sentence number 59", mode="keyword")[0]["text"]


def test_progress_has_no_weight_on_if_match_and_still_makes_another_answer(api: Running, base: str) -> None:
    document = f"{base}/documents/{upload_file(api, f'{base}/documents').json['id']}"
    settled(api, document)

    def set_to(status: str, progress: float, *, name: str = "a.txt") -> str:
        with api.appliance.store.transaction() as tx:
            tx.run(
                "UPDATE documents SET status = ?, progress = ?, filename = ? WHERE id = ?",
                *(status, progress, name, document.rpartition("/")[2]),
            )
        return api.ask("GET", document).headers["etag"]

    tag = set_to("extracting", 0.1)
    assert api.ask("GET", document, headers={"If-None-Match": tag}).status == 304
    other = set_to("embedding", 0.5)
    assert other != tag
    assert api.ask("GET", document, headers={"If-None-Match": tag}).status == 200
    for wrong in (set_to("indexed", 1), set_to("queued", 0, name="b.txt"), '"none"', '"a.b"'):
        set_to("queued", 0)
        assert api.ask("DELETE", document, headers={"If-Match": wrong}).status == 412
    base_tag = api.ask("GET", base).headers["etag"]
    assert api.ask("DELETE", document, headers={"If-Match": f'"other", {tag}'}).status == 204
    assert api.ask("GET", base).headers["etag"] != base_tag
    assert api.ask("PATCH", base, {"description": "new"}, headers={"If-Match": base_tag}).status == 200
    assert api.ask("PATCH", base, {"description": "newer"}, headers={"If-Match": base_tag}).status == 412
