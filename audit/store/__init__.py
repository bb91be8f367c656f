"""The audit store: chained events, erasable payloads, projections; SQLite or PostgreSQL."""
