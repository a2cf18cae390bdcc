"""Texts by number, each kept once and as long as somebody holds it. Knows no agent."""

from __future__ import annotations

from collections.abc import Iterable


class SharedTexts:
    """Texts that several hold.

    >>> texts = SharedTexts()
    >>> number = texts.hold("I saw Heat.")
    >>> texts[number], texts.hold("I saw Heat.") == number
    ('I saw Heat.', True)
    """

    def __init__(self) -> None:
        self._texts: list[str] = []  # by number; "" where nobody holds the number
        self._holders: list[int] = []
        self._free: list[int] = []
        self._numbers: dict[str, int] = {}

    def __len__(self) -> int:
        """Texts that somebody holds."""
        return len(self._numbers)

    def __getitem__(self, number: int) -> str:
        return self._texts[number]

    def hold(self, text: str) -> int:
        """The number of a text, held once more."""
        number = self._numbers.get(text)
        if number is None:
            number = self._numbers[text] = self._room()
            self._texts[number] = text
        self._holders[number] += 1
        return number

    def release(self, numbers: Iterable[int]) -> None:
        """Hold these once less; what nobody holds is forgotten, and its number given to another text."""
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
