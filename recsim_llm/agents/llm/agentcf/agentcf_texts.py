"""Prompts from AgentCF's memories, and parsers of the answers: choices, memories and rankings."""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Callable, Sequence
from typing import NamedTuple

from recsim_llm.agents.llm.agentcf.agentcf_memories import KIND, AgentCFMemories
from recsim_llm.agents.llm.agentcf.agentcf_trials import Trial
from recsim_llm.agents.llm.pages.page_labels import numbered
from recsim_llm.agents.llm.prompts_text import phrases, prompt_text, template
from recsim_llm.data.dataset import Catalogue
from recsim_llm.types import Prompt

LABELS = ("A", "B")
YES_NO = ("Yes", "No")
_EXPLANATION_WORDS = 80
_TOKENS_A_WORD = 2
_CHOICE_TOKENS = 160
_CHOICE_LINE = re.compile(r"^\W*(?:choice|chosen \w+|answer)\W*[:：]\s*(.+)$", re.IGNORECASE | re.MULTILINE)
_LETTER = re.compile(r"^[\W_]*([AB])(?:[.:)\]\"'*,;]|\s*$|\s+-)")
_FIRST_SENTENCE = re.compile(r"(?<=[a-z0-9\"')][.!?])\s|\n")
_EXPLANATION = re.compile(r"explanation\W*[:：]\s*(.+)", re.IGNORECASE | re.DOTALL)
_HEADING = re.compile(
    r"^[\W_]*(?:(?:my|the|here is|here's|sure)\b[^:\n]{0,60})?(?:updated|new|rewritten)?\s*"
    r"(?:self-?\s?(?:description|introduction)|description|memory)[^:\n]{0,40}:[\s*_]*",
    re.IGNORECASE,
)
_REFUSALS = ("i'm sorry", "i am sorry", "i cannot", "i can't", "as an ai", "sorry,")


class Pick(NamedTuple):
    """Which of two items an agent chose.

    Attributes:
        slot: 0 or 1, in the order in which the two were listed.
        explanation: Why; "" where only a label was read.
    """

    slot: int
    explanation: str = ""


def system_text(catalogue: Catalogue) -> str:
    """Instructions shared by all prompts of a user."""
    return catalogue.shown.system(prompt_text(KIND, "system"))


def titles(memories: AgentCFMemories, trial: Trial, swapped: bool) -> tuple[str, str]:
    """Titles of the two items in the order in which they are listed: the positive first unless swapped."""
    first, second = _listed(trial, swapped)
    names = memories.catalogue.shown.name
    return names[first], names[second]


def choose_prompt(memories: AgentCFMemories, trial: Trial, swapped: bool, answers: str) -> Prompt:
    """The prompt that asks which of two items the user prefers: for a label, or a text with an explanation."""
    first, second = _listed(trial, swapped)
    question = template(KIND, "choose" if answers == "labels" else "choose_text").substitute(
        noun=memories.noun, first=item_text(memories, first), second=item_text(memories, second)
    )
    prompt = Prompt(system_text(memories.catalogue), _context(memories, trial.user), question)
    return prompt._replace(choices=LABELS) if answers == "labels" else prompt._replace(max_tokens=_CHOICE_TOKENS)


def rewrite_user_prompt(memories: AgentCFMemories, trial: Trial, swapped: bool, pick: Pick, words: int) -> Prompt:
    """The prompt for a user's new self-description, after they learned which item they really enjoyed."""
    first, second = _listed(trial, swapped)
    right = (first, second)[pick.slot] == trial.positive
    question = template(KIND, "rewrite_user_right" if right else "rewrite_user_wrong").substitute(
        noun=memories.noun,
        first=item_text(memories, first),
        second=item_text(memories, second),
        picked=_picked(titles(memories, trial, swapped)[pick.slot], pick.explanation),
        liked=memories.catalogue.shown.name[trial.positive],
        other=memories.catalogue.shown.name[trial.negative],
        words=words,
    )
    context = _context(memories, trial.user)
    return Prompt(system_text(memories.catalogue), context, question, max_tokens=_TOKENS_A_WORD * words)


def rewrite_item_prompt(memories: AgentCFMemories, trial: Trial, item: int, right: bool, words: int) -> Prompt:
    """The prompt for an item's new description, after one more person took it or did not."""
    positive = item == trial.positive
    other = trial.negative if positive else trial.positive
    name = ("rewrite_item_confirmed" if right else "rewrite_item_liked") if positive else "rewrite_item_other"
    title = memories.catalogue.shown.name[item]
    question = template(KIND, name).substitute(
        noun=memories.noun, title=title, memory=memories.user(trial.user), other=item_text(memories, other), words=words
    )
    system = memories.catalogue.shown.system(template(KIND, "system_item").substitute(noun=memories.noun))
    context = template(KIND, "context_item").substitute(title=title, memory=memories.item(item))
    return Prompt(system, context, question, max_tokens=_TOKENS_A_WORD * words)


def judge_prompt(context: str, memories: AgentCFMemories, item: int) -> Prompt:
    """The prompt that asks whether the user takes one item; list position has no effect on single candidates."""
    question = template(KIND, "judge").substitute(noun=memories.noun, item=item_text(memories, item))
    return Prompt(system_text(memories.catalogue), context, question, YES_NO)


