"""The retraining benchmark: tasks, methods, resumable cells and their table."""
