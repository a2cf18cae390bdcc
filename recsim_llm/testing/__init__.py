"""Test support for your own components: contract tests to inherit, and scripted and misbehaving models."""
