"""The real OpenAI clients, pointed at an appliance by nothing but their base URL."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import openai
import pytest

from tests.support.running import PATIENCE, Running

NODE = Path(__file__).parents[1] / "clients" / "node"


@pytest.fixture(scope="module")
def client(api: Running) -> openai.OpenAI:
    return openai.OpenAI(base_url=api.base_url, api_key=api.key, max_retries=0, timeout=PATIENCE)


def test_python_asks_for_a_completion(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model="gpt-4", messages=[{"role": "user", "content": "Say hello."}], max_tokens=8
    )
    assert answer.choices[0].message.content
    assert answer.usage is not None
    assert answer.usage.completion_tokens > 0


def test_python_streams_a_completion(client: openai.OpenAI) -> None:
    chunks = list(
        client.chat.completions.create(
            model="gpt-4",
            messages=[{"role": "user", "content": "Say hello."}],
            max_tokens=8,
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert chunks[-1].usage is not None


def test_python_lists_models(client: openai.OpenAI) -> None:
    names = {model.id for model in client.models.list()}
    assert {"smollm2-135m-instruct", "all-minilm-l6-v2", "gpt-4", "default"} <= names
    assert client.models.retrieve("gpt-4").object == "model"


def test_python_embeds(client: openai.OpenAI) -> None:
    answer = client.embeddings.create(model="text-embedding-3-small", input=["one", "two"])
    assert [len(entry.embedding) for entry in answer.data] == [384, 384]


def test_python_gets_the_exceptions_that_it_knows(client: openai.OpenAI, api: Running) -> None:
    with pytest.raises(openai.NotFoundError) as missing:
        client.chat.completions.create(model="none", messages=[{"role": "user", "content": "x"}])
    assert missing.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError) as bad:
        client.chat.completions.create(model="gpt-4", messages=[])
    assert bad.value.param == "messages"
    with pytest.raises(openai.AuthenticationError):
        openai.OpenAI(base_url=api.base_url, api_key="sk-wrong", max_retries=0).models.list()


SCRIPT = """
import OpenAI from "openai";
const client = new OpenAI({ baseURL: process.env.BASE_URL, apiKey: process.env.KEY, maxRetries: 0 });
const request = { model: "gpt-4", messages: [{ role: "user", content: "Say hello." }], max_tokens: 8 };
const whole = await client.chat.completions.create(request);
let streamed = "";
for await (const chunk of await client.chat.completions.create({ ...request, stream: true }))
  streamed += chunk.choices[0]?.delta?.content ?? "";
const models = [];
for await (const model of client.models.list()) models.push(model.id);
const embedded = await client.embeddings.create({ model: "text-embedding-3-small", input: "one" });
let code = null;
try { await client.chat.completions.create({ ...request, model: "none" }); } catch (error) { code = error.code; }
console.log(JSON.stringify({
  whole: whole.choices[0].message.content, streamed, models, dimensions: embedded.data[0].embedding.length, code,
}));
"""


def test_javascript_asks_streams_lists_embeds_and_fails_as_it_should(api: Running) -> None:
    if shutil.which("node") is None or not (NODE / "node_modules" / "openai").is_dir():
        if os.environ.get("CI"):
            pytest.fail("node or its packages are missing: packaging/test.sh installs them")
        pytest.skip("node is not installed: the JavaScript client was not tried")
    done = subprocess.run(
        ["node", "--input-type=module", "-e", SCRIPT],
        cwd=NODE,
        env={**os.environ, "BASE_URL": api.base_url, "KEY": api.key},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["whole"]
    assert said["streamed"]
    assert {"smollm2-135m-instruct", "gpt-4"} <= set(said["models"])
    assert said["dimensions"] == 384
    assert said["code"] == "model_not_found"
