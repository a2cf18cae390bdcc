"""Reference-counted store of texts: each text is stored once, under a number, while it has a holder."""

from __future__ import annotations

from collections.abc import Iterable


class SharedTexts:
    """Texts with reference counts.

    >>> texts = SharedTexts()
    >>> number = texts.hold("I saw Heat.")
    >>> texts[number], texts.hold("I saw Heat.") == number
    ('I saw Heat.', True)
    """

    def __init__(self) -> None:
        self._texts: list[str] = []  # by number; "" where the number is free
        self._holders: list[int] = []
        self._free: list[int] = []
        self._numbers: dict[str, int] = {}

    def __len__(self) -> int:
        """Number of texts held."""
        return len(self._numbers)

    def __getitem__(self, number: int) -> str:
        return self._texts[number]

    def hold(self, text: str) -> int:
        """Add a reference to a text and return its number."""
        number = self._numbers.get(text)
        if number is None:
            number = self._numbers[text] = self._room()
            self._texts[number] = text
        self._holders[number] += 1
        return number

    def release(self, numbers: Iterable[int]) -> None:
        """Drop one reference to each; a text without references is deleted, and its number reused."""
        for number in numbers:
            self._holders[number] -= 1
            if not self._holders[number]:
                del self._numbers[self._texts[number]]
                self._texts[number] = ""
                self._free.append(number)

    def _room(self) -> int:
        if self._free:
            return self._free.pop()
        self._texts.append("")
        self._holders.append(0)
        return len(self._texts) - 1
