"""Rerank models over real sockets: by themselves, in searches and in answers. The tests' model likes baking."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from secureai_appliance.core.errors import ServiceUnavailable
from secureai_appliance.inference import reranker
from secureai_appliance.inference.embedder import Embedder
from secureai_appliance.inference.pooled import Abandoned
from secureai_appliance.knowledge import reranking
from tests.support.knowledge import form, ready, upload_form
from tests.support.people import person
from tests.support.rerank_models import make_topical
from tests.support.running import Response, Running

MODEL = "baker"
QUERY = "How often is the brake fluid changed?"
BRAKES = "The brake fluid is changed every two years."
TYRES = "The tyres are changed in spring and in autumn."
BREAD = "How often the oven is changed: for bread, mix flour with yeast, knead the dough and let it rise."


@pytest.fixture(scope="module")
def model(api: Running, embedder: Embedder) -> Iterator[str]:
    make_topical(api.appliance.settings.data_folder.import_ / f"{MODEL}.gguf", embedder)
    made = api.ask("POST", "/api/v1/models", {"file": f"{MODEL}.gguf", "aliases": ["rerank-english"]})
    assert made.status == 201, made.body
    yield made.json["id"]
    api.ask("POST", f"/api/v1/models/{MODEL}/unload")
    assert api.ask("DELETE", f"/api/v1/models/{MODEL}").status == 204


@pytest.fixture(scope="module")
def base(api: Running) -> Iterator[str]:
    made = api.ask("POST", "/api/v1/knowledge", {"name": "Reranked"}).json["id"]
    path = f"/api/v1/knowledge/{made}"
    files = form(
        *((f"{number}.txt", text.encode(), "text/plain") for number, text in enumerate([BRAKES, TYRES, BREAD]))
    )
    assert upload_form(api, f"{path}/documents", files).status == 201
    ready(api, path)
    yield made
    api.ask("DELETE", path)


@pytest.fixture
def chosen(api: Running, model: str) -> Iterator[str]:
    """The model, as the one that searches are put into order by."""
    with setting(api, "knowledge.rerank_model", model):
        yield model


class setting:
    """A runtime setting for a while."""

    def __init__(self, api: Running, key: str, value: Any) -> None:
        self._api, self._key, self._value = api, key, value

    def __enter__(self) -> None:
        answer = self._api.ask("PUT", f"/api/v1/configs/{self._key}", {"value": self._value})
        assert answer.status == 200, answer.body

    def __exit__(self, *_: object) -> None:
        assert self._api.ask("DELETE", f"/api/v1/configs/{self._key}").status == 204


def rank(api: Running, *texts: Any, query: str = QUERY, **fields: Any) -> Response:
    return api.ask("POST", "/api/v1/rerank", {"model": MODEL, "query": query, "documents": list(texts)} | fields)


def search(api: Running, base: str, **fields: Any) -> Response:
    return api.ask("POST", f"/api/v1/knowledge/{base}/search", {"query": QUERY} | fields)


def texts(answer: Response) -> list[str]:
    assert answer.status == 200, answer.body
    return [each["text"] for each in answer.json["data"]]


def test_texts_come_back_best_first_with_figures_from_0_to_1(api: Running, model: str) -> None:
    answer = rank(api, BRAKES, BREAD, TYRES)

    assert answer.status == 200, answer.body
    assert answer.json["model"] == model
    results = answer.json["results"]
    assert results[0]["index"] == 1
    scores = [each["relevance_score"] for each in results]
    assert scores == sorted(scores, reverse=True)
    assert all(0 < score < 1 for score in scores)
    assert not any(each["truncated"] or "document" in each for each in results)
    assert answer.json["usage"]["prompt_tokens"] == answer.json["usage"]["total_tokens"] > 30


def test_only_so_many_are_named_and_with_their_texts_if_wanted(api: Running, model: str) -> None:
    wrapped = [{"text": BRAKES}, BREAD]
    answer = rank(api, *wrapped, model="rerank-english", top_n=1, return_documents=True)

    assert answer.json["model"] == model, "an alias stands for the model"
    assert [(each["index"], each["document"]) for each in answer.json["results"]] == [(1, {"text": BREAD})]


def test_fields_of_other_services_are_ignored_by_name(api: Running, model: str) -> None:
    answer = rank(api, BRAKES, max_tokens_per_doc=100)
    assert answer.status == 200
    assert "max_tokens_per_doc" in answer.headers["x-secureai-ignored"]


def test_a_text_that_is_too_long_is_read_in_part_and_that_is_told(api: Running, model: str) -> None:
    (result,) = rank(api, "flour " * 2000).json["results"]
    assert result["truncated"]


def test_what_clients_leave_empty_is_as_left_out(api: Running, model: str) -> None:
    answer = rank(api, BRAKES, top_n=None, return_documents=None)
    assert answer.status == 200, answer.body
    assert "document" not in answer.json["results"][0]


@pytest.mark.parametrize(
    ("fields", "status", "code"),
    [
        ({"documents": []}, 400, None),
        ({"query": ""}, 400, None),
        ({"query": "word " * 400}, 400, "context_length_exceeded"),
        ({"top_n": 0}, 400, None),
        ({"documents": [1]}, 400, None),
        ({"model": "gpt-4"}, 422, "unsupported_model"),
        ({"model": "text-embedding-3-small"}, 422, "unsupported_model"),
        ({"model": "nothing"}, 404, "model_not_found"),
    ],
)
def test_what_can_t_be_ranked_says_why(
    api: Running, model: str, fields: dict[str, Any], status: int, code: str | None
) -> None:
    answer = rank(api, BRAKES, **fields)
    assert answer.status == status, answer.body
    assert code is None or answer.json["error"]["code"] == code


def test_a_rerank_model_is_listed_as_one_and_does_nothing_else(api: Running, model: str) -> None:
    assert api.ask("GET", f"/api/v1/models/{model}").json["capabilities"] == ["rerank"]
    refused = [
        api.chat("Hello", model=model),
        api.ask("POST", "/api/v1/embeddings", {"model": model, "input": "a"}),
        api.ask("PATCH", f"/api/v1/models/{model}", {"aliases": {"add": ["default"]}}),
        api.ask("PATCH", f"/api/v1/models/{model}", {"settings": {"slots": 2}}),
        api.ask("POST", "/api/v1/knowledge", {"name": "By rank", "embedding_model": model}),
    ]
    assert [answer.status for answer in refused] == [422] * 5
    tokens = api.ask("POST", "/api/v1/tokenize", {"model": model, "input": "Bread"}).json
    assert tokens["context_length"] == 512


def test_a_search_is_put_into_the_models_order(api: Running, base: str, chosen: str) -> None:
    before = search(api, base, rerank=False)
    answer = search(api, base, explain=True)

    assert texts(before)[0] == BRAKES
    assert before.json["rerank"] is None
    assert texts(answer)[0] == BREAD
    assert sorted(texts(answer)) == sorted(texts(before)), "nothing is lost on the way"
    assert answer.json["rerank"] == {"model": chosen, "passages": 3, "failure": None}
    scores = [each["score"] for each in answer.json["data"]]
    assert scores == sorted(scores, reverse=True)
    read = answer.json["trace"]["reranked"]
    assert [each["place"] for each in read] == [1, 2, 3]
    assert sorted((each["score"] for each in read), reverse=True) == scores


def test_what_the_model_did_not_read_is_told(api: Running, base: str, chosen: str) -> None:
    with setting(api, "knowledge.rerank_passages", 2):
        answer = search(api, base, top_k=1, explain=True).json

    assert answer["rerank"]["passages"] == 2
    assert [each["reason"] for each in answer["trace"]["cut"]].count("not_reranked") == 1


def test_passages_below_min_score_are_left_out_by_the_models_figure(api: Running, base: str, chosen: str) -> None:
    assert texts(search(api, base, min_score=0.5)) == [BREAD]


def test_without_a_model_a_search_that_wants_one_says_so(api: Running, base: str) -> None:
    assert search(api, base).json["rerank"] is None
    refused = search(api, base, rerank=True)
    assert (refused.status, refused.json["error"]["details"]["field"]) == (422, "rerank")


@pytest.mark.parametrize("name", ["nothing", "gpt-4"])
def test_a_model_that_can_t_be_used_leaves_the_order_and_says_why(api: Running, base: str, name: str) -> None:
    with setting(api, "knowledge.rerank_model", name):
        answer = search(api, base)
        assert texts(answer)[0] == BRAKES
        assert answer.json["rerank"]["passages"] == 0
        assert name in answer.json["rerank"]["failure"]
        assert search(api, base, rerank=True).status in {404, 422}


def test_what_is_deleted_while_the_model_reads_is_not_shown(
    api: Running, base: str, chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = f"/api/v1/knowledge/{base}/documents"
    text = "Flour, yeast and a secret."
    added = upload_form(api, path, form(("secret.txt", text.encode(), "text/plain"))).json["id"]
    ready(api, f"/api/v1/knowledge/{base}")
    assert text in texts(search(api, base))
    scores = reranking.Reranker.scores

    def deleting(*given: Any) -> Any:
        found = scores(*given)
        assert api.ask("DELETE", f"{path}/{added}").status == 204
        return found

    monkeypatch.setattr(reranking.Reranker, "scores", deleting)
    answer = search(api, base, explain=True)
    assert len(texts(answer)) == 3
    assert text not in str(answer.json)


def test_what_is_taken_away_while_the_model_reads_is_not_shown(
    api: Running, base: str, chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = api.make_user("reader@rerank.example")
    path = f"/api/v1/knowledge/{base}"
    assert api.ask("PATCH", path, {"visibility": "everyone"}).status == 200
    scores = reranking.Reranker.scores

    def unsharing(*given: Any) -> Any:
        found = scores(*given)
        assert api.ask("PATCH", path, {"visibility": "private"}).status == 200
        return found

    monkeypatch.setattr(reranking.Reranker, "scores", unsharing)
    answer = api.ask("POST", f"{path}/search", {"query": QUERY}, key=key)
    assert answer.status == 404
    assert BREAD not in answer.body.decode()


def test_a_busy_model_leaves_the_order(api: Running, base: str, chosen: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def busy(*_: object) -> None:
        raise ServiceUnavailable("The rerank model is busy.", retry_after=1)

    monkeypatch.setattr(reranking.Reranker, "_scores", busy)
    assert search(api, base).json["rerank"]["failure"] == "The rerank model is busy."
    assert search(api, base, rerank=True).status == 503


@pytest.mark.parametrize("what", ["rerank", "search", "embeddings"])
def test_what_was_computed_for_who_hung_up_counts(
    api: Running, base: str, chosen: str, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    def hung_up(*_: object, **__: object) -> None:
        raise Abandoned(123)

    monkeypatch.setattr(reranker.Reranker, "score", hung_up)
    monkeypatch.setattr(Embedder, "embed", hung_up)
    assert api.ask("PATCH", f"/api/v1/knowledge/{base}", {"visibility": "everyone"}).status == 200
    ann = person(api)
    path, body = {
        "rerank": ("/rerank", {"model": MODEL, "query": QUERY, "documents": [BRAKES]}),
        "search": (f"/knowledge/{base}/search", {"query": QUERY, "mode": "keyword"}),
        "embeddings": ("/embeddings", {"model": "text-embedding-3-small", "input": "a"}),
    }[what]
    assert ann.ask("POST", path, body).status == 499
    for _ in range(2000):  # it is counted after the answer
        windows = {each["name"]: each["used"] for each in ann.ask("GET", "/me/limits").json["windows"]}
        if windows["tokens-day"]:
            break
    assert windows["tokens-day"] == 123


def test_answers_rest_on_what_the_model_puts_first(api: Running, base: str, chosen: str) -> None:
    def first(**retrieval: Any) -> str:
        answer = api.chat(QUERY, max_tokens=1, knowledge_base_ids=[base], retrieval={"min_score": 0.0} | retrieval)
        assert answer.status == 200, answer.body
        return str(answer.json["citations"][0]["quote"])

    assert first() == BREAD
    assert first(rerank=False) == BRAKES


def test_figures_of_the_model_are_not_compared_with_relevance(
    api: Running, base: str, chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A question that may refer to the one before is looked for in two ways; the model fails at the second."""
    answers = iter([[0.3, 0.2, 0.1], ServiceUnavailable("The rerank model is busy.", retry_after=1)])

    def once(*_: object) -> list[float]:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(reranking.Reranker, "_scores", once)
    said = [
        {"role": "user", "content": QUERY},
        {"role": "assistant", "content": "Every two years."},
        {"role": "user", "content": "And the tyres?"},
    ]
    body = {"model": "default", "messages": said, "max_tokens": 1, "knowledge_base_ids": [base]}
    with setting(api, "knowledge.rerank_min_score", 0.25), setting(api, "knowledge.min_score", 1.0):
        found = api.ask("POST", "/api/v1/chat/completions", body).json["retrieval"]
    assert not list(answers), "both were asked"
    assert (found["outcome"], found["best_score"]) == ("passages", 0.3)


