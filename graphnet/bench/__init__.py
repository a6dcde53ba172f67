"""Timing against other frameworks, in one interleaved run: see `harness`. Peers need the extra [bench]."""
