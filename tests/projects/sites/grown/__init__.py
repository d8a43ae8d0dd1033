"""What years add: a user model, middleware of others and of one's own, transactions, PostgreSQL, a pool."""
