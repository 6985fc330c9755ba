"""Containers, table layers, simple layers and criterions: the parts of recurrent networks."""

from torchrnn.layers.attach_loss import attach_loss
from torchrnn.layers.composite_criterions import ModuleCriterion, MultiCriterion, ParallelCriterion
from torchrnn.layers.constant import Constant
from torchrnn.layers.containers import ConcatTable, Container, MapTable, ParallelTable, Sequential
from torchrnn.layers.criterion import Criterion
from torchrnn.layers.criterions import (
    BCECriterion,
    ClassNLLCriterion,
    CrossEntropyCriterion,
    DistKLDivCriterion,
    MSECriterion,
)
from torchrnn.layers.dropout import Dropout, TotalDropout
from torchrnn.layers.elementwise import Abs, AddConstant, Exp, Log, MulConstant, SAdd, Sqrt, Square
from torchrnn.layers.gradient import CategoricalEntropy, Clip, CopyGrad, ZeroGrad
from torchrnn.layers.lookup import LookupTable
from torchrnn.layers.lookup_mask_zero import LookupTableMaskZero
from torchrnn.layers.mask_zero import MaskZero, TrimZero
from torchrnn.layers.mask_zero_criterion import MaskZeroCriterion
from torchrnn.layers.normalization import BatchNormalization, Normalize
from torchrnn.layers.reduce import ArgMax, Max, Mean, Min, Sum
from torchrnn.layers.scaling import Add, CMul, Mul
from torchrnn.layers.sequence_criterions import (
    RepeaterCriterion,
    SequencerCriterion,
    TemporalCrossEntropyCriterion,
)
from torchrnn.layers.shape import Narrow, Replicate, Reshape, Select, Squeeze, Transpose, Unsqueeze, View
from torchrnn.layers.table_arithmetic import (
    CAddTable,
    CDivTable,
    CMaxTable,
    CMinTable,
    CMulTable,
    CSubTable,
    DotProduct,
    MixtureTable,
)
from torchrnn.layers.tables import (
    FlattenTable,
    JoinTable,
    NarrowTable,
    ReverseTable,
    SelectTable,
    SplitTable,
    ZipTable,
    ZipTableOneToMany,
)

__all__ = [
    "Abs",
    "Add",
    "AddConstant",
    "ArgMax",
    "BCECriterion",
    "BatchNormalization",
    "CAddTable",
    "CDivTable",
    "CMaxTable",
    "CMinTable",
    "CMul",
    "CMulTable",
    "CSubTable",
    "CategoricalEntropy",
    "ClassNLLCriterion",
    "Clip",
    "ConcatTable",
    "Constant",
    "Container",
    "CopyGrad",
    "Criterion",
    "CrossEntropyCriterion",
    "DistKLDivCriterion",
    "DotProduct",
    "Dropout",
    "Exp",
    "FlattenTable",
    "JoinTable",
    "Log",
    "LookupTable",
    "LookupTableMaskZero",
    "MSECriterion",
    "MapTable",
    "MaskZero",
    "MaskZeroCriterion",
    "Max",
    "Mean",
    "Min",
    "MixtureTable",
    "ModuleCriterion",
    "Mul",
    "MulConstant",
    "MultiCriterion",
    "Narrow",
    "NarrowTable",
    "Normalize",
    "ParallelCriterion",
    "ParallelTable",
    "RepeaterCriterion",
    "Replicate",
    "Reshape",
    "ReverseTable",
    "SAdd",
    "Select",
    "SelectTable",
    "SequencerCriterion",
    "Sequential",
    "SplitTable",
    "Sqrt",
    "Square",
    "Squeeze",
    "Sum",
    "TemporalCrossEntropyCriterion",
    "TotalDropout",
    "Transpose",
    "TrimZero",
    "Unsqueeze",
    "View",
    "ZeroGrad",
    "ZipTable",
    "ZipTableOneToMany",
    "attach_loss",
]
