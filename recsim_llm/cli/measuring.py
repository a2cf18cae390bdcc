"""What the commands that measure fidelity print: certify, calibrate, ranking."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from recsim_llm.agents.certified import certificate_path
from recsim_llm.agents.fitted_sources import Source, load_source
from recsim_llm.agents.named_users import check_user_model, inner_name, model_fingerprint, uses_llm
from recsim_llm.certificate import FILE, Certificate, failure
from recsim_llm.errors import ConfigError, RequirementError
from recsim_llm.experiments.backend import cached_backend
from recsim_llm.experiments.fidelity.calibrate import CalibrateConfig, calibrate
from recsim_llm.experiments.fidelity.certificate_gates import check_required, unmet
from recsim_llm.experiments.fidelity.certify import CertifyConfig, certificate_folder, certify
from recsim_llm.experiments.fidelity.external import certify_predictions
from recsim_llm.experiments.fidelity.ranking.ranking_validity import measure_ranking, ranking_table
from recsim_llm.experiments.fidelity.report.plots import need_matplotlib
from recsim_llm.experiments.fidelity.report.report import write_report
from recsim_llm.experiments.fidelity.report.screen import baseline_table, certificate_table
from recsim_llm.experiments.simulation.config import DEFAULT_LLM, chosen_model
from recsim_llm.runs.run_files import make_folder, write_durably


def run_certify(config: CertifyConfig, out: Path | None, require: Sequence[str]) -> None:
    """Certify a user model, write the certificate, print it; one that certifies is kept for environments.

    Raises:
        RequirementError: A requirement is not met, or too little was measured to certify anything.
    """
    check_required(require)
    need_matplotlib()
    user_model, llm_name = chosen_model(config.user_model, config.llm)
    check_user_model(user_model)
    llm = cached_backend(llm_name) if uses_llm(user_model) else None
    folder = out or certificate_folder(config, user_model)
    try:
        certificate = certify(config, user_model, llm)
    except KeyboardInterrupt:
        print("\nInterrupted. What the language model has answered is kept: the same command goes on from there.")
        raise
    command = certify_command(config, user_model, llm_name if llm else "")
    _publish(replace(certificate, notes={"command": command, **certificate.notes}), folder, require)
    if not certificate.shortfall:  # nor does it take the place of one that certifies
        made_of = model_fingerprint(user_model, load_source(Source(config.dataset, config.split))[0].catalogue)
        certificate.write(certificate_path(certificate.dataset_checksum, user_model, certificate.llm, made_of))
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
    _publish(certificate, out or Path("certificates") / predictions.stem, require)
    _enforce(certificate, require)


def certify_command(config: CertifyConfig, user_model: str, llm_name: str) -> str:
    """The command that gives this certificate again.

    >>> certify_command(CertifyConfig(users=9, naming=True), "llm", "vllm:x")
    'recsim-llm certify --dataset ml-100k --user-model llm --split random --llm vllm:x --users 9 --naming'
    """
    words = ["recsim-llm", "certify", "--dataset", config.dataset, "--user-model", user_model, "--split", config.split]
    words += ["--llm", llm_name] if llm_name else []
    usual = CertifyConfig()
    for name in ("users", "rows", "encoder", "resamples"):
        if getattr(config, name) != getattr(usual, name):
            words += [f"--{name}", str(getattr(config, name))]
    return shlex.join([*words, *(["--naming"] if config.naming else [])])


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


def _publish(certificate: Certificate, folder: Path, require: Sequence[str]) -> None:
    certificate.write(folder / FILE)
    written = write_report(certificate, folder)
    print(certificate_table(certificate))
    print(f"\nBeside simple models, on the same rows:\n{baseline_table(certificate)}")
    print(f"\nThe certificate is {folder / FILE}; to read: {', '.join(str(path) for path in written[:2])}")


def _enforce(certificate: Certificate, require: Sequence[str]) -> None:
    failed = unmet(certificate.metrics, require)
    if certificate.shortfall:
        required = " Required, and so not met: " + ", ".join(require) + "." if require else ""
        raise RequirementError(f"{certificate.shortfall}{required} Measure more people and rows (docs/certificate.md).")
    if failed:
        raise RequirementError("Required, but not met:\n  " + "\n  ".join(failed))
