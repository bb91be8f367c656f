"""The loop shown to a newcomer: the demo, and the tour through the browser."""
