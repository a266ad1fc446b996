"""What a training optimises: two functions, so that one loop serves every way of
learning.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from torch import Tensor, nn

from ecgnb.core.registry import Registry

if TYPE_CHECKING:
    from ecgnb.data.loading.loaders import Batch

OBJECTIVES: Registry[type[Objective]] = Registry("objective")


@runtime_checkable
class Objective(Protocol):
    """Something to minimise.

    ``views`` prepares a batch (transforms, augmentation, crops, masks) and ``loss``
    scores a model on it. Everything random happens in ``views`` and is a pure function
    of (seed, step, record), so a resumed training repeats it.
    """

    def views(
        self, batch: Batch, *, seed: int = 0, step: int = 0, train: bool = True
    ) -> Any:
        """Return what ``loss`` needs of the batch.

        Args:
            batch: signals with targets, masks and store rows, on the device of the
                model.
            seed: the seed of the run.
            step: the optimisation step.
            train: whether to augment; without it nothing is random.
        """
        ...

    def loss(self, model: nn.Module, views: Any) -> Tensor:
        """Return a scalar: the mean over the records of the batch of what each of them
        contributes.
        """
        ...
