// Whether values that a call hides from some query may be multiplied by 0.
#pragma once

#include "backward_call.h"

namespace muattn {

// Whether a value that is hidden from some query is NaN or infinite: 0 times it would reach that query's row. Reads those values,
// with the threads that kernels run on where they are many, unless a small mask says that it hides none.
bool hidden_values_need_guard(const SpatialCall &call);
// The same of a backward call, where a query's numbers are hidden from the keys that it does not see, too.
bool hidden_values_need_guard(const SpatialBackwardCall &call);

}  // namespace muattn
