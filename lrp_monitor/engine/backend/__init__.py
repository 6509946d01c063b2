"""All that the engine asks of TensorFlow: recording and repeating operations, and gradients of its own."""

from lrp_monitor.engine.backend.gradients import (
    Spec as Spec,
)  # fmt: skip
from lrp_monitor.engine.backend.gradients import (
    Tensor as Tensor,
)
from lrp_monitor.engine.backend.gradients import (
    after as after,
)
from lrp_monitor.engine.backend.gradients import (
    deferred as deferred,
)
from lrp_monitor.engine.backend.gradients import (
    full_precision as full_precision,
)
from lrp_monitor.engine.backend.gradients import (
    gradients as gradients,
)
from lrp_monitor.engine.backend.gradients import (
    holds_data as holds_data,
)
from lrp_monitor.engine.backend.gradients import (
    identity as identity,
)
from lrp_monitor.engine.backend.gradients import (
    is_float_tensor as is_float_tensor,
)
from lrp_monitor.engine.backend.gradients import (
    is_tensor as is_tensor,
)
from lrp_monitor.engine.backend.gradients import (
    kept as kept,
)
from lrp_monitor.engine.backend.gradients import (
    scaled_gradient as scaled_gradient,
)
from lrp_monitor.engine.backend.gradients import (
    stop_gradient as stop_gradient,
)
from lrp_monitor.engine.backend.gradients import (
    straight_through as straight_through,
)
from lrp_monitor.engine.backend.gradients import (
    with_bias as with_bias,
)
from lrp_monitor.engine.backend.recorded import (
    attribute as attribute,
)  # fmt: skip
from lrp_monitor.engine.backend.recorded import (
    call_site as call_site,
)
from lrp_monitor.engine.backend.recorded import (
    computed_constant as computed_constant,
)
from lrp_monitor.engine.backend.recorded import (
    constant_value as constant_value,
)
from lrp_monitor.engine.backend.recorded import (
    count_operations as count_operations,
)
from lrp_monitor.engine.backend.recorded import (
    inlined as inlined,
)
from lrp_monitor.engine.backend.recorded import (
    kind_of as kind_of,
)
from lrp_monitor.engine.backend.recorded import (
    operations as operations,
)
from lrp_monitor.engine.backend.recorded import (
    repeat as repeat,
)
from lrp_monitor.engine.backend.recorded import (
    repeat_as_mean as repeat_as_mean,
)
