"""Style of the dashboard: a colour-blind-safe palette, escaping of texts, charts in both themes."""

from __future__ import annotations

import html
import re
from typing import TYPE_CHECKING

import streamlit as st

if TYPE_CHECKING:
    from streamlit.elements.vega_charts import AltairChart

# Okabe and Ito, "Color Universal Design" (2008), without black, which vanishes in the dark theme.
BLUE, ORANGE, GREEN, PINK, SKY, VERMILION, YELLOW = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#CC79A7",
    "#56B4E9",
    "#D55E00",
    "#F0E442",
)
CYCLE = (BLUE, ORANGE, GREEN, PINK, SKY, VERMILION, YELLOW)
SIMULATED, REAL = BLUE, ORANGE
WATCHED, SKIPPED, LEFT = BLUE, "#8C8C8C", VERMILION

# Colours of text and lines follow the theme, because they are derived from the surrounding text colour.
_CSS = f"""
<style>
:root {{ --watched: {WATCHED}; --skipped: {SKIPPED}; --left: {LEFT}; --real: {REAL}; --simulated: {SIMULATED}; }}
.rs-faint {{ opacity: 0.65; }}
.rs-line {{ border: 1px solid color-mix(in srgb, currentColor 18%, transparent); border-radius: 0.75rem; }}
.rs-soft {{ background: color-mix(in srgb, currentColor 5%, transparent); border-radius: 0.75rem; }}
.rs-text {{ overflow-wrap: anywhere; unicode-bidi: plaintext; }}
</style>
"""


_JOINER = "\u2060"
_FOUND_LATER = re.compile(
    r"(?<=:)(?=//|[\w+-]+[:/])"  # http://, :emoji:, :material/icon:, :streamlit:
    r"|(?<=www)(?=\.)|(?<=@)(?=[\w-])",  # www.host, name@host
    re.IGNORECASE,
)


def css() -> None:
    """Write the style sheet for the pages' own HTML; called once per page."""
    st.html(_CSS)


def escaped(text: str) -> str:
    """Escape a text for HTML, so that it is shown, never executed."""
    return html.escape(text, quote=True)


def plain(text: object) -> str:
    """Escape a text for Markdown, so that it is shown verbatim, on one line.

    Every text from outside this package must pass through here before it reaches Markdown: bodies, captions, messages,
    titles, and the labels, options, tabs and help of widgets. Lists to choose from (selectbox, multiselect), tables and
    `st.code` show texts as they are.
    """
    line = " ".join(str(text).split())
    # Streamlit matches these after removing backslashes, so an invisible character splits them.
    line = re.sub(_FOUND_LATER, _JOINER, line)
    return re.sub(r"([\\`*_{}\[\]()<>#+\-.!|~$:&=^])", r"\\\1", line)


def show_chart(chart: AltairChart, description: str) -> None:
    """Draw a chart in the full width of its container.

    Args:
        chart: An Altair chart.
        description: Alternative text for people who cannot see the chart.
    """
    st.altair_chart(chart, width="stretch", theme="streamlit", alt=description)
