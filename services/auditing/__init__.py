"""The auditor's process, and what it runs beside its steps."""
