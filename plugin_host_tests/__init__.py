"""Tests of the built plugin in real hosts, with a real daemon on the embedded model."""
