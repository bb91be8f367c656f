"""A candidate on trial with live requests: its own answers, its evidence, its way to champion."""
