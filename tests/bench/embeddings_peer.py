"""sentence-transformers, run by its own Python: `PYTHON embeddings_peer.py MODEL_FOLDER`. Nothing of ours is imported.

Reads a line with a JSON list of texts, answers with a line of JSON: the seconds that they took, and the first vector.
"""

import json
import sys
import time

from sentence_transformers import SentenceTransformer  # type: ignore[import-not-found]

model = SentenceTransformer(sys.argv[1], device="cpu")
print(json.dumps({"max_tokens": model.max_seq_length}), flush=True)
for line in sys.stdin:
    texts = json.loads(line)
    begun = time.monotonic()
    vectors = model.encode(texts, normalize_embeddings=True, show_progress_bar=False)
    seconds = time.monotonic() - begun
    print(json.dumps({"seconds": seconds, "first": [float(part) for part in vectors[0]]}), flush=True)
