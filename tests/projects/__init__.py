"""Django projects as they grow over the years, and what the endpoint does in each of them."""