def test_an_answers_trace_says_why_the_model_read_nothing(api: Running, base: str, chosen: str) -> None:
    def told() -> Any:
        answer = api.chat(QUERY, max_tokens=1, knowledge_base_ids=[base]).json["retrieval"]["trace_id"]
        return api.ask("GET", f"/api/v1/knowledge/{base}/traces/{answer}").json["search"]["rerank"]

    assert told() == {"model": chosen, "passages": 3, "failure": None}
    with setting(api, "knowledge.rerank_model", "nothing"):
        assert "nothing" in told()["failure"]
    with setting(api, "knowledge.rerank_model", ""):
        assert told() is None


def test_the_models_figure_can_decide_whether_the_documents_say_it(api: Running, base: str, chosen: str) -> None:
    def outcome() -> dict[str, Any]:
        found: dict[str, Any] = api.chat(QUERY, max_tokens=1, knowledge_base_ids=[base]).json["retrieval"]
        return found

    with setting(api, "knowledge.rerank_min_score", 0.3):
        assert (outcome()["outcome"], outcome()["min_score"], outcome()["sources"]) == ("passages", 0.3, 1)
    with setting(api, "knowledge.rerank_min_score", 0.999):
        nothing = outcome()
    assert nothing["outcome"] == "not_in_documents"
    trace = api.ask("GET", f"/api/v1/knowledge/{base}/traces/{nothing['trace_id']}").json["search"]
    said = {each["chunk_id"]: each["score"] for each in trace["reranked"]}
    assert {each["chunk_id"]: each["score"] for each in trace["cut"] if each["reason"] == "min_score"} == said
    assert outcome()["min_score"] == 0.4, "0: relevance decides"
