"""Every route on one screen."""

# ruff: noqa: E501, S106 (a row of the table is a line; `secret_field` is a name)

from __future__ import annotations

from functools import cache

from secureai_appliance.accounts.groups import Group, GroupCreate, GroupPatch, MembersAdd
from secureai_appliance.accounts.keys import Key, KeyCreate, KeyCreated, KeyPatch, KeyQuery, KeyRotate
from secureai_appliance.accounts.oauth.clients import Client, ClientCreate, ClientCreated, ClientPatch
from secureai_appliance.accounts.oauth.grants import Authorization
from secureai_appliance.accounts.sessions import Session, SignInLink
from secureai_appliance.accounts.user_fields import Me, User, UserCreate, UserDelete, UserPatch, UserQuery
from secureai_appliance.conversations.answers import ChatCompletion
from secureai_appliance.conversations.assistants import Assistant, AssistantCreate, AssistantPatch, AssistantQuery
from secureai_appliance.conversations.chat_messages import ChatMessage
from secureai_appliance.conversations.chats import (
    Chat,
    ChatCreate,
    ChatPatch,
    ChatQuery,
    ListedChat,
    OthersQuery,
    WholeChat,
)
from secureai_appliance.conversations.embeddings import EmbeddingList, EmbeddingRequest
from secureai_appliance.conversations.messages import ChatRequest
from secureai_appliance.conversations.prompts import (
    Prompt,
    PromptCreate,
    PromptPatch,
    PromptQuery,
    PromptRender,
    RenderedPrompt,
)
from secureai_appliance.conversations.reranking import RerankList, RerankRequest
from secureai_appliance.conversations.text_completions import TextCompletion, TextRequest
from secureai_appliance.conversations.tokenizing import TokenizeRequest, TokenList
from secureai_appliance.conversations.toolbox.shapes import Tool, ToolCreate, ToolPatch, ToolQuery
from secureai_appliance.conversations.toolbox.toolbox import ToolResult
from secureai_appliance.core.jobs import JobState
from secureai_appliance.governance.audit import AuditLog, AuditQuery
from secureai_appliance.governance.chain import Verification
from secureai_appliance.governance.configs import Config, ConfigsExport, ConfigsPatch, ConfigValue
from secureai_appliance.governance.deliveries import Delivery, DeliveryQuery
from secureai_appliance.governance.maintenance import Maintenance, MaintenancePut
from secureai_appliance.governance.quotas import LimitState
from secureai_appliance.governance.usage_reports import UsagePage, UsageQuery
from secureai_appliance.governance.webhooks import Webhook, WebhookCreate, WebhookCreated, WebhookPatch
from secureai_appliance.knowledge.arrivals import FromUpload, IntoBase
from secureai_appliance.knowledge.bases import KnowledgeBase, KnowledgeCreate, KnowledgePatch
from secureai_appliance.knowledge.chunks import Chunk
from secureai_appliance.knowledge.documents import Document, DocumentQuery, Uploaded
from secureai_appliance.knowledge.following.folders import Folder, FolderFile, FolderFileQuery, FolderPut
from secureai_appliance.knowledge.passages import Found, SearchRequest
from secureai_appliance.knowledge.traces import StoredTrace
from secureai_appliance.models.catalogue import Model, ModelPage
from secureai_appliance.models.changes import ModelPatch
from secureai_appliance.models.importing import ModelImport
from secureai_appliance.models.uploads import MAX_PART, Upload, UploadCreate
from secureai_appliance.store import ListQuery, Page
from secureai_appliance.web import docs, health, openapi, static
from secureai_appliance.web.admin import account, sign_in, welcome
from secureai_appliance.web.admin import maintenance as maintenance_page
from secureai_appliance.web.api import (
    archives,
    assistants,
    auditlogs,
    authorizations,
    chats,
    completions,
    configs,
    documents,
    embeddings,
    folders,
    groups,
    keys,
    knowledge,
    maintenance,
    me,
    models,
    oauth_clients,
    prompts,
    rerank,
    schedule,
    sessions,
    tokenize,
    tools,
    uploads,
    usage,
    users,
    webhooks,
)
from secureai_appliance.web.api.documents import BaseUploadForm, UploadForm
from secureai_appliance.web.metrics import CONTENT_TYPE as METRICS_TYPE
from secureai_appliance.web.oauth import authorize, device, tokens
from secureai_appliance.web.pages import HTML
from secureai_appliance.web.route import KB, MB, PART, Access, Route

