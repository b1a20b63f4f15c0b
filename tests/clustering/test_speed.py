"""All of URIEL ranked at once: memory, and the time of a ranking after the first."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

PROGRAM = """
import json, resource, time
from clustering import rank_sources
from clustering.sources.candidates import CandidateRules
rules = CandidateRules(all_languages=True)
rank_sources("swa", rules=rules, top=20)
times = []
for target in ("deu", "yor", "eus", "tam", "quy"):
    started = time.process_time()
    report = rank_sources(target, rules=rules, top=20)
    times.append(time.process_time() - started)
memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps([report.num_candidates, sorted(times)[2], memory / 1024]))
"""


@pytest.mark.slow
def test_7000_languages_are_ranked_in_50_ms_and_250_mb() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    candidates, seconds, megabytes = json.loads(done.stdout)
    assert candidates > 7000
    assert seconds < 0.05
    assert megabytes < 250
