"""Measure how faithful simulated users are to held-out behaviour of the same people, and write a certificate."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from tyro.conf import OmitArgPrefixes

from recsim_llm.certificate import FILE, Certificate, failure
from recsim_llm.checked import InFile, Name, OutFolder
from recsim_llm.errors import ConfigError, RequirementError
from recsim_llm.experiments.api import make_certificate, publish
from recsim_llm.experiments.fidelity.certificate_gates import check_required, unmet
from recsim_llm.experiments.fidelity.certify import CertifyConfig
from recsim_llm.experiments.fidelity.external import certify_predictions
from recsim_llm.experiments.fidelity.report.plots import need_matplotlib
from recsim_llm.experiments.fidelity.report.report import PAGES
from recsim_llm.experiments.fidelity.report.screen import baseline_table, certificate_table


@dataclass(frozen=True)
class CertifyCommand:
    """Options of `recsim-llm certify`."""

    config: OmitArgPrefixes[CertifyConfig] = field(default_factory=CertifyConfig)
    out: OutFolder | None = None
    """Folder of the certificate; default certificates/DATASET-USERMODEL-SPLIT."""
    require: tuple[Name, ...] = ()
    """Exit with 1 unless these hold: a metric's name (its gate must pass), or a rule such as 'rps_skill>=0.215'."""
    predictions: InFile | None = None
    """Certify another simulator from a CSV or Parquet file of its predictions (docs/certificate.md); --dataset names
    the data set whose ids it uses, 'none' for none."""
    log: InFile | None = None
    """With --predictions: what that simulator was fitted on (user_id, item_id, optional rating), for the baselines."""


def run(command: CertifyCommand) -> None:
    """Certify a user model, or another simulator from its predictions."""
    match command:
        case CertifyCommand(config, out, require, None, None):
            run_certify(config, out, require)
        case CertifyCommand(config, out, require, predictions, log):
            run_certify_predictions(config, predictions, log, out, require)


def run_certify(config: CertifyConfig, out: Path | None, require: Sequence[str]) -> None:
    """Certify a user model, write and print the certificate; store it for environments if it certifies.

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
    """The effect of a certificate that was just stored on environments of this machine."""
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


def _print(certificate: Certificate) -> None:
    print(certificate_table(certificate))
    print(f"\nBeside simple models, on the same rows:\n{baseline_table(certificate)}")
    folder = certificate.folder or Path()
    print(f"\nThe certificate is {folder / FILE}; to read: {', '.join(str(folder / name) for name in PAGES)}")


def _enforce(certificate: Certificate, require: Sequence[str]) -> None:
    failed = unmet(certificate.metrics, require)
    if certificate.shortfall:
        required = " Required, and so not met: " + ", ".join(require) + "." if require else ""
        # What made the gates impossible to judge stands among the warnings; more of the same would not help.
        more = "Measure more people and rows" if "needed:" in certificate.shortfall else "Read the warnings above"
        raise RequirementError(f"{certificate.shortfall}{required} {more} (docs/certificate.md).")
    if failed:
        raise RequirementError("Required, but not met:\n  " + "\n  ".join(failed))
