"""How fast all of URIEL is ranked for one language, beside lang2vec, in the same run.

    python experiments/typology_speed.py [--repeats 5]

Loading is measured in fresh processes: the first full ranking of 7,970 languages on five kinds, which reads every
table, against `import lang2vec`, which reads one, and `get_features`. Ranking is measured in one warm process, another
target each time. All figures are medians. lang2vec imports `pkg_resources`, which new setuptools lack, so its
process gets a stand-in of three lines; its own code runs unchanged.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
from statistics import median

OURS = """
import json, time
started_at = time.perf_counter()
from clustering import distances_from
kinds = ["syntactic", "phonological", "inventory", "genetic", "geographic"]
imported_at = time.perf_counter()
distances_from("swa", kinds)
loaded_at = time.perf_counter()
seconds = {}
for name, wanted in (("syntactic", ["syntactic"]), ("all", kinds)):
    runs = []
    for target in ("deu", "jpn", "zul", "eus", "tam", "quy", "tur", "mri", "hau"):
        begun_at = time.perf_counter()
        distances_from(target, wanted).values[wanted[0]].argsort()
        runs.append(time.perf_counter() - begun_at)
    seconds[name] = sorted(runs)[len(runs) // 2]
print(json.dumps({"import": imported_at - started_at, "load": loaded_at - imported_at, "rank": seconds}))
"""

LANG2VEC = """
import importlib.util, json, os, sys, time, types
shim = types.ModuleType("pkg_resources")
root = importlib.util.find_spec("lang2vec").submodule_search_locations[0]
shim.resource_filename = lambda package, path: os.path.join(root, path)
sys.modules["pkg_resources"] = shim
started_at = time.perf_counter()
import lang2vec.lang2vec as l2v
imported_at = time.perf_counter()
l2v.get_features(["swa", "deu"], "syntax_knn")
pair_at = time.perf_counter()
some = sorted(l2v.URIEL_LANGUAGES)[:500]
l2v.get_features(some, "syntax_knn")
some_at = time.perf_counter()
print(json.dumps({"import": imported_at - started_at, "get_features of 2 languages": pair_at - imported_at,
                  "get_features of 500 languages": some_at - pair_at}))
"""


def main() -> None:
    """Run both sides and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5, help="fresh processes per side (default 5)")
    parser.add_argument("--json", action="store_true", help="print JSON only")
    arguments = parser.parse_args()
    repeats = arguments.repeats
    ours, theirs = [], []
    for _ in range(repeats):  # turn and turn about, so that a busy machine disturbs both alike
        ours.append(_run(OURS))
        theirs.append(_run(LANG2VEC))
    load_s = median(run["load"] for run in ours)
    own_import_s = median(run["import"] for run in ours)
    import_s = median(run["import"] for run in theirs)
    pair_s, some_s = (median(run[f"get_features of {count} languages"] for run in theirs) for count in (2, 500))
    result = {
        "clustering_import_s": own_import_s,
        "clustering_load_s": load_s,
        "clustering_rank_all_syntactic_s": median(run["rank"]["syntactic"] for run in ours),
        "clustering_rank_all_five_kinds_s": median(run["rank"]["all"] for run in ours),
        "lang2vec_import_s": import_s,
        "lang2vec_get_features_2_s": pair_s,
        "lang2vec_get_features_500_s": some_s,
        "ratio_first_answer": (import_s + pair_s) / (own_import_s + load_s),
        "repeats": repeats,
        "python": platform.python_version(),
        "machine": f"{platform.machine()}, {platform.system()}",
    }
    if arguments.json:
        print(json.dumps(result, indent=1))
        return
    rows = [
        ("clustering: import, with numpy", "clustering_import_s"),
        ("clustering: load five kinds and rank 7,970 languages once", "clustering_load_s"),
        ("clustering: rank 7,970 languages again, syntax", "clustering_rank_all_syntactic_s"),
        ("clustering: rank 7,970 languages again, five kinds", "clustering_rank_all_five_kinds_s"),
        ("lang2vec: import", "lang2vec_import_s"),
        ("lang2vec: get_features, syntax_knn, 2 languages", "lang2vec_get_features_2_s"),
        ("lang2vec: get_features, syntax_knn, 500 languages", "lang2vec_get_features_500_s"),
    ]
    print(f"medians of {repeats} fresh processes each, Python {result['python']}, {result['machine']}")
    for label, key in rows:
        print(f"{label:60s}{result[key] * 1e3:9.1f} ms")
    print(f"to the first answer, import included, lang2vec takes {result['ratio_first_answer']:.1f} times as long")


def _run(program: str) -> dict:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    main()
