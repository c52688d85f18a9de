"""Documentation of the built operations: OpenAPI 3.1 and Swagger UI."""
