"""Complete a run whose models are made: router, evaluation, report and checksums."""

from __future__ import annotations

from xelm.corpus.store import training_texts
from xelm.making.centres import save_centres
from xelm.making.workspace import Workspace
from xelm.run.experts import ExpertSet
from xelm.run.folder import RunFolder
from xelm.run.records.manifest import Manifest


def finish(workspace: Workspace, *, report: bool) -> None:
    """Make router, evaluation, report and checksums of a run whose models are made."""
    from router.identify.stored import save_identifier, train_identifier
    from router.routes.relatives import Relatives
    from xelm.evaluation.groups import save_groups
    from xelm.evaluation.learned import evaluate_and_learn, forget_learned
    from xelm.report import write_report

    run, manifest = workspace.run, Manifest.read(workspace.run)
    texts = {source.code: training_texts(source, workspace.recipe.data) for source in workspace.inputs.sources}
    identifier = train_identifier(workspace.recipe.router.identifier, texts, seed=workspace.recipe.train.seed)
    save_identifier(identifier, RunFolder(run).router)
    save_groups(run, Relatives())
    save_centres(workspace)
    if not report:
        forget_learned(run)
    else:
        result = evaluate_and_learn(run)
        manifest.metrics = result.headline() if result else {}
        manifest.write(run)
        write_report(ExpertSet.load(run))
    manifest.refresh_files(run)
    manifest.write(run)
