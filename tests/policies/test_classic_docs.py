"""The pages of the classic recommenders name every option with the default of the code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from recsim_llm.policies.classic.bm25 import BM25
from recsim_llm.policies.classic.bpr import BPR
from recsim_llm.policies.classic.cornac_adapter import CornacPolicy
from recsim_llm.policies.classic.lightgcn import LightGCN
from recsim_llm.policies.sequential.gru4rec import GRU4Rec
from recsim_llm.policies.sequential.sasrec import SASRec

PAGES = Path(__file__).parents[2] / "docs" / "policies"


@pytest.mark.parametrize("policy", [BM25, BPR, SASRec, LightGCN, GRU4Rec, CornacPolicy], ids=lambda p: p.name)
def test_the_page_has_the_options_and_no_others(policy):
    text = (PAGES / f"{policy.name}.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `(\w+)` \| (\S+) \|", text, flags=re.MULTILINE))
    defaults = {k: v if isinstance(v, str) else float(v) for k, v in policy.options().items()}
    assert {k: v if isinstance(defaults.get(k), str) else float(v) for k, v in rows.items()} == defaults
