"""Web frameworks' requests and answers, translated; no rules here."""
