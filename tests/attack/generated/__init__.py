"""Hostile requests made of the schemas: valid ones, changed where a schema says that something must be."""
