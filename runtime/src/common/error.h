// The message of the last failure, per thread.
#pragma once

#include "muattn/muattn.h"

namespace muattn {

// Keeps the message for muattn_last_error() and returns status.
__attribute__((format(printf, 2, 3))) muattn_status fail(muattn_status status, const char *format, ...);

// Return from the enclosing function if the expression is not MUATTN_OK.
#define MUATTN_RETURN_IF_ERROR(expression)          \
    do {                                            \
        const muattn_status status_ = (expression); \
        if (status_ != MUATTN_OK) {                 \
            return status_;                         \
        }                                           \
    } while (0)

}  // namespace muattn
