"""Reference data: RULES, SEGMENT, the suppression list, the policy and zone tables, parsed, versioned and activated."""
