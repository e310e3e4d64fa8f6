"""Broken on purpose: bytes that are not UTF-8."""

NAME = "café"
PLACE = "ÿþ"
