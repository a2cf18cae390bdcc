"""Pictures of the dashboard: records small runs, opens every page in both themes, writes docs/images/dashboard-*.png.

    python examples/screenshots.py [FOLDER_FOR_RUNS]

The agents are played by the small real model if it is on this machine (`recsim-llm models get smollm2-135m`), otherwise
by one that finds everything equally likely; the run's name says which.
"""

from __future__ import annotations

import sys
from pathlib import Path

from recsim_llm.certificate import FILE
from recsim_llm.experiments.fidelity.certify import CertifyConfig, certify
from recsim_llm.experiments.simulation.config import SimulationConfig
from recsim_llm.experiments.simulation.simulate import simulate
from recsim_llm.language.models import list_models
from recsim_llm.testing.dashboard_browser import Browser, serving

IMAGES = Path(__file__).parents[1] / "docs" / "images"
WORLD = "synthetic:0:300"


def record(top: Path) -> str:
    """Record the missing runs; return the name of the agents' run."""
    llm = model()
    agents = f"agents-{llm.rpartition(':')[2]}"
    sizes = {"dataset": WORLD, "page_size": 4}
    people = SimulationConfig(**sizes, policies=("ease", "popularity", "random"), users=300, pages=5)
    simulate(people, top / "people", resume=(top / "people").exists())
    certificate = certify(CertifyConfig(dataset=WORLD, user_model="statistical", resamples=200), "statistical", None)
    certificate.write(top / "people" / "ease" / FILE)
    town = SimulationConfig(**sizes, policies=("ease",), users=120, rounds=16, pages=3)
    simulate(town, top / "town", resume=(top / "town").exists())
    few = SimulationConfig(**sizes, user_model="dialogue", llm=llm, policies=("ease",), users=4, pages=3)
    simulate(few, top / agents, resume=(top / agents).exists())
    return f"{agents}/ease"


def model() -> str:
    """The small real model if installed, else the uniform one."""
    here = any(row.name == "smollm2-135m" and row.present for row in list_models())
    return "transformers:smollm2-135m" if here else "uniform"


def main(top: Path) -> None:
    """Record, open, write."""
    agents = record(top)
    pages = {
        "runs": "",
        "replay": f"replay?run={agents}&session=1&page=1",
        "person": "person?run=people/ease",
        "population": "population?run=town/ease",
        "compare": "compare?runs=people/ease,people/popularity,people/random",
        "fidelity": "fidelity?run=people/ease",
        "calls": f"calls?run={agents}",
    }
    with serving(top) as address:
        for theme in ("light", "dark"):
            with Browser(dark=theme == "dark", height=1200) as browser:
                for name, path in pages.items():
                    browser.open(f"{address}/{path}")
                    browser.settle(quiet=12)  # charts fade in
                    browser.screenshot(IMAGES / f"dashboard-{name}-{theme}.png")
    print(f"Pictures are in {IMAGES}; the runs are in {top}. Next: recsim-llm dashboard {top}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("runs/screenshots"))
