"""How everything looks: colours that the colour-blind can tell apart, texts made safe, charts in both themes."""

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

# Colours of text and lines follow the theme, because they are mixed from the colour of the text around them.
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
    """Write the style sheet that the pages' own HTML uses; once a page."""
    st.html(_CSS)


def escaped(text: str) -> str:
    """A text for HTML: what it holds is shown, never executed."""
    return html.escape(text, quote=True)


def plain(text: object) -> str:
    """A text for places that read Markdown: shown as it is, on one line.

    Every text that is not this package's own goes through here on its way to such a place: bodies, captions, messages,
    titles, and the labels, options, tabs and help of widgets. Lists to choose from (selectbox, multiselect), tables and
    `st.code` show texts as they are.
    """
    line = " ".join(str(text).split())
    # Streamlit finds these in the text that remains when backslashes are gone: an invisible sign takes them apart.
    line = re.sub(_FOUND_LATER, _JOINER, line)
    return re.sub(r"([\\`*_{}\[\]()<>#+\-.!|~$:&=^])", r"\\\1", line)


def show_chart(chart: AltairChart, description: str) -> None:
    """Draw a chart as wide as its place.

    Args:
        chart: An Altair chart.
        description: What it shows, for those who cannot see it.
    """
    st.altair_chart(chart, width="stretch", theme="streamlit", alt=description)
