"""The DynamoDB backend: any node serves any session, with one table between them."""