PUBLIC = Access.PUBLIC
_CHAT = {"model": "gpt-4", "messages": [{"role": "user", "content": "What brake pads fit a 2019 Honda Civic?"}]}
_CLIENT = {"name": "Notes", "redirect_uris": ["https://notes.example.org/callback"], "scopes": ["completions:create"]}
_WEBHOOK = {"url": "https://hooks.example.org/secureai", "events": ["chat.completed", "user.created"]}
_ASSISTANT = {
    "name": "Parts desk",
    "system_prompt": "You are a helpful automotive parts assistant.",
    "starters": ["What fits my car?"],
}
_TOOL = {"name": "calculator", "type": "builtin", "builtin": "calculator"}
_OPENAPI = {
    "document": {"openapi": "3.1.0", "paths": {"/parts": {"get": {"operationId": "find_parts"}}}},
    "server_url": "https://parts.example.org",
}
_PROMPT = {"name": "Fitting part", "content": "What {{part}} fit a {{car}}?", "tags": ["workshop"]}
_TEXT = {"model": "gpt-4", "prompt": "A catalytic converter", "max_tokens": 32}
_RANKED = {
    "model": "bge-reranker-v2-m3",
    "query": "How often is brake fluid changed?",
    "documents": ["The tyres are changed twice a year.", "Brake fluid is changed every two years."],
}
_TEXTS = {"model": "text-embedding-3-small", "input": ["That is a happy person", "That is a very happy person"]}


