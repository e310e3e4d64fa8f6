"""Tests of the devkit with real processes and servers."""
