"""RULES, SEGMENT, suppression and policy: parsed, versioned, active."""
