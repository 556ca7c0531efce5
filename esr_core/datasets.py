"""The data sets under the names of the published learner."""

from esr_core.data.affectnet import (
    AffectNetCategorical,
    AffectNetDimensional,
    pre_process_affect_net,
)

__all__ = ["AffectNetCategorical", "AffectNetDimensional", "pre_process_affect_net"]