def rank_prompt(context: str, memories: AgentCFMemories, candidates: Sequence[int]) -> Prompt:
    """The prompt that asks for a ranking of the candidates, as a list of numbers."""
    items = numbered([item_text(memories, item) for item in candidates])
    question = template(KIND, "rank").substitute(noun=memories.noun, items=items, count=len(candidates))
    return Prompt(system_text(memories.catalogue), context, question, max_tokens=6 * len(candidates) + 16)


def rank_context(memory: str, past: str = "", history: Sequence[str] = ()) -> str:
    """The user's memory; then, where given, an earlier version of it, and titles of what they had."""
    parts = [template(KIND, "context").substitute(memory=memory)]
    parts += [phrases(KIND)["past"].substitute(memory=past)] if past else []
    parts += [phrases(KIND)["history"].substitute(titles="; ".join(history))] if history else []
    return "\n".join(parts)


def parse_choice(text: str, listed: tuple[str, str]) -> Pick | None:
    """Which of two listed items a text picks, by its letter or its title; None where it does not say, or says both.

    Without a line "Choice: ..." only the first sentence is read: later ones often name the rejected item alone (of the
    published explanations that name one of the two titles, half name the one that was not chosen).

    Args:
        text: An answer, best with a line "Choice: ...".
        listed: The two titles, as listed under A and B.
    """
    found = _CHOICE_LINE.search(text)
    slot = _slot(found.group(1) if found else _FIRST_SENTENCE.split(text.strip(), maxsplit=1)[0], listed)
    if slot is None:
        return None
    reason = _EXPLANATION.search(text)
    words = (reason.group(1) if reason else _CHOICE_LINE.sub("", text)).split()
    return Pick(slot, " ".join(words[:_EXPLANATION_WORDS]) if len(words) > 1 else "")


def _slot(text: str, listed: tuple[str, str]) -> int | None:
    named = _named(text, listed)
    if len(named) == 1:
        return named.pop()
    letter = _LETTER.match(text)
    return LABELS.index(letter.group(1)) if letter else None


def _named(text: str, listed: tuple[str, str]) -> set[int]:
    """Which titles a text names. The longer is searched for first and removed, as it may contain the shorter."""
    plain = f" {plain_title(text)} "
    keys = [plain_title(title) for title in listed]
    if keys[0] == keys[1]:
        return set()
    named = set()
    for slot in sorted((0, 1), key=lambda slot: -len(keys[slot])):
        key = f" {keys[slot]} "
        if keys[slot] and key in plain:
            named.add(slot)
            plain = plain.replace(key, " | ")
    return named


def plain_title(text: str) -> str:
    """Letters and digits of a text in lower case, without entities, accents, quotes and dashes."""
    flat = unicodedata.normalize("NFKD", html.unescape(html.unescape(text))).casefold()
    flat = "".join(c for c in flat if not unicodedata.combining(c))
    return " ".join("".join(c if c.isalnum() else " " for c in flat.replace("&", " and ")).split())


def memory_parser(prompt: Prompt) -> Callable[[str], str | None]:
    """A parser of rewritten memories: the text without a heading or quotes around it.

    None for an empty text, a refusal, or one that recites the instructions.
    """

    def parse(text: str) -> str | None:
        kept = _unquoted(" ".join(_HEADING.sub("", text.strip(), count=1).split()).strip("*` "))
        refused = kept.casefold().startswith(_REFUSALS)
        return kept if any(c.isalpha() for c in kept) and not refused and prompt.system not in kept else None

    return parse


def _unquoted(text: str) -> str:
    """A text without a pair of quotes around the whole of it; quotes around a title at its end stay."""
    whole = len(text) > 1 and (text[0], text[-1]) in {("'", "'"), ('"', '"'), ("“", "”")}
    return text[1:-1].strip() if whole and (text[0] == "“" or text.count(text[0]) == 2) else text


def parse_ranking(text: str, count: int) -> list[int] | None:
    """Positions 0..count-1 in the order of the numbers 1..count in a text; numbers not named follow in listed order.

    None where fewer than half of them are named: such a text is no ranking.
    """
    numbers = [int(word) - 1 for word in re.findall(r"\d+", text) if len(word) < 6]
    named = list(dict.fromkeys(number for number in numbers if 0 <= number < count))
    if len(named) < (count + 1) // 2:
        return None
    return named + [place for place in range(count) if place not in named]


def _listed(trial: Trial, swapped: bool) -> tuple[int, int]:
    return (trial.negative, trial.positive) if swapped else (trial.positive, trial.negative)


def _context(memories: AgentCFMemories, user: int) -> str:
    return template(KIND, "context").substitute(memory=memories.user(user))


def item_text(memories: AgentCFMemories, item: int) -> str:
    """An item's memory, with its title in front where a rewrite has lost it: a memory must identify its item."""
    shown, memory = memories.catalogue.shown, memories.item(item)
    if plain_title(shown.name[item]) in plain_title(memory):
        return memory
    return phrases(KIND)["item"].substitute(title=shown.label[item], memory=memory)


def _picked(title: str, explanation: str) -> str:
    because = phrases(KIND)["because"].substitute(explanation=explanation) if explanation else ""
    return phrases(KIND)["picked"].substitute(title=title) + because
