"""What a finding carries, and how findings are ordered and counted."""

from __future__ import annotations

import pytest

from leuko_mm.datasets.audit_finding import (
    RULES,
    SEVERITIES,
    AuditFinding,
    about_file,
    by_rule,
    tally,
)


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_has_a_title_a_weight_and_a_cure(rule):
    finding = AuditFinding(rule, "a.png", "odd")
    assert finding.severity in SEVERITIES
    assert RULES[rule].title
    assert finding.cure
    assert str(finding) == "a.png: odd"


def test_a_severity_may_be_given():
    assert AuditFinding("split-leak", "s", "w", (), "note").severity == "note"


def test_findings_are_grouped_the_gravest_first():
    findings = [
        AuditFinding("cut-cell", "a", "x"),
        AuditFinding("split-leak", "b", "x", (), "note"),
        AuditFinding("missing-file", "c", "is missing"),
        AuditFinding("split-leak", "d", "x"),
        AuditFinding("cut-cell", "e", "x"),
    ]
    grouped = [
        (rule, "".join(f.file for f in found)) for rule, found in by_rule(findings)
    ]
    assert grouped == [
        ("missing-file", "c"),
        ("split-leak", "d"),
        ("split-leak", "b"),
        ("cut-cell", "ae"),
    ]
    assert tally(findings) == {"error": 2, "warning": 0, "note": 3}


def test_a_path_is_not_said_twice():
    finding = about_file("unreadable-file", "x/a.png", "x/a.png: empty, 0 bytes", "a")
    assert (finding.words, finding.file) == ("empty, 0 bytes", "x/a.png")
