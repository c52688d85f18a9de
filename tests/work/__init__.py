"""The work of a request, counted: statements, crossings to threads, opcodes. No clock."""
