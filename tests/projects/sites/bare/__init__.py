"""A project without a database, users and admin."""
