"""Networks whose reliance on a cue is known, and measures that should tell it."""
