"""Documented exit codes: one table for people and for the code that uses it."""

DONE = 0
FAILED = 1
USAGE = 2
REFUSED_BY_POLICY = 10
BUDGET_EXHAUSTED = 11
WAITING_FOR_APPROVAL = 12
UNREACHABLE = 20
INTEGRITY_FAILED = 30
INTERRUPTED = 130

MEANING = {
    DONE: "done",
    FAILED: "failed",
    USAGE: "usage or configuration",
    REFUSED_BY_POLICY: "refused by policy",
    BUDGET_EXHAUSTED: "budget exhausted",
    WAITING_FOR_APPROVAL: "waiting for approval",
    UNREACHABLE: "unreachable",
    INTEGRITY_FAILED: "integrity or proof failed",
    INTERRUPTED: "interrupted",
}