@cache
def route_table() -> tuple[Route, ...]:
    """The table. OpenAPI, the documentation, the limits and the access test are made from it."""
    # fmt: off
    return (
        Route("POST", "/api/v1/chat/completions", completions.create, "completions:create", "Ask a model", "Chat completions", body=ChatRequest, example=_CHAT, answer=ChatCompletion, openai=True, streams=True, max_body=16 * MB, errors=(404, 422, 503), limit="completions"),
        Route("POST", "/api/v1/completions", completions.create_text, "completions:create", "Let a model continue a text", "Chat completions", body=TextRequest, example=_TEXT, answer=TextCompletion, openai=True, streams=True, unaudited="asks a model and changes nothing", max_body=16 * MB, errors=(404, 422, 503), limit="completions"),
        Route("POST", "/api/v1/tokenize", tokenize.create, "completions:create", "The tokens of a text or of messages", "Chat completions", body=TokenizeRequest, example={"model": "gpt-4", "input": "Brake pads"}, answer=TokenList, openai=True, streams=True, unaudited="asks a model and changes nothing", max_body=16 * MB, errors=(404, 422, 503)),
        Route("POST", "/api/v1/embeddings", embeddings.create, "embeddings:create", "Turn texts into vectors", "Embeddings", body=EmbeddingRequest, example=_TEXTS, answer=EmbeddingList, openai=True, streams=True, unaudited="asks a model and changes nothing", max_body=16 * MB, errors=(404, 422, 503), limit="completions"),
        Route("POST", "/api/v1/rerank", rerank.create, "embeddings:create", "Which texts answer a question best", "Embeddings", body=RerankRequest, example=_RANKED, answer=RerankList, openai=True, streams=True, unaudited="asks a model and changes nothing", max_body=16 * MB, errors=(404, 422, 503), limit="completions"),

        Route("GET", "/api/v1/chats", chats.index, "chats:read", "Chats, newest first; search with `q`", "Chats", query=ChatQuery, answer=Page[ListedChat]),
        Route("POST", "/api/v1/chats", chats.create, "chats:write", "Begin a chat", "Chats", body=ChatCreate, example={"title": "Brake pad compatibility", "tags": ["parts"]}, answer=Chat, status=201, writes=True),
        Route("GET", "/api/v1/chats/{id}", chats.show, "chats:read", "One chat with its messages", "Chats", query=OthersQuery, answer=WholeChat, errors=(404,)),
        Route("PATCH", "/api/v1/chats/{id}", chats.update, "chats:write", "Change a chat's title, tags and metadata, or archive it", "Chats", body=ChatPatch, example={"tags": ["parts", "2026"]}, answer=Chat, writes=True, errors=(404, 412)),
        Route("DELETE", "/api/v1/chats/{id}", chats.delete, "chats:write", "Delete a chat with its messages", "Chats", status=204, writes=True, errors=(404, 412)),
        Route("POST", "/api/v1/chats/{id}/archive", chats.archive, "chats:write", "Put a chat away", "Chats", answer=Chat, writes=True, errors=(404,)),
        Route("POST", "/api/v1/chats/{id}/unarchive", chats.unarchive, "chats:write", "Take a chat out of the archive", "Chats", answer=Chat, writes=True, errors=(404,)),
        Route("GET", "/api/v1/chats/{id}/messages", chats.messages, "chats:read", "The messages of a chat, oldest first", "Chats", query=chats.MessagesQuery, answer=Page[ChatMessage], errors=(404,)),
        Route("GET", "/api/v1/chats/{id}/export", chats.export, "chats:read", "A chat as a file: JSON or Markdown", "Chats", query=chats.ExportQuery, other_types=("text/markdown",), errors=(404,)),

        Route("GET", "/api/v1/models", models.index, "models:read", "Models and their aliases, on request assistants too", "Models", query=models.ModelQuery, answer=ModelPage, openai=True),
        Route("GET", "/api/v1/models/{id}", models.show, "models:read", "One model", "Models", answer=Model, openai=True, errors=(404,)),
        Route("GET", "/api/v1/models/{id}/queue", models.queue, "models:read", "How busy a model is", "Models", answer=models.Queue, errors=(404,)),
        Route("POST", "/api/v1/models", models.create, "models:write", "Import a model from the import folder, or add a remote one", "Models", body=ModelImport, example={"file": "Llama-3.2-3B-Instruct-Q4_K_M.gguf"}, answer=Model, status=201, streams=True, errors=(404, 409, 422, 503)),
        Route("GET", "/api/v1/uploads", uploads.index, "knowledge:write", "The caller's uploads", "Uploads", or_access="models:write", query=ListQuery, answer=Page[Upload]),
        Route("POST", "/api/v1/uploads", uploads.create, "knowledge:write", "Begin to upload a large file in parts", "Uploads", or_access="models:write", body=UploadCreate, example={"filename": "Llama-3.2-3B-Instruct-Q4_K_M.gguf", "size": 2019377696, "sha256": "0" * 64}, answer=Upload, status=201, writes=True, errors=(409, 413)),
        Route("GET", "/api/v1/uploads/{id}", uploads.show, "knowledge:write", "One upload; its offset also in `Upload-Offset`", "Uploads", or_access="models:write", answer=Upload, errors=(404,)),
        Route("PATCH", "/api/v1/uploads/{id}", uploads.append, "knowledge:write", "Add a part at `Upload-Offset`", "Uploads", or_access="models:write", raw=PART, answer=Upload, max_body=MAX_PART, errors=(404, 409, 412, 413, 415, 422)),
        Route("DELETE", "/api/v1/uploads/{id}", uploads.delete, "knowledge:write", "Give an upload up", "Uploads", or_access="models:write", status=204, errors=(404, 412)),
        Route("PATCH", "/api/v1/models/{id}", models.update, "models:write", "Change a model's aliases, pin and settings", "Models", body=ModelPatch, example={"aliases": {"add": ["gpt-5"]}, "pinned": True}, answer=Model, writes=True, errors=(404, 409, 412, 422)),
        Route("DELETE", "/api/v1/models/{id}", models.delete, "models:write", "Remove an imported model and its file", "Models", status=204, errors=(404, 409, 412, 422)),
        Route("POST", "/api/v1/models/{id}/load", models.load, "models:write", "Load a model now", "Models", answer=Model, streams=True, errors=(404, 503)),
        Route("POST", "/api/v1/models/{id}/unload", models.unload, "models:write", "Take a model out of memory", "Models", answer=Model, errors=(404, 409)),

        Route("GET", "/api/v1/knowledge", knowledge.index, "knowledge:read", "Knowledge bases that the caller may read", "Knowledge", query=ListQuery, answer=Page[KnowledgeBase]),
        Route("POST", "/api/v1/knowledge", knowledge.create, "knowledge:write", "Make a knowledge base", "Knowledge", body=KnowledgeCreate, example={"name": "Workshop manuals"}, answer=KnowledgeBase, status=201, writes=True, errors=(404, 409, 422)),
        Route("GET", "/api/v1/knowledge/{id}", knowledge.show, "knowledge:read", "One knowledge base, by its id or slug", "Knowledge", answer=KnowledgeBase, errors=(404,)),
        Route("PATCH", "/api/v1/knowledge/{id}", knowledge.update, "knowledge:write", "Change a knowledge base", "Knowledge", body=KnowledgePatch, example={"visibility": "everyone"}, answer=KnowledgeBase, writes=True, errors=(404, 409, 412, 422)),
        Route("DELETE", "/api/v1/knowledge/{id}", knowledge.delete, "knowledge:write", "Delete a knowledge base and all of its documents", "Knowledge", status=204, writes=True, errors=(404, 412)),
        Route("POST", "/api/v1/knowledge/import", archives.create, "knowledge:write", "Make a knowledge base of an export", "Knowledge", body=archives.ImportUpload, multipart=archives.ImportForm, example={"upload_id": "upl-4fQxCq2mJ8sLw0ZbTnVd"}, answer=KnowledgeBase, status=201, streams=True, errors=(404, 409, 413, 415, 422, 503)),
        Route("GET", "/api/v1/knowledge/{id}/export", archives.export, "knowledge:read", "A whole knowledge base as a zip file", "Knowledge", content_type=archives.TYPE, streams=True, errors=(404,)),
        Route("GET", "/api/v1/knowledge/{id}/folder", folders.show, "knowledge:read", "The server's folder that a knowledge base is filled from", "Knowledge", answer=Folder, errors=(404,)),
        Route("PUT", "/api/v1/knowledge/{id}/folder", folders.put, "knowledge:watch", "Have a knowledge base filled from a folder of the server", "Knowledge", body=FolderPut, example={"path": "/srv/manuals"}, answer=Folder, errors=(404, 412, 422)),
        Route("DELETE", "/api/v1/knowledge/{id}/folder", folders.delete, "knowledge:watch", "Follow the folder no more; its documents stay", "Knowledge", status=204, writes=True, errors=(404, 412)),
        Route("GET", "/api/v1/knowledge/{id}/folder/files", folders.files, "knowledge:read", "What was found in the folder", "Knowledge", query=FolderFileQuery, answer=Page[FolderFile], errors=(404,)),
        Route("GET", "/api/v1/assistants", assistants.index, "assistants:read", "Assistants that the caller may use", "Assistants", query=AssistantQuery, answer=Page[Assistant]),
        Route("POST", "/api/v1/assistants", assistants.create, "assistants:write", "Make an assistant", "Assistants", body=AssistantCreate, example=_ASSISTANT, answer=Assistant, status=201, writes=True, errors=(409, 422)),
        Route("GET", "/api/v1/assistants/{id}", assistants.show, "assistants:read", "One assistant", "Assistants", answer=Assistant, errors=(404,)),
        Route("PATCH", "/api/v1/assistants/{id}", assistants.update, "assistants:write", "Change an assistant", "Assistants", body=AssistantPatch, example={"parameters": {"temperature": 0.2}}, answer=Assistant, writes=True, errors=(404, 409, 412, 422)),
        Route("DELETE", "/api/v1/assistants/{id}", assistants.delete, "assistants:write", "Delete an assistant", "Assistants", status=204, writes=True, errors=(404, 412)),

        Route("GET", "/api/v1/tools", tools.index, "tools:read", "Tools that the caller may use", "Tools", query=ToolQuery, answer=Page[Tool]),
        Route("POST", "/api/v1/tools", tools.create, "tools:write", "Register a tool; an MCP server is asked for its own", "Tools", body=ToolCreate, example=_TOOL, answer=Tool, status=201, streams=True, errors=(409, 422, 503)),
        Route("POST", "/api/v1/tools/import", tools.import_, "tools:write", "Make tools of an OpenAPI document", "Tools", body=tools.ToolImport, example=_OPENAPI, answer=tools.ToolsImported, status=201, writes=True, errors=(409, 422)),
        Route("GET", "/api/v1/tools/{id}", tools.show, "tools:read", "One tool", "Tools", answer=Tool, errors=(404,)),
        Route("PATCH", "/api/v1/tools/{id}", tools.update, "tools:write", "Change a tool", "Tools", body=ToolPatch, example={"description": "Computes"}, answer=Tool, streams=True, errors=(404, 409, 412, 422, 503)),
        Route("DELETE", "/api/v1/tools/{id}", tools.delete, "tools:write", "Delete a tool", "Tools", status=204, writes=True, errors=(404, 412)),
        Route("POST", "/api/v1/tools/{id}/invoke", tools.invoke, "tools:invoke", "Call a tool oneself", "Tools", body=tools.ToolInvoke, example={"arguments": {"expression": "(17.5 + 3) * 12"}}, answer=ToolResult, streams=True, errors=(404, 503), limit="tokens"),

        Route("GET", "/api/v1/prompts", prompts.index, "prompts:read", "Saved prompts", "Prompts", query=PromptQuery, answer=Page[Prompt]),
        Route("POST", "/api/v1/prompts", prompts.create, "prompts:write", "Save a prompt", "Prompts", body=PromptCreate, example=_PROMPT, answer=Prompt, status=201, writes=True, errors=(409, 422)),
        Route("GET", "/api/v1/prompts/{id}", prompts.show, "prompts:read", "One prompt", "Prompts", answer=Prompt, errors=(404,)),
        Route("PATCH", "/api/v1/prompts/{id}", prompts.update, "prompts:write", "Change a prompt", "Prompts", body=PromptPatch, example={"tags": ["workshop"]}, answer=Prompt, writes=True, errors=(404, 409, 412)),
        Route("DELETE", "/api/v1/prompts/{id}", prompts.delete, "prompts:write", "Delete a prompt", "Prompts", status=204, writes=True, errors=(404, 412)),
        Route("POST", "/api/v1/prompts/{id}/render", prompts.render, "prompts:read", "Fill in a prompt's variables", "Prompts", body=PromptRender, example={"variables": {"part": "brake pads", "car": "2019 Honda Civic"}}, answer=RenderedPrompt, unaudited="changes nothing", errors=(404, 422)),

        Route("POST", "/api/v1/knowledge/{id}/search", documents.find, "knowledge:read", "Find passages", "Knowledge", body=SearchRequest, example={"query": "How often is brake fluid changed?"}, answer=Found, unaudited="searches and changes nothing", errors=(404, 503), limit="tokens"),
        Route("GET", "/api/v1/knowledge/{id}/traces/{trace_id}", knowledge.trace, "knowledge:read", "How the passages of an answer of one's own were found", "Knowledge", query=OthersQuery, answer=StoredTrace, errors=(404,)),
        Route("GET", "/api/v1/knowledge/{id}/documents", documents.index, "knowledge:read", "Documents of a knowledge base", "Documents", query=DocumentQuery, answer=Page[Document], errors=(404,)),
        Route("POST", "/api/v1/knowledge/{id}/documents", documents.create, "knowledge:write", "Upload files into a knowledge base", "Documents", body=FromUpload, multipart=UploadForm, example={"upload_id": "upl-4fQxCq2mJ8sLw0ZbTnVd"}, answer=Uploaded, status=201, errors=(404, 409, 413, 415)),
        Route("GET", "/api/v1/knowledge/{id}/documents/{document_id}", documents.show, "knowledge:read", "One document", "Documents", answer=Document, errors=(404,)),
        Route("DELETE", "/api/v1/knowledge/{id}/documents/{document_id}", documents.delete, "knowledge:write", "Delete a document", "Documents", status=204, writes=True, errors=(404, 412)),
        Route("POST", "/api/v1/knowledge/{id}/documents/{document_id}/reindex", documents.reindex, "knowledge:write", "Read a document again", "Documents", answer=Document, writes=True, errors=(404,)),
        Route("POST", "/api/v1/knowledge/{id}/documents/{document_id}/cancel", documents.cancel, "knowledge:write", "Stop reading a document", "Documents", answer=Document, writes=True, errors=(404, 409)),
        Route("GET", "/api/v1/knowledge/{id}/documents/{document_id}/content", documents.content, "knowledge:read", "A document's original file", "Documents", content_type="application/octet-stream", errors=(404,)),
        Route("GET", "/api/v1/knowledge/{id}/documents/{document_id}/chunks", documents.chunks, "knowledge:read", "What can be found of a document", "Documents", query=ListQuery, answer=Page[Chunk], errors=(404,)),
        Route("GET", "/api/v1/documents", documents.index, "knowledge:read", "Documents of all knowledge bases that the caller may read", "Documents", query=DocumentQuery, answer=Page[Document], errors=(404,)),
        Route("POST", "/api/v1/documents", documents.create, "knowledge:write", "Upload files into the knowledge base of the field `knowledge_base_id`", "Documents", body=IntoBase, multipart=BaseUploadForm, example={"upload_id": "upl-4fQxCq2mJ8sLw0ZbTnVd", "knowledge_base_id": "kb-4fQxCq2mJ8sLw0ZbTnVd"}, answer=Uploaded, status=201, errors=(404, 409, 413, 415)),
        Route("GET", "/api/v1/documents/{document_id}", documents.show, "knowledge:read", "One document", "Documents", answer=Document, errors=(404,)),
        Route("DELETE", "/api/v1/documents/{document_id}", documents.delete, "knowledge:write", "Delete a document", "Documents", status=204, writes=True, errors=(404, 412)),

        Route("GET", "/api/v1/me", me.show, Access.SIGNED_IN, "Who the caller is", "Users", answer=Me),
        Route("GET", "/api/v1/me/limits", me.limits, Access.SIGNED_IN, "The caller's limits, and what is left of them", "Users", answer=LimitState),
        Route("GET", "/api/v1/me/sessions", sessions.index, "keys:read", "Where the caller is signed in to the pages", "Users", query=ListQuery, answer=Page[Session]),
        Route("DELETE", "/api/v1/me/sessions/{id}", sessions.delete, "keys:write", "End a session of the pages", "Users", status=204, writes=True, errors=(404,)),
        Route("GET", "/api/v1/keys", keys.index, "keys:read", "The caller's keys, or another user's", "API keys", query=KeyQuery, answer=Page[Key]),
        Route("POST", "/api/v1/keys", keys.create, "keys:write", "Make a key; it is shown this once", "API keys", body=KeyCreate, example={"name": "reports"}, answer=KeyCreated, status=201, writes=True, secret_field="key", errors=(409, 422)),
        Route("GET", "/api/v1/keys/{id}", keys.show, "keys:read", "One key", "API keys", answer=Key, errors=(404,)),
        Route("PATCH", "/api/v1/keys/{id}", keys.update, "keys:write", "Change a key", "API keys", body=KeyPatch, example={"name": "monthly reports"}, answer=Key, writes=True, errors=(404, 412)),
        Route("POST", "/api/v1/keys/{id}/rotate", keys.rotate, "keys:write", "Give a key a new secret; it is shown this once", "API keys", body=KeyRotate, example={"grace_seconds": 3600}, answer=KeyCreated, writes=True, secret_field="key", errors=(404,)),
        Route("DELETE", "/api/v1/keys/{id}", keys.delete, "keys:write", "Revoke a key", "API keys", status=204, writes=True, errors=(404, 412)),

        Route("GET", "/api/v1/usage", usage.index, "usage:read", "Everybody's usage", "Usage", query=UsageQuery, answer=UsagePage),
        Route("GET", "/api/v1/usage/export", usage.export, "usage:read", "Everybody's usage as CSV", "Usage", query=UsageQuery, content_type=usage.CSV),
        Route("GET", "/api/v1/me/usage", usage.mine, Access.SIGNED_IN, "The caller's usage", "Usage", query=UsageQuery, answer=UsagePage),

        Route("GET", "/api/v1/users", users.index, "users:read", "All users", "Users", query=UserQuery, answer=Page[User]),
        Route("POST", "/api/v1/users", users.create, "users:admin", "Make a user", "Users", body=UserCreate, example={"email": "ada@example.org", "name": "Ada"}, answer=User, status=201, writes=True, errors=(409,)),
        Route("GET", "/api/v1/users/{id}", users.show, "users:read", "One user", "Users", answer=User, errors=(404,)),
        Route("PATCH", "/api/v1/users/{id}", users.update, "users:admin", "Change a user: role, tier, groups, permissions, limits, disabled", "Users", body=UserPatch, example={"tier": "professional"}, answer=User, writes=True, errors=(404, 409, 412)),
        Route("DELETE", "/api/v1/users/{id}", users.delete, "users:admin", "Delete a user and what is theirs, or hand it over", "Users", query=UserDelete, status=204, writes=True, errors=(404, 409, 412)),

        Route("POST", "/api/v1/users/{id}/sign-in-link", users.invite, "users:admin", "Make a link that signs a user in once; it is shown this once", "Users", answer=SignInLink, status=201, writes=True, secret_field="url", errors=(404, 409)),
        Route("DELETE", "/api/v1/users/{id}/second-factor", users.remove_second_factor, "users:admin", "Take a user's second factor away and end their sessions", "Users", status=204, writes=True, errors=(404, 412)),

        Route("GET", "/api/v1/groups", groups.index, "users:read", "All groups", "Groups", query=ListQuery, answer=Page[Group]),
        Route("POST", "/api/v1/groups", groups.create, "users:admin", "Make a group", "Groups", body=GroupCreate, example={"name": "Workshop"}, answer=Group, status=201, writes=True, errors=(409,)),
        Route("GET", "/api/v1/groups/{id}", groups.show, "users:read", "One group", "Groups", answer=Group, errors=(404,)),
        Route("PATCH", "/api/v1/groups/{id}", groups.update, "users:admin", "Change a group", "Groups", body=GroupPatch, example={"description": "Everybody with a lift"}, answer=Group, writes=True, errors=(404, 409, 412)),
        Route("DELETE", "/api/v1/groups/{id}", groups.delete, "users:admin", "Delete a group", "Groups", status=204, writes=True, errors=(404, 412)),
        Route("GET", "/api/v1/groups/{id}/members", groups.members, "users:read", "A group's members", "Groups", query=UserQuery, answer=Page[User], errors=(404,)),
        Route("POST", "/api/v1/groups/{id}/members", groups.add_members, "users:admin", "Add members", "Groups", body=MembersAdd, example={"user_ids": ["usr-4fQxCq2mJ8sLw0ZbTnVd"]}, answer=Group, writes=True, errors=(404,)),
        Route("DELETE", "/api/v1/groups/{id}/members/{user_id}", groups.remove_member, "users:admin", "End a membership", "Groups", status=204, writes=True, errors=(404, 412)),

        Route("GET", "/api/v1/configs", configs.index, "configs:admin", "All settings, by group", "Settings", query=configs.ConfigQuery, answer=Page[Config]),
        Route("PATCH", "/api/v1/configs", configs.patch, "configs:admin", "Change many settings at once, all or none", "Settings", body=ConfigsPatch, example={"values": {"limits.failed_authentications_per_minute": 120}}, answer=ConfigsExport, writes=True),
        Route("GET", "/api/v1/configs/export", configs.export, "configs:admin", "The whole configuration, secrets masked", "Settings", answer=ConfigsExport),
        Route("POST", "/api/v1/configs/import", configs.import_, "configs:admin", "Make the configuration that of an export", "Settings", body=ConfigsExport, example={"format": "secureai-configs-1", "values": {}}, answer=ConfigsExport, writes=True),
        Route("GET", "/api/v1/configs/{key}", configs.show, "configs:admin", "One setting", "Settings", answer=Config, errors=(404,)),
        Route("PUT", "/api/v1/configs/{key}", configs.put, "configs:admin", "Change a setting", "Settings", body=ConfigValue, example={"value": 120}, answer=Config, writes=True, errors=(404, 412)),
        Route("DELETE", "/api/v1/configs/{key}", configs.reset, "configs:admin", "Put a setting back to its default", "Settings", status=204, writes=True, errors=(404, 412)),

        Route("GET", "/api/v1/auditlogs", auditlogs.index, "audit:read", "The audit log", "Audit log", query=AuditQuery, answer=Page[AuditLog]),
        Route("GET", "/api/v1/auditlogs/export", auditlogs.export, "audit:read", "The audit log as a file", "Audit log", query=auditlogs.ExportQuery, content_type=auditlogs.TYPES["jsonl"], other_types=("text/csv",), streams=True),
        Route("GET", "/api/v1/auditlogs/verify", auditlogs.verify, "audit:read", "Is the log what was written, and where not", "Audit log", answer=Verification, streams=True),
        Route("GET", "/api/v1/auditlogs/{id}", auditlogs.show, "audit:read", "One row of the audit log", "Audit log", answer=AuditLog, errors=(404,)),
        Route("GET", "/api/v1/schedule", schedule.index, "configs:admin", "What is done every now and then, and how it went", "Settings", query=schedule.ScheduleQuery, answer=Page[JobState]),

        Route("GET", "/api/v1/maintenance", maintenance.show, "configs:admin", "Maintenance mode", "Settings", answer=Maintenance),
        Route("PUT", "/api/v1/maintenance", maintenance.put, "configs:admin", "Start or end maintenance mode", "Settings", body=MaintenancePut, example={"enabled": False}, answer=Maintenance, writes=True, errors=(412,)),

        Route("GET", "/api/v1/webhooks", webhooks.index, "webhooks:admin", "Programs that are told of events", "Webhooks", query=ListQuery, answer=Page[Webhook]),
        Route("POST", "/api/v1/webhooks", webhooks.create, "webhooks:admin", "Add a webhook; its secret is shown this once", "Webhooks", body=WebhookCreate, example=_WEBHOOK, answer=WebhookCreated, status=201, writes=True, secret_field="secret"),
        Route("GET", "/api/v1/webhooks/deliveries/{id}", webhooks.show_delivery, "webhooks:admin", "One delivery", "Webhooks", answer=Delivery, errors=(404,)),
        Route("POST", "/api/v1/webhooks/deliveries/{id}/redeliver", webhooks.redeliver, "webhooks:admin", "Deliver an event again", "Webhooks", answer=Delivery, status=202, writes=True, errors=(404, 409)),
        Route("GET", "/api/v1/webhooks/{id}", webhooks.show, "webhooks:admin", "One webhook", "Webhooks", answer=Webhook, errors=(404,)),
        Route("PATCH", "/api/v1/webhooks/{id}", webhooks.update, "webhooks:admin", "Change a webhook, or switch it on and off", "Webhooks", body=WebhookPatch, example={"enabled": True}, answer=Webhook, writes=True, errors=(404, 412)),
        Route("DELETE", "/api/v1/webhooks/{id}", webhooks.delete, "webhooks:admin", "Remove a webhook and its deliveries", "Webhooks", status=204, writes=True, errors=(404, 412)),
        Route("POST", "/api/v1/webhooks/{id}/test", webhooks.test, "webhooks:admin", "Deliver a test event", "Webhooks", answer=Delivery, status=202, writes=True, errors=(404, 409)),
        Route("POST", "/api/v1/webhooks/{id}/rotate-secret", webhooks.rotate_secret, "webhooks:admin", "Give a webhook a new secret; the one before signs too for a day", "Webhooks", answer=WebhookCreated, writes=True, secret_field="secret", errors=(404,)),
        Route("GET", "/api/v1/webhooks/{id}/deliveries", webhooks.list_deliveries, "webhooks:admin", "What was delivered, and what was not", "Webhooks", query=DeliveryQuery, answer=Page[Delivery], errors=(404,)),

        Route("GET", "/api/v1/me/authorizations", authorizations.index, "keys:read", "Programs that may act for the caller", "OAuth", query=ListQuery, answer=Page[Authorization]),
        Route("GET", "/api/v1/me/authorizations/{id}", authorizations.show, "keys:read", "One of them", "OAuth", answer=Authorization, errors=(404,)),
        Route("DELETE", "/api/v1/me/authorizations/{id}", authorizations.delete, "keys:write", "End a program's access", "OAuth", status=204, writes=True, errors=(404, 412)),
        Route("GET", "/api/v1/oauth/clients", oauth_clients.index, "oauth:admin", "OAuth clients", "OAuth", query=ListQuery, answer=Page[Client]),
        Route("POST", "/api/v1/oauth/clients", oauth_clients.create, "oauth:admin", "Register a client; its secret is shown this once", "OAuth", body=ClientCreate, example=_CLIENT, answer=ClientCreated, status=201, writes=True, secret_field="client_secret"),
        Route("GET", "/api/v1/oauth/clients/{id}", oauth_clients.show, "oauth:admin", "One client", "OAuth", answer=Client, errors=(404,)),
        Route("PATCH", "/api/v1/oauth/clients/{id}", oauth_clients.update, "oauth:admin", "Change a client", "OAuth", body=ClientPatch, example={"name": "Notes"}, answer=Client, writes=True, errors=(404, 412)),
        Route("DELETE", "/api/v1/oauth/clients/{id}", oauth_clients.delete, "oauth:admin", "Remove a client and all of its access", "OAuth", status=204, writes=True, errors=(404, 412)),
        Route("POST", "/api/v1/oauth/clients/{id}/rotate-secret", oauth_clients.rotate_secret, "oauth:admin", "Give a client a new secret", "OAuth", answer=ClientCreated, writes=True, secret_field="client_secret", errors=(404,)),

        Route("GET", "/.well-known/oauth-authorization-server", tokens.metadata, PUBLIC, "OAuth server metadata (RFC 8414)", limit="none"),
        Route("GET", "/oauth/authorize", authorize.show, Access.SIGNED_IN, "Consent page", query=authorize.AuthorizeQuery, content_type=HTML, limit="none"),
        Route("POST", "/oauth/authorize", authorize.decide, Access.SIGNED_IN, "Allow or deny", query=authorize.AuthorizeQuery, form=True, content_type=HTML, status=303, writes=True, max_body=64 * KB, limit="none"),
        Route("POST", "/oauth/token", tokens.token, PUBLIC, "Tokens (RFC 6749)", form=True, oauth=True, writes=True, unaudited="all that is granted leaves a row; that a device asked too early is forgotten with it", max_body=64 * KB, limit="none"),
        Route("POST", "/oauth/revoke", tokens.revoke, PUBLIC, "End a token (RFC 7009)", form=True, oauth=True, writes=True, max_body=64 * KB, limit="none"),
        Route("POST", "/oauth/introspect", tokens.introspect, PUBLIC, "Ask about a token (RFC 7662)", form=True, oauth=True, unaudited="changes nothing", max_body=64 * KB, limit="none"),
        Route("POST", "/oauth/device_authorization", tokens.device_authorization, PUBLIC, "Codes for a device (RFC 8628)", form=True, oauth=True, writes=True, unaudited="nobody has decided anything yet", max_body=64 * KB, limit="none"),
        Route("GET", "/oauth/device", device.show, Access.SIGNED_IN, "Page for a device's code", query=device.DeviceQuery, content_type=HTML, limit="none"),
        Route("POST", "/oauth/device", device.decide, Access.SIGNED_IN, "Allow or deny a device", form=True, content_type=HTML, writes=True, max_body=64 * KB, limit="none"),

        Route("GET", "/api/v1/openapi.json", openapi.shown(route_table), PUBLIC, "This description, as OpenAPI 3.1", "Service", answer=dict),

        Route("GET", "/healthz", health.healthz, PUBLIC, "Is the process alive?", "Service", answer=health.Health, limit="none"),
        Route("GET", "/readyz", health.readyz, PUBLIC, "Can requests be served?", "Service", answer=health.Health, limit="none"),
        Route("GET", "/metrics", health.metrics, "metrics:read", "Metrics for Prometheus", "Service", public_if="metrics_public", content_type=METRICS_TYPE, limit="none"),

        Route("GET", "/", welcome.show, PUBLIC, "First page", content_type=HTML, limit="none"),
        Route("GET", "/sign-in", sign_in.ask, PUBLIC, "Sign in with a password", query=sign_in.ReturnTo, content_type=HTML, limit="none"),
        Route("POST", "/sign-in", sign_in.sign_in, PUBLIC, "Sign in with a password", form=True, content_type=HTML, status=303, max_body=64 * KB, limit="none"),
        Route("GET", "/sign-in/{token}", sign_in.show_link, PUBLIC, "A one-time sign-in link", content_type=HTML, limit="none"),
        Route("POST", "/sign-in/{token}", sign_in.redeem_link, PUBLIC, "Sign in with a link", content_type=HTML, status=303, limit="none"),
        Route("POST", "/second-factor", sign_in.give_code, PUBLIC, "The second step of signing in", form=True, content_type=HTML, status=303, max_body=64 * KB, limit="none"),
        Route("GET", "/account", account.show, Access.SIGNED_IN, "One's own account", query=account.Done, content_type=HTML, limit="none"),
        Route("POST", "/account/password", account.change_password, Access.SIGNED_IN, "Change the password", form=True, content_type=HTML, status=303, max_body=64 * KB, limit="none"),
        Route("POST", "/account/second-factor", account.start_second_factor, Access.SIGNED_IN, "Start with a second factor", form=True, content_type=HTML, status=303, max_body=64 * KB, limit="none"),
        Route("POST", "/account/second-factor/confirm", account.confirm_second_factor, Access.SIGNED_IN, "Switch the second factor on", form=True, content_type=HTML, max_body=64 * KB, limit="none"),
        Route("POST", "/account/second-factor/remove", account.remove_second_factor, Access.SIGNED_IN, "Take the second factor away", form=True, content_type=HTML, status=303, max_body=64 * KB, limit="none"),
        Route("POST", "/account/sessions/{id}/end", account.end_session, Access.SIGNED_IN, "End a session", content_type=HTML, status=303, limit="none"),
        Route("POST", "/account/keys", account.make_key, Access.SIGNED_IN, "Make a key", form=True, content_type=HTML, max_body=64 * KB, limit="none"),
        Route("POST", "/account/keys/{id}/revoke", account.revoke_key, Access.SIGNED_IN, "Revoke a key", content_type=HTML, status=303, limit="none"),
        Route("GET", "/maintenance", maintenance_page.show, "configs:admin", "Maintenance mode", query=maintenance_page.Switched, content_type=HTML, limit="none"),
        Route("POST", "/maintenance", maintenance_page.switch, "configs:admin", "Start or end maintenance mode", form=True, content_type=HTML, status=303, max_body=64 * KB, limit="none"),
        Route("POST", "/account/authorizations/{id}/revoke", account.revoke_authorization, Access.SIGNED_IN, "End a program's access", content_type=HTML, status=303, limit="none"),
        Route("POST", "/sign-out", sign_in.sign_out, PUBLIC, "Sign out", content_type=HTML, status=303, limit="none"),
        Route("GET", "/docs", docs.shown(route_table), PUBLIC, "This documentation", content_type=HTML, limit="none"),
        Route("GET", "/static/{file}", static.serve, PUBLIC, "Styles", query=static.Version, limit="none"),
    )
    # fmt: on
