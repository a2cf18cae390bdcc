"""Cost report on the language model of a run: one paragraph per run, from the run's own records."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from recsim_llm.language.label_reads import unseen_labels
from recsim_llm.runs import Run

_SIGNS_OF_ASKING = ("calls", "cache_hits", "retries", "hedged", "refused", "restarts")


class Cost(NamedTuple):
    """Derived figures of one run; where it was resumed, of the last command.

    Attributes:
        decisions: Items on pages that agents decided about.
        decisions_s: Decisions per second of wall time.
        tokens: Tokens read and written per decision.
        read: Those of these tokens that the engine had to compute.
        cached: Share of prompt tokens that the engine served from its prefix cache, [0, 1].
        repeated: Share that a prefix cache of a million tokens would have served, [0, 1].
    """

    decisions: int
    decisions_s: float
    tokens: float
    read: float
    cached: float
    repeated: float


def cost(run: Run) -> Cost | None:
    """Figures of the command that ended a run; None if it asked no language model."""
    spent = run.manifest.summary.get("llm")
    if not spent or not spent["calls"]:
        return None
    decisions = run.manifest.summary["decisions"]
    read, tokens = spent["prompt_tokens"], spent["prompt_tokens"] + spent["output_tokens"]
    return Cost(
        decisions,
        decisions / max(run.manifest.summary["seconds"], 1e-9),
        tokens / max(decisions, 1),
        (tokens - spent["cached_tokens"]) / max(decisions, 1),
        spent["cached_tokens"] / max(read, 1),
        spent["repeated_tokens"] / max(read, 1),
    )


def cost_report(runs: Sequence[Run]) -> str:
    """One paragraph per run; "" for runs without a language model."""
    return "".join(f"{run.manifest.name}: {_sentences(run)}\n" for run in runs if run.manifest.summary.get("llm"))


def refit_report(runs: Sequence[Run]) -> str:
    """One line per run whose policy was refitted during the run; "" if there are none."""
    policies = ((run.manifest.name, run.manifest.summary.get("policy") or {}) for run in runs)
    return "".join(
        f"{name}: fitted again {spent['refits']:.0f} times, {spent['seconds_per_refit']:.2f} s each\n"
        for name, spent in policies
        if "refits" in spent
    )


def _sentences(run: Run) -> str:
    summary = run.manifest.summary
    spent, answers = summary["llm"], summary.get("answers")
    if not any(spent[name] for name in _SIGNS_OF_ASKING):
        return "the language model was never asked."
    parts = [
        f"{spent['calls']:,} LLM calls in {summary['seconds']:,.0f} s, {spent['cache_hits']:,} answers from the cache, "
        f"{spent['duplicates']:,} asked once for several"
    ]
    if figures := cost(run):
        parts += [
            f"{spent['prompt_tokens']:,} tokens read and {spent['output_tokens']:,} written, "
            f"{figures.cached:.0%} of the prompts from the engine's prefix cache ({figures.repeated:.0%} possible)",
            f"{figures.decisions:,} decisions, {figures.decisions_s:,.3g} a second, {figures.tokens:,.0f} tokens each "
            f"({figures.read:,.0f} not cached)",
        ]
    if summary.get("gpu_busy") is not None:
        parts.append(f"GPUs busy {summary['gpu_busy']:.0%} of the time")
    parts.append(_troubles(spent))
    if answers:
        parts.append(
            f"{answers['malformed']:,} malformed answers, {answers['reasked']:,} asked again, "
            f"{answers['fallbacks']:,} by the fallback"
        )
        if reads := answers.get("label_reads"):
            parts.append(
                f"{reads:,} label reads, {answers['unseen']:,} with a label not among the server's alternatives, "
                f"mean label mass seen {answers['label_mass_seen'] / reads:.2f}"
            )
    if memory := summary.get("memory"):
        parts.append(
            f"{memory['admitted']:,} memories, {memory['promoted']:,} moved to the long-term stage (enhancement from "
            f"{memory['enhancement']:.3f}), {memory['insights']:,} insights, {memory['reflections']:,} reflections, "
            f"{memory['forgotten']:,} forgotten"
        )
    if texts := summary.get("texts"):
        parts.append(_texts(texts))
    if asked := summary.get("thoughts_asked"):
        why = ", ".join(f"{count:,} {reason}" for reason, count in summary["thoughts_why"].items())
        parts.append(
            f"thoughts of {asked:,} pages: {summary['thoughts_stored']:,} usable ({summary['thoughts_distinct']:,} "
            f"different), {summary['thoughts_refused']:,} refused{f' ({why})' if why else ''}"
        )
    warning = unseen_labels(answers or {})
    return ";\n  ".join(parts) + "." + (f"\n  {warning}" if warning else "")


def _texts(texts: dict[str, Any]) -> str:
    refused = ", ".join(f"{count:,} x {reason}" for reason, count in sorted(texts["refused"].items()))
    return (
        f"{texts['asked']:,} chats and posts asked for, {sum(texts['refused'].values()):,} texts refused"
        f"{f' ({refused})' if refused else ''}, {texts['templates']:,} templates used, "
        f"{texts['distinct']:,} different messages of the model, {texts['lines_dropped']:,} lines of dialogues dropped"
    )


def _troubles(spent: dict[str, Any]) -> str:
    said = (
        f"{spent['retries']:,} calls repeated after failures, {spent['hedged']:,} sent twice for being slow, "
        f"{spent['refused']:,} prompts refused, {spent['restarts']:,} engines restarted"
    )
    # Older versions did not count these.
    for name, what in (
        ("no_answers", "answers that were none, asked again"),
        ("mended", "answers with broken characters replaced"),
        ("odd_counts", "answers without a usable number of tokens"),
    ):
        if spent.get(name):
            said += f", {spent[name]:,} {what}"
    return said
