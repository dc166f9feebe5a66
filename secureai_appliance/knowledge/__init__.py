"""From an organisation's files to the passage that answers a question."""
