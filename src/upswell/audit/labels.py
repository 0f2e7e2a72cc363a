"""Labels for people: one short phrase for each outcome, reject reason, file state and exit code.

Owns these phrases and nothing else. The slugs and numbers themselves are the contract, and are defined elsewhere.
"""

OUTCOME_WORDS = {
    "rejected": "malformed line (reasons below)",
    "blank": "empty lines",
    "header": "first line without any digit",
    "not_in_segment": "the customer is not in the segment",
    "suppressed": "the customer is on the suppression list, or was forgotten",
    "no_rule": "no rule for this service",
    "outside_window": "the service has rules, but none for this hour",
    "late": "arrived after its day was closed",
    "capped": "the customer was already notified",
    "capped_customer": "the customer had reached the daily limit of notifications",
    "control": "not sent: the customer is in the control group",
    "counted": "added to the total, threshold not exceeded",
    "notified": "sent to OUTPUT",
}
"""By outcome."""

POLICY_OUTCOMES = ("suppressed", "capped_customer", "control")
"""Outcomes that only a policy gives; not shown while their counts are zero."""

REASON_WORDS = {
    "too_long": "over 4096 bytes",
    "columns": "not four fields",
    "msisdn": "the first field is not an MSISDN of 5 to 15 digits",
    "service": "the second field is not a service of 1 to 9 digits",
    "volume": "the third field is not a whole number of 1 to 15 digits",
    "timestamp": "the fourth field is not a date and time yyyyMMddHHmmss",
    "future": "dated more than a day after the stamp of its file",
}
"""By reason of a rejected line."""

STATE_WORDS = {
    "waiting": "not ready: still being written, or its quiet period is not over",
    "reading": "read up to its current end",
    "done": "read to the end",
    "held": "needs attention: it cannot be read safely",
    "duplicate": "same content as another file: not read again",
    "skipped": "older than --since",
    "gone": "deleted before it was done; its reason says if a part is missing",
    "continued": "went on under another name: the rest was read there",
    "ignored": "not a file named DATA_yyyyMMddHHmm.csv or .csv.gz",
}
"""By state of a file."""

EXIT_STEPS = {
    65: "run `upswell rejects`; correct the producer",
    66: "mount it, or correct the path or its permissions; start again",
    70: "start again with `--debug`; if it happens again, keep the state and the input, and report it",
    73: "correct the directory, its owner or its mode; start again",
    74: "free space, or replace the disk or memory, and start again; `upswell state verify` checks the state",
    75: "wait for the other, stop it first, or choose another port",
    78: "the message names file, line and what to write",
}
"""The next step after a run that ended with this code, as in docs/operations.md, "Exit codes"."""
