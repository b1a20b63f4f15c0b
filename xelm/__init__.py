"""xelm: expert language models for groups of related languages, trained apart and routed together.

The public API, loaded on first use so that `import xelm` stays fast.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from clustering.lazy import lazy_names

if TYPE_CHECKING:
    from clustering import ClusterPlan, cluster_languages
    from clustering.errors import BadInput
    from clustering.languages.codes import language
    from clustering.plans.effects import Effects
    from clustering.plans.make import suggest_k
    from clustering.sources.report import SourceReport, SourceScore
    from router.routes.policy import Policy
    from router.routes.weigh import Route, RoutingRule
    from router.scoring.texts import Score
    from router.scoring.tokens import ScoringOptions
    from xelm.adding.add import add_language, remove_language
    from xelm.aligning.align import align
    from xelm.aligning.alignment import Alignment
    from xelm.blending.blend import blend
    from xelm.comparing.compare import compare_plans
    from xelm.comparing.comparison import PlanComparison
    from xelm.distilling.distill import distill
    from xelm.distilling.distillation import Distillation
    from xelm.evaluation.evaluate import evaluate, evaluate_on
    from xelm.inference.completions import Completion
    from xelm.inference.routed import RoutedLM
    from xelm.inference.routed_lm.routes import RoutedSpan
    from xelm.launch.options import Launch
    from xelm.making.budgets.budget import Budget
    from xelm.making.train import dry_run, train
    from xelm.measuring.measure import measure_effects
    from xelm.models.profile_tokenizers import rank_sources
    from xelm.pruning.parts import Pruning
    from xelm.pruning.prune import prune
    from xelm.recipe.recipe import Recipe
    from xelm.run.experts import ExpertSet
    from xelm.run.export import export
    from xelm.run.failures import TrainingFailedError
    from xelm.run.records.results import Evaluation
    from xelm.transferring.recipe import TransferRecipe
    from xelm.transferring.report.report import TransferReport
    from xelm.transferring.transfer import transfer

__version__ = "0.2.0"
__all__ = [
    "Alignment",
    "BadInput",
    "Budget",
    "ClusterPlan",
    "Completion",
    "Distillation",
    "Effects",
    "Evaluation",
    "ExpertSet",
    "Launch",
    "PlanComparison",
    "Policy",
    "Pruning",
    "Recipe",
    "Route",
    "RoutedLM",
    "RoutedSpan",
    "RoutingRule",
    "Score",
    "ScoringOptions",
    "SourceReport",
    "SourceScore",
    "TrainingFailedError",
    "TransferRecipe",
    "TransferReport",
    "add_language",
    "align",
    "blend",
    "cluster_languages",
    "compare_plans",
    "distill",
    "dry_run",
    "evaluate",
    "evaluate_on",
    "export",
    "language",
    "measure_effects",
    "prune",
    "rank_sources",
    "remove_language",
    "suggest_k",
    "train",
    "transfer",
]

_HOME = {
    "Alignment": "xelm.aligning.alignment",
    "BadInput": "clustering.errors",
    "Budget": "xelm.making.budgets.budget",
    "ClusterPlan": "clustering",
    "Completion": "xelm.inference.completions",
    "Distillation": "xelm.distilling.distillation",
    "Effects": "clustering.plans.effects",
    "Evaluation": "xelm.run.records.results",
    "ExpertSet": "xelm.run.experts",
    "Launch": "xelm.launch.options",
    "PlanComparison": "xelm.comparing.comparison",
    "Policy": "router.routes.policy",
    "Pruning": "xelm.pruning.parts",
    "Recipe": "xelm.recipe.recipe",
    "Route": "router.routes.weigh",
    "RoutedLM": "xelm.inference.routed",
    "RoutedSpan": "xelm.inference.routed_lm.routes",
    "RoutingRule": "router.routes.weigh",
    "Score": "router.scoring.texts",
    "ScoringOptions": "router.scoring.tokens",
    "SourceReport": "clustering.sources.report",
    "SourceScore": "clustering.sources.report",
    "TrainingFailedError": "xelm.run.failures",
    "TransferRecipe": "xelm.transferring.recipe",
    "TransferReport": "xelm.transferring.report.report",
    "add_language": "xelm.adding.add",
    "align": "xelm.aligning.align",
    "blend": "xelm.blending.blend",
    "cluster_languages": "clustering",
    "compare_plans": "xelm.comparing.compare",
    "distill": "xelm.distilling.distill",
    "dry_run": "xelm.making.train",
    "evaluate": "xelm.evaluation.evaluate",
    "evaluate_on": "xelm.evaluation.evaluate",
    "export": "xelm.run.export",
    "language": "clustering.languages.codes",
    "measure_effects": "xelm.measuring.measure",
    "prune": "xelm.pruning.prune",
    "rank_sources": "xelm.models.profile_tokenizers",
    "remove_language": "xelm.adding.add",
    "suggest_k": "clustering.plans.make",
    "train": "xelm.making.train",
    "transfer": "xelm.transferring.transfer",
}
__getattr__, __dir__ = lazy_names(__name__, _HOME)
