"""Mix-in for wrappers of `Inhabitants`: delegates everything said, heard and planned to the inner population."""

from __future__ import annotations

from collections.abc import Sequence

from recsim_llm.agents.society.inhabitants import Inhabitants, Message
from recsim_llm.types import Floats, Ints, Persona


class SocialLife:
    """Mix-in that delegates the social methods of a user-model wrapper.

    Attributes:
        inner: The wrapped inhabitants.
    """

    inner: Inhabitants

    def visit(self, agents: Ints, hours: Floats) -> None:
        """See `Inhabitants.visit`."""
        self.inner.visit(agents, hours)

    def intend(self, agents: Ints, hours: Floats) -> Floats:
        """See `Inhabitants.intend`."""
        return self.inner.intend(agents, hours)

    def search_query(self, agents: Ints, hours: Floats) -> list[str]:
        """See `Inhabitants.search_query`."""
        return self.inner.search_query(agents, hours)

    def chat(self, agents: Ints, partners: Ints, hours: Floats) -> list[list[Message]]:
        """See `Inhabitants.chat`."""
        return self.inner.chat(agents, partners, hours)

    def post(self, agents: Ints, hours: Floats) -> list[Message]:
        """See `Inhabitants.post`."""
        return self.inner.post(agents, hours)

    def advertise(self, item: int, slogan: str) -> None:
        """See `Inhabitants.advertise`."""
        self.inner.advertise(item, slogan)

    def change(self, persona: Persona) -> None:
        """See `Inhabitants.change`."""
        self.inner.change(persona)

    def hear(self, agents: Ints, messages: Sequence[Message], hours: Floats) -> None:
        """See `Inhabitants.hear`."""
        self.inner.hear(agents, messages, hours)
