"""Tests that need servers."""
