"""Feeds the detectors with what was ingested, in order, and lives through their alarms."""
