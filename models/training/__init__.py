"""Learning from labels and explanations: data sets, objectives, the trainer."""
