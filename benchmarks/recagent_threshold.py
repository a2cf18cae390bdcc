"""`python -m benchmarks.recagent_threshold ENCODER...`: how often texts reach the published enhancement threshold.

With the published encoder (a folder of all-mpnet-base-v2) the share printed for the probe texts is `recagent.REACHED`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import numpy as np

from recsim_llm.agents.llm.memory.three_stage import ThreeStageOptions
from recsim_llm.agents.llm.recagent.recagent import calibrated_enhancement, probe_texts
from recsim_llm.language.encoders import TextEncoder, make_encoder
from recsim_llm.types import Floats


def cosines(encoder: TextEncoder, texts: Sequence[str]) -> Floats:
    """Cosines of all pairs of texts."""
    vectors = encoder.encode(texts).astype(np.float64)
    return np.asarray((vectors @ vectors.T)[np.triu_indices(len(texts), 1)], dtype=np.float64)


def cosine_of(enhancement: float) -> float:
    """The cosine whose sigmoid equals the threshold."""
    return float(np.log(enhancement / (1.0 - enhancement)))


def line(name: str) -> str:
    """Shares for one encoder on the probe texts, in a line."""
    encoder, options = make_encoder(name), ThreeStageOptions()
    found, bar = cosines(encoder, probe_texts()), cosine_of(options.enhancement)
    newest, ours = bar - options.newest_bonus, cosine_of(calibrated_enhancement(encoder))
    return (
        f"{name}: mean cosine {found.mean():.3f}, pairs at {bar:.3f} {(found >= bar).mean():.4%}, at {newest:.3f} "
        f"{(found >= newest).mean():.2%}; calibrated: cosine {ours:.4f}, reached by {(found >= ours).mean():.4%}, with "
        f"the newest by {(found >= ours - options.newest_bonus).mean():.2%}"
    )


if __name__ == "__main__":
    for name in sys.argv[1:] or ["hash"]:
        print(line(name), flush=True)
