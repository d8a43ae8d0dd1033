"""The projects."""
