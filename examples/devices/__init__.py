"""Jobs of a cluster: programs log in through a browser, admins act for others."""
