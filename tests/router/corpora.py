"""Small pieces of the shared data for identifiers."""

from __future__ import annotations

import gzip
import json
from pathlib import Path


def texts(shared: Path, corpus: str, name: str, split: str, limit: int | None = None) -> list[str]:
    """Texts of one file and split, in order."""
    with gzip.open(shared / corpus / f"{name}.jsonl.gz", "rt", encoding="utf-8") as lines:
        rows = [row["text"] for row in map(json.loads, lines) if row["split"] == split]
    return rows[:limit]


GREETINGS = {
    "deu": ["Guten Morgen, wie geht es Ihnen heute? Das Wetter ist schön und die Sonne scheint über dem Haus."],
    "swh": ["Habari za asubuhi, hali yako ikoje leo? Hali ya hewa ni nzuri na jua linawaka juu ya nyumba."],
    "ell": ["Καλημέρα, τι κάνετε σήμερα; Ο καιρός είναι ωραίος και ο ήλιος λάμπει πάνω από το σπίτι."],
}
