"""What is said of the findings of pip-audit: silence is not a clean bill."""

from __future__ import annotations

from tests.security.__main__ import verdict

CLEAN = {"name": "django", "version": "5.2", "vulns": []}
FAULTY = {"name": "old", "version": "1.0", "vulns": [{"id": "PYSEC-1", "fix_versions": ["1.1"]}]}
SKIPPED = {"name": "own", "skip_reason": "not found"}


def test_a_known_fault_fails_and_says_what_mends_it() -> None:
    lines, status = verdict([CLEAN, FAULTY])
    assert (lines[0], status) == ("old 1.0: PYSEC-1, mended in 1.1", 1)


def test_what_was_audited_and_has_no_fault_is_clean() -> None:
    assert verdict([CLEAN, SKIPPED]) == (["Dependencies: 1 audited, 0 known faults; 1 were not audited."], 0)


def test_nothing_audited_is_said_aloud() -> None:
    lines, status = verdict([SKIPPED])
    assert (lines[0].startswith("DEPENDENCIES WERE NOT AUDITED"), status) == (True, 0)
