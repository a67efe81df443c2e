"""Building the stage of a pipeline that uses the component which is checked."""

from __future__ import annotations

from contextlib import AbstractContextManager

from dlpipe.config.pipeline import Reference
from dlpipe.engine.build import FindModel, StageComponents, build_for_use, opened_data
from dlpipe.engine.inference import open_run
from dlpipe.engine.starting_weights import TrainedModel
from dlpipe.protocols import Data
from dlpipe.testing.checks import Use


def components_of(use: Use, *, data: Data | None = None) -> StageComponents:
    """Build what using the model of the stage needs; a context manager, which closes it."""
    return build_for_use(use.pipeline.settings, use.stage, models_of(use), data=data)


def data_of(use: Use) -> AbstractContextManager[Data]:
    """Build the data of the stage; a context manager, which closes it."""
    return opened_data(use.pipeline.settings, use.stage, models_of(use))


def models_of(use: Use) -> FindModel:
    """Return what finds referenced models: that of an earlier stage is built and not trained."""

    def find(reference: Reference) -> TrainedModel:
        if reference.run is not None:
            return open_run(reference.run, allow_local_plugins=use.pipeline.local_plugins).built.trained
        with build_for_use(use.pipeline.settings, use.pipeline.stages[reference.stage], find) as built:
            return built.trained

    return find
