"""Sequential detectors: each says when a measure has changed, with a stated false-alarm rate."""
