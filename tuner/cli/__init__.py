"""The `tune` command: one module a verb; a verb parses, calls and prints."""
