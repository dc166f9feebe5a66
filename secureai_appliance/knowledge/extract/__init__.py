"""From the bytes of a file to structured text, in a process of its own: `worker.run` is the way in."""
