"""What the slugs and numbers of the contract mean to a person: outcomes, reject reasons, states of a file, exit codes.

Owns one short phrase for each, and nothing else.
"""

OUTCOME_WORDS = {
    "rejected": "no record: see the reasons below",
    "blank": "empty lines",
    "header": "first lines without a digit",
    "not_in_segment": "the customer is not in the segment",
    "suppressed": "the customer is on the suppression list, or was forgotten",
    "no_rule": "no rule for this service",
    "outside_window": "the service has rules, but not for this hour",
    "late": "of a day that is closed, too late to be counted",
    "capped": "the customer was already notified",
    "capped_customer": "the customer had as many notifications that day as allowed",
    "control": "would be sent, but the customer is in the control group",
    "counted": "added up, the threshold is not exceeded yet",
    "notified": "sent to OUTPUT",
}
"""What each outcome means."""

POLICY_OUTCOMES = ("suppressed", "capped_customer", "control")
"""Outcomes that only a policy gives: not shown while there are none."""

REASON_WORDS = {
    "too_long": "over 4096 bytes",
    "columns": "not four fields",
    "msisdn": "the first field is no dial: 5 to 15 digits",
    "service": "the second field is no service: 1 to 9 digits",
    "volume": "the third field is no whole number of up to 15 digits",
    "timestamp": "the fourth field is no date and time yyyyMMddHHmmss",
    "future": "dated more than a day after the file's own stamp",
}
"""What each reason of a rejected line means."""

STATE_WORDS = {
    "waiting": "not ready to be read: still being written, or not looked at twice yet",
    "reading": "read up to where it ends now",
    "done": "read to the end",
    "held": "needs someone: it cannot be read safely",
    "duplicate": "the content of another file: not read again",
    "skipped": "older than --since",
    "gone": "deleted while it was read",
    "ignored": "not a file named DATA_yyyyMMddHHmm.csv or .csv.gz",
}
"""What each state of a file means."""

EXIT_STEPS = {
    65: "`upswell rejects`; correct the producer",
    66: "mount it, or correct the path or its permissions; start again",
    70: "start again with `--debug`; if it comes back, keep state and input, and report it",
    73: "correct the directory, its owner or its mode; start again",
    74: "give it space, a sound disk or memory and start again; `upswell state verify` tells if the state is sound",
    75: "let it run, or stop it first",
    78: "the message names file, line and what to write",
}
"""What is to be done after a run that ended with this code, as docs/operations.md, "Exit codes", has it."""
