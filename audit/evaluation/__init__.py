"""A classifier and its explainer over a labelled set: one scorecard, all with intervals."""
