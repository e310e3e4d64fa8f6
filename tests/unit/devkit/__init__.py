"""Tests of the devkit that need no server."""
