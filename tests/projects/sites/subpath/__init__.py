"""A project at a sub-path of a site, behind nginx."""
