"""Mail: who carries it, what it says, and what its links do."""
