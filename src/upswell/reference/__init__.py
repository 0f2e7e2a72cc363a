"""Reference data: RULES, SEGMENT, the suppression list and the policy, parsed, versioned and activated."""
