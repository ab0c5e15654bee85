#include "task_masks.h"

namespace muattn {

void bind_masks(TaskArguments &arguments, const SpatialCall &call, const MaskPart &part) {
    const bool boolean = call.with_mask && call.mask.tensor.dtype == MUATTN_BOOL;
    const auto bind = [&](const Argument &argument, bool given) {
        const muattn_tensor &t = argument.tensor;
        const int64_t first[] = {part.b, part.h, part.query, part.key},
                      sizes[] = {1, part.heads, part.queries, part.keys};
        int64_t offset = 0;
        Extent extents[4];
        for (int dim = 0; dim < 4; dim++) {
            const bool full = given && t.shape[dim] != 1;
            offset += full ? first[dim] * t.strides[dim] : 0;
            extents[3 - dim] = {full ? sizes[dim] : 1, t.strides[dim]};
        }
        const std::initializer_list<Extent> all{extents[0], extents[1], extents[2], extents[3]};
        if (t.dtype == MUATTN_BOOL) {
            arguments.array(static_cast<const uint8_t *>(t.data) + offset, all);
        } else {
            arguments.array(argument.data() + offset, all);
        }
    };
    const bool additive = call.with_mask && !boolean;
    bind(additive ? call.mask : no_additive_mask(), additive);
    bind(boolean ? call.mask : no_boolean_mask(), boolean);
}

}  // namespace muattn
