"""A completion with what becomes of its answer: stored in its chat, or told to who wants to hear of it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from secureai_appliance.conversations.answers import ChatCompletion, Chunk, Citation, Gathered, Retrieved, Usage
from secureai_appliance.conversations.chat_messages import MessageEnd
from secureai_appliance.conversations.messages import Message
from secureai_appliance.conversations.running import ClientGone, Comment
from secureai_appliance.conversations.turns import Completing, Started, Turn, Unkept
from secureai_appliance.core.errors import Failure

log = logging.getLogger(__name__)


class Answering:
    """A completion with what becomes of its answer: as the one inside, and the answer is stored before it ends."""

    def __init__(
        self,
        completion: Completing,
        turn: Turn | Unkept,
        assistant_id: str | None = None,
        steps: Sequence[Message] = (),
        citations: Callable[[], list[Citation] | None] = lambda: None,
        *,
        retrieval: Retrieved | None = None,
    ) -> None:
        """`steps`: calls and results of tools on the way to the answer; the list grows until it is there.

        `citations`: what the answer rests on, as far as it has come; `retrieval`: how that was found.
        """
        self._assistant_id = assistant_id
        self._steps = steps
        self._citations = citations
        self._retrieval = retrieval
        self.id = completion.id
        self.model = completion.model
        self._completion = completion
        self._turn = turn
        self._gathered = Gathered()
        self._reason: MessageEnd | None = None
        self._begun = False
        self._finished = False
        self._streams = False

    @property
    def usage(self) -> Usage | None:
        """As the completion's."""
        return self._completion.usage

    @property
    def unfinished(self) -> Gathered:
        """As the completion's."""
        return self._completion.unfinished

    def begin(self) -> bool:
        """Hand the request to the model, and once it has not refused, write what was said."""
        begun = self._completion.begin()
        if not self._begun:
            self._turn.begin(Started(self.id, self.model, self._assistant_id))
            self._begun = True
        return begun

    def next(self, timeout: float) -> Chunk | Comment | None:
        """As the completion's; the answer is stored before the last StopIteration."""
        self._streams = True
        try:
            item = self._completion.next(timeout)
        except StopIteration:
            self._finish(self._gathered, self._reason or "stop")
            raise
        except Failure:
            self._reason = "error"
            raise
        if isinstance(item, Chunk):
            self._mark(item)
            for choice in item.choices:
                self._gathered.add(choice.delta)
                self._reason = choice.finish_reason or self._reason
            self._turn.note(self._gathered, self._citations)
        return item

    def whole(self, disconnected: Callable[[], bool]) -> ChatCompletion:
        """As the completion's; the answer is stored then."""
        try:
            answer = self._completion.whole(disconnected)
        except ClientGone:
            raise
        except Exception:
            self._reason = "error"
            raise
        choice = answer.choices[0]
        kept = Gathered()
        kept.take(choice.message)
        self._finish(kept, choice.finish_reason)
        self._mark(answer)
        return answer

    def close(self) -> None:
        """Stop wherever it stands, keep what there is, and let the next turn come."""
        try:
            self._completion.close()
            if self._begun and not self._finished:
                answer = self._gathered if self._streams else self.unfinished
                self._finish(answer, "error" if self._reason == "error" else "cancelled")
        except Failure as failure:
            # it stays marked as running, and is found interrupted by the next turn or start
            log.warning("an answer of a chat could not be kept: %s", failure.message)
        finally:
            self._turn.close()

    def _finish(self, answer: Gathered, reason: MessageEnd) -> None:
        self._turn.finish(answer, reason, self.usage, self._steps, self._citations(), retrieval=self._retrieval)
        self._finished = True

    def _mark(self, answer: ChatCompletion | Chunk) -> None:
        if self._turn.chat_id is not None:
            answer.chat_id = self._turn.chat_id
