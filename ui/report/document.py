"""An accepted report as a PDF document."""

from __future__ import annotations

from ecgkin.ui.report.accepted import AcceptedReport

_WORDS = {
    "en": ("Patient", "Born", "ECG of", "Signed by", "Measured values", "Similar cases that were cited"),
    "de": ("Patient", "Geboren", "EKG vom", "Signiert von", "Messwerte", "Zitierte ähnliche Fälle"),
}
_NAMES = {
    "rate_bpm": ("Rate", "/min"),
    "pr_ms": ("PR", "ms"),
    "qrs_ms": ("QRS", "ms"),
    "qt_ms": ("QT", "ms"),
    "qtc_ms": ("QTc", "ms"),
    "axis_deg": ("Axis", "°"),
}


def pdf_of(report: AcceptedReport) -> bytes:
    """The report as a PDF of one page or more; the same report gives the same text."""
    from ecgkin.ui.web.panels.report import report_pdf

    patient, born, performed, signed, values, cases = _WORDS[report.language]
    who = " ".join(part for part in report.patient.name.replace("^", " ").split() if part)
    lines = [report.title, f"{patient}: {' '.join(filter(None, [who, report.patient.patient_id])) or '-'}"]
    if report.patient.birth_date is not None:
        lines.append(f"{born}: {report.patient.birth_date.isoformat()}")
    if report.study.performed_at:
        lines.append(f"{performed}: {report.study.performed_at.replace('T', ' ')}")
    lines += ["", *report.text.splitlines()]
    measured = [f"{_NAMES[name][0]} {value:.0f} {_NAMES[name][1]}" for name, value in report.values.items()
                if name in _NAMES]  # fmt: skip
    if measured:
        lines += ["", f"{values}: {', '.join(measured)}"]
    if report.cases:
        lines += ["", f"{cases}: {'; '.join(report.cases)}"]
    signer = " ".join(filter(None, [report.signed_by.replace("^", " ").strip(), report.organization]))
    lines += ["", f"{signed}: {signer}, {report.signed_at.isoformat(timespec='minutes')}", report.origin]
    return report_pdf("\n".join(lines), report.title, report.study.accession_number or report.key[:12])
