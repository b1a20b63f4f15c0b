"""The mutants: one small change of a formula each, as (file, text, replacement); the text stands in the file once."""

from __future__ import annotations

HIERARCHY, PAIRS, QUALITY = "clustering/plans/hierarchy.py", "clustering/plans/pairs.py", "clustering/plans/quality.py"
SIGNALS, PROFILES = "clustering/sources/signals.py", "clustering/sources/profiles.py"
ARITHMETIC, KINDS, OWN = (
    "clustering/distances/arithmetic.py",
    "clustering/distances/kinds.py",
    "clustering/distances/own.py",
)
WEIGH, AFFINITY = "router/routes/weigh.py", "router/routes/affinity.py"
COMBINED, LANGID, NGRAM = "router/identify/combined.py", "router/identify/langid.py", "router/identify/ngram.py"
SAMPLES, SPANS, TEXTS = "router/identify/samples.py", "router/identify/spans.py", "router/scoring/texts.py"
OPEN = "router/identify/open.py"
LOOP, SCHEDULE, BUDGET = "xelm/training/loop.py", "xelm/training/schedule.py", "xelm/making/budgets/budget.py"
DRAW, MIXTURE, BRANCH = "xelm/corpus/draw.py", "xelm/corpus/mixture.py", "xelm/adding/branch.py"
EVALUATE, RESULTS, DONOR = "xelm/evaluation/evaluate.py", "xelm/run/records/results.py", "xelm/adding/donor.py"

