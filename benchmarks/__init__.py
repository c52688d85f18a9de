"""What a request costs a server, for Jetio and for the same application written in other ways."""
