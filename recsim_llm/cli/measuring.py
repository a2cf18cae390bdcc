"""What the commands that measure fidelity print: certify, calibrate, ranking."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from recsim_llm.agents.named_users import check_user_model, inner_name
from recsim_llm.certificate import FILE, Certificate, failure
from recsim_llm.errors import ConfigError, RequirementError
from recsim_llm.experiments.api import make_certificate, publish
from recsim_llm.experiments.backend import cached_backend
from recsim_llm.experiments.fidelity.calibrate import CalibrateConfig, calibrate
from recsim_llm.experiments.fidelity.certificate_gates import check_required, unmet
from recsim_llm.experiments.fidelity.certify import CertifyConfig
from recsim_llm.experiments.fidelity.external import certify_predictions
from recsim_llm.experiments.fidelity.ranking.ranking_validity import measure_ranking, ranking_table
from recsim_llm.experiments.fidelity.report.plots import need_matplotlib
from recsim_llm.experiments.fidelity.report.report import PAGES
from recsim_llm.experiments.fidelity.report.screen import baseline_table, certificate_table
from recsim_llm.experiments.simulation.config import DEFAULT_LLM
from recsim_llm.runs.run_files import make_folder, write_durably


def run_certify(config: CertifyConfig, out: Path | None, require: Sequence[str]) -> None:
    """Certify a user model, write the certificate, print it; one that certifies is kept for environments.

    Raises:
        RequirementError: A requirement is not met, or too little was measured to certify anything.
    """
    check_required(require)
    try:
        certificate = make_certificate(config, out)
    except KeyboardInterrupt:
        print("\nInterrupted. What the language model has answered is kept: the same command goes on from there.")
        raise
    _print(certificate)
    if not certificate.shortfall:
        print(_consequence(certificate))
    _enforce(certificate, require)


def _consequence(certificate: Certificate) -> str:
    """What environments on this machine make of a certificate that was just kept."""
    if certificate.verdict == "passed":
        return "Environments and simulations on this machine count as certified now for these users."
    return f"These users {failure(certificate)}: environments and simulations on this machine say so."


def run_certify_predictions(
    config: CertifyConfig, predictions: Path | None, log: Path | None, out: Path | None, require: Sequence[str]
) -> None:
    """Certify another simulator from its predictions.

    Raises:
        RequirementError: A requirement is not met, or too little was measured to certify anything.
    """
    if predictions is None:
        raise ConfigError("--log goes with --predictions: it is what the other simulator was fitted on.")
    check_required(require)
    need_matplotlib()
    dataset = "" if config.dataset == "none" or log else config.dataset
    certificate = certify_predictions(predictions, dataset, log, config.resamples)
    words = ["recsim-llm", "certify", "--predictions", str(predictions)]
    words += ["--log", str(log)] if log else ["--dataset", config.dataset]
    certificate = replace(certificate, notes={"command": shlex.join(words), **certificate.notes})
    _print(publish(certificate, out or Path("certificates") / predictions.stem))
    _enforce(certificate, require)


def run_calibrate(config: CalibrateConfig) -> None:
    """Calibrate a language model for a data set, print what was learned and where it is kept."""
    check_user_model(inner_name(config.user_model))
    try:
        done = calibrate(config, cached_backend(config.llm or DEFAULT_LLM))
    except KeyboardInterrupt:
        print("\nInterrupted. What the language model has answered is kept: the same command goes on from there.")
        raise
    llm = config.llm or DEFAULT_LLM
    print(done.learned.weights.table())
    print(f"\nLearned from {done.pairs:,} pairs; kept in {done.folder}. Next:")
    print(f"  recsim-llm simulate --dataset {config.dataset} --user-model hybrid:{done.inner} --llm {llm}")
    print(f"  recsim-llm certify --dataset {config.dataset} --user-model hybrid:{done.inner} --llm {llm}")


def run_ranking(dataset: str, out: Path | None) -> None:
    """Measure ranking validity and print the table."""
    if out:
        make_folder(out.parent)  # before an hour of measuring, not after
    found = measure_ranking(dataset)
    print(ranking_table(found))
    if out:
        write_durably(out, f"{json.dumps(found.as_json(), indent=1)}\n".encode(), "Name another --out.")
        print(f"\nNumbers are in {out}.")


def _print(certificate: Certificate) -> None:
    print(certificate_table(certificate))
    print(f"\nBeside simple models, on the same rows:\n{baseline_table(certificate)}")
    folder = certificate.folder or Path()
    print(f"\nThe certificate is {folder / FILE}; to read: {', '.join(str(folder / name) for name in PAGES)}")


def _enforce(certificate: Certificate, require: Sequence[str]) -> None:
    failed = unmet(certificate.metrics, require)
    if certificate.shortfall:
        required = " Required, and so not met: " + ", ".join(require) + "." if require else ""
        raise RequirementError(f"{certificate.shortfall}{required} Measure more people and rows (docs/certificate.md).")
    if failed:
        raise RequirementError("Required, but not met:\n  " + "\n  ".join(failed))