MUTANTS: list[tuple[str, str, str]] = [
    # Clusters.
    (HIERARCHY, 'np.sqrt(condensed) if name == "ward" else condensed', "condensed"),
    (HIERARCHY, 'if name == "ward" else', 'if name != "single" else'),
    (HIERARCHY, "for number in range(num_leaves - k):", "for number in range(num_leaves - k - 1):"),
    (HIERARCHY, "TOKEN_SLACK = 1.1", "TOKEN_SLACK = 1.0"),
    (HIERARCHY, "TOKEN_SLACK = 1.1", "TOKEN_SLACK = 1.3"),
    (HIERARCHY, "key=lambda row: (-tokens[row], row)", "key=lambda row: (tokens[row], row)"),
    (HIERARCHY, "load + tokens[row] <= room", "load + tokens[row] < room"),
    (HIERARCHY, "seats + (extra > 0))\n    # Every", "seats + 1)\n    # Every"),
    (
        PAIRS,
        "gap = float(values[np.ix_(groups[left], groups[right])].min())",
        "gap = float(values[np.ix_(groups[left], groups[right])].max())",
    ),
    (PAIRS, "[[values[np.ix_(left, right)].min() for", "[[values[np.ix_(left, right)].max() for"),
    (
        QUALITY,
        "own = sums_LK[rows, labels] / np.maximum(sizes[labels] - 1, 1)",
        "own = sums_LK[rows, labels] / sizes[labels]",
    ),
    (QUALITY, "larger = np.maximum(own, other)", "larger = np.minimum(own, other)"),
    (QUALITY, "np.where(alone, 0.0, scores)", "np.where(alone, 1.0, scores)"),
    (QUALITY, "np.mean(loads) / max(loads)", "min(loads) / max(loads)"),
    (QUALITY, "most = (left + right) / 2", "most = max(left, right)"),
    (QUALITY, "expected = left * right / total", "expected = 0.5 * left * right / total"),
    # Distances.
    (ARITHMETIC, "np.sqrt((left + 1.0) * (right + 1.0))", "np.sqrt((left + 0.0) * (right + 0.0))"),
    (ARITHMETIC, "np.arccos(cosines) / np.pi", "np.arccos(cosines) * 2 / np.pi"),
    (
        ARITHMETIC,
        "return 1.0 - _products(left_AF, right_BF), coverage",
        "return (1.0 - _products(left_AF, right_BF)) / 2, coverage",
    ),
    (KINDS, '"combined": {"syntactic": 1.0, "genetic": 0.5,', '"combined": {"syntactic": 1.0, "genetic": 1.0,'),
    (KINDS, "{name: weight / total for name, weight in weights.items()}", "dict(weights)"),
    (
        OWN,
        "values = np.clip((1.0 - unit_LD @ unit_LD.T) / 2, 0.0, 1.0)",
        "values = np.clip(1.0 - unit_LD @ unit_LD.T, 0.0, 1.0)",
    ),
    (OWN, "table_LD = table_LD - table_LD[order].mean(axis=0)", "table_LD = table_LD + 0.0"),
    # Source ranking.
    (SIGNALS, "utilities[shared] = root / spread if spread > 0 else root * 0", "utilities[shared] = root"),
    (SIGNALS, "root = np.sqrt(raw[shared])", "root = np.asarray(raw[shared])"),
    (SIGNALS, "NATS_PER_UNIT = 5.0", "NATS_PER_UNIT = 4.0"),
    (SIGNALS, "COSINE_PER_UNIT = 0.1", "COSINE_PER_UNIT = 0.2"),
    (SIGNALS, "KM_SCALE = 1500.0", "KM_SCALE = 1000.0"),
    (SIGNALS, "-np.log1p(raw[", "-np.sqrt(raw["),
    (SIGNALS, 'np.log1p(raw["size_ratio"])', 'np.log(raw["size_ratio"] + 1e-9)'),
    (SIGNALS, "values - np.nanmean(values)", "values - np.nanmedian(values) * 0.9"),
    (SIGNALS, '"ttr_distance": (1 - ttr / target_ttr) ** 2', '"ttr_distance": abs(1 - ttr / target_ttr)'),
    (SIGNALS, "HALF_GLOBE_KM = 20_015.0", "HALF_GLOBE_KM = 40_030.0"),
    (SIGNALS, "np.log(len(counts) / node_sizes[mine])", "np.log2(len(counts) / node_sizes[mine])"),
    (
        SIGNALS,
        'shared = "subword_overlap" if is_known(raw, "subword_overlap") else "word_overlap"',
        'shared = "word_overlap"',
    ),
    (PROFILES, "return len(a & t) / total if total", "return 2 * len(a & t) / total if total"),
    # Routing.
    (WEIGH, "softmax(-expected_BK / self.rule.loss_temperature)", "softmax(-expected_BK / 0.02)"),
    (WEIGH, "loss_temperature: float = 0.02", "loss_temperature: float = 0.05"),
    (WEIGH, "distance_temperature: float = 0.1", "distance_temperature: float = 0.2"),
    (WEIGH, "confidence < self.rule.threshold", "confidence <= self.rule.threshold"),
    (WEIGH, "float(posterior_L[best]) * familiarity", "float(posterior_L[best])"),
    (AFFINITY, "to_members[:, of_expert].min(axis=1)", "to_members[:, of_expert].mean(axis=1)"),
    (AFFINITY, "shares = softmax(-to_expert / temperature)", "shares = softmax(-to_expert)"),
    (AFFINITY, "np.nanmax(block, initial=0.0)", "0.0"),
    (AFFINITY, "distances) / temperature)\n        table_KL", "distances))\n        table_KL"),
    ("router/routes/route.py", "FOREIGN_ODDS = 4.0", "FOREIGN_ODDS = 1.0"),
    # Identification.
    (COMBINED, "softmax(logits_BL * np.exp(-self.softening))", "softmax(logits_BL * np.exp(self.softening))"),
    (COMBINED, "+ PRIOR_LOG_ODDS\n", "\n"),
    (COMBINED, "PRIOR_LOG_ODDS = float(np.log(9.0))", "PRIOR_LOG_ODDS = float(np.log(4.0))"),
    (COMBINED, "** NGRAM_POWER)[:, None]", "** 1.0)[:, None]"),
    (COMBINED, "NGRAM_SCALE = 9.0", "NGRAM_SCALE = 7.0"),
    (COMBINED, "LANGID_SHARE = 0.31", "LANGID_SHARE = 0.62"),
    (COMBINED, "np.clip(lengths_B, SHORT, LONG) / SHORT", "np.clip(lengths_B, 1, LONG) / SHORT"),
    (COMBINED, "np.maximum(typical_BL.max(axis=1), ANY_TEXT)", "typical_BL.max(axis=1)"),
    (COMBINED, "SOFTENING_GRID = np.linspace(0.0, 1.5, 16)", "SOFTENING_GRID = np.linspace(-1.0, 1.5, 16)"),
    (LANGID, "* np.maximum(lengths_B, 1) ** TEMPERATURE_POWER", "* np.maximum(lengths_B, 1) ** 0.0"),
    (LANGID, "TEMPERATURE_SCALE = 0.785", "TEMPERATURE_SCALE = 1.0"),
    (NGRAM, "TEMPERATURE_POWER = 0.416", "TEMPERATURE_POWER = 0.5"),
    (NGRAM, "(counts - 0.5)", "counts"),
    (NGRAM, "RARE = 1e-7", "RARE = 1e-6"),
    (OPEN, "(1 - familiarity_B1) * others_BO", "others_BO"),
    (SAMPLES, "HELD_OUT_SHARE = 0.1", "HELD_OUT_SHARE = 0.2"),
    (SAMPLES, "MAX_CHARACTERS_KEPT = 300_000", "MAX_CHARACTERS_KEPT = 3_000_000"),
    (SPANS, "SWITCH_COST = 6.0", "SWITCH_COST = 3.0"),
    (TEXTS, "np.cumsum(log_probs_MT, axis=1) - log_probs_MT", "np.cumsum(log_probs_MT, axis=1)"),
    (COMBINED, "softmax(logits_BL * np.exp(-softening))", "softmax(logits_BL * np.exp(softening))"),
    (SAMPLES, "PIECE_LENGTH = 500", "PIECE_LENGTH = 250"),
    (NGRAM, "STEPS_PER_NAT = 16", "STEPS_PER_NAT = 8"),
    (COMBINED, "np.exp(langid_BC[:, ours]).sum(axis=1)", "np.exp(langid_BC[:, ours]).max(axis=1)"),
    # Training.
    (LOOP, '"weight_decay": 0.0}', '"weight_decay": stage.settings.weight_decay}'),
    (LOOP, "betas=(0.9, 0.95)", "betas=(0.9, 0.999)"),
    (SCHEDULE, "_WSD_DECAY = 0.2", "_WSD_DECAY = 0.5"),
    (SCHEDULE, "self.peak * (step + 1) / warmup", "self.peak * step / warmup"),
    (SCHEDULE, "descent = self.num_steps - 1 - warmup", "descent = self.num_steps - warmup"),
    (SCHEDULE, "0.5 * (1 + math.cos(math.pi * done))", "1 - done"),
    (DRAW, "np.log(size) / temperature", "np.log(size) * temperature"),
    (DRAW, "key=lambda name: counts[name] - exact[name]", "key=lambda name: exact[name] - counts[name]"),
    (MIXTURE, "min(left / (len(by_size) - index), max_epochs * num_blocks[code])", "left / (len(by_size) - index)"),
    (MIXTURE, "return 1 / ((1 - done) / begin + done / end)", "return (1 - done) * begin + done * end"),
    (MIXTURE, "_temperature(settings, (begin + end) / 2)", "_temperature(settings, begin)"),
    (MIXTURE, "if enters.get(code, 0.0) <= begin", "if enters.get(code, 0.0) < begin or begin == 0"),
    (BRANCH, "code: addition.replay / len(old)", "code: addition.replay"),
    (BUDGET, "trained * (weight_bytes + 8)", "trained * 8"),
    (BUDGET, "layers * 34 / 2 *", "layers * 34 *"),
    (BUDGET, "+ 3 * getattr(text,", "+ 2 * getattr(text,"),
    (BUDGET, "checkpoint = 3 * size.parameters", "checkpoint = 2 * size.parameters"),
    (BUDGET, "1 if recipe.train.gradient_checkpointing else", "2 if recipe.train.gradient_checkpointing else"),
    (BUDGET, 'if recipe.train.share == "languages" else 1.0', 'if recipe.train.share != "languages" else 1.0'),
    (BRANCH, "_MOST_EPOCHS = 40", "_MOST_EPOCHS = 80"),
    ("xelm/adding/label.py", "_OTHER_LANGUAGE = 0.9", "_OTHER_LANGUAGE = 0.5"),
    ("xelm/adding/tokenizer_fit.py", "_MANY_TOKENS = 1.5", "_MANY_TOKENS = 3.0"),
    # Results.
    (EVALUATE, "100 * (1 - ours[code] / theirs[code])", "100 * (theirs[code] / ours[code] - 1)"),
    (EVALUATE, "value > 0 for value in gain.values()", "value >= -50 for value in gain.values()"),
    (EVALUATE, "[code for code in routed if code in dense_languages]", "list(routed)"),
    (RESULTS, "nats / math.log(2) / max(num_bytes, 1)", "nats / max(num_bytes, 1)"),
    (RESULTS, "math.exp(min(nats / max(tokens, 1), 700))", "math.exp(min(nats / max(num_bytes, 1), 700))"),
    (RESULTS, "None if at_home is None else -at_home", "at_home"),
    (DONOR, "_BLIND_BITS = 8.0", "_BLIND_BITS = 6.0"),
    (DONOR, "if loss < _BLIND_BITS:", "if loss <= _BLIND_BITS:"),
]
