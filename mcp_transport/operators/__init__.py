"""What staff can see and do: the admin, the REST API and the commands share it."""
