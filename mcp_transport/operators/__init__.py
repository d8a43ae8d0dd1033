"""The operations of staff, shared by the admin, the REST API and the commands."""
