"""Tokens a chunk of an endpoint's streams. Pure."""

from __future__ import annotations

_LEAST_CHUNKS = 3


class Chunking:
    """The number of tokens that an endpoint sends in a chunk, learned from its finished streams.

    Attributes:
        most: tokens a chunk, the most that was seen; None before the first finished stream with a count of its tokens.
        finer: whether chunks were seen that are less than a token.
    """

    def __init__(self) -> None:
        self.most: float | None = None
        self.finer = False

    @property
    def one_token(self) -> bool:
        """Whether all chunks so far had one token."""
        return self.most == 1.0 and not self.finer

    def learn(self, tokens: int, chunks: int) -> None:
        """Learn from a finished stream of so many chunks with text. Its last token may be an end of text that has no
        chunk, and the last of its larger chunks may be shorter than the others. Equal numbers of a short stream show
        nothing."""
        hidden = tokens - chunks
        if hidden in (0, 1):
            if chunks < _LEAST_CHUNKS + hidden:  # two tokens in the second of three: four in three
                return
            most = 1.0
        elif hidden < 0:
            most, self.finer = tokens / chunks, True
        else:
            most = tokens / max(1, chunks - 1)
        self.most = max(most, self.most or 0.0)
