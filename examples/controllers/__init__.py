"""A protected API: controllers, services, and callers that another issuer vouches for."""
