// Arguments of a kernel in the memory of its device.
#pragma once

#include "common/arguments.h"
#include "session.h"

namespace muattn::gpu {

class Binder : public Arguments {
public:
    explicit Binder(const Kernel &kernel) : session_(kernel) {}

    // Whether the device has as much shared memory as the kernel takes.
    muattn_status check_shared(int64_t bytes) const { return session_.check_shared(bytes); }

    muattn_status input(const Argument &argument) { return session_.input(next_buffer(), argument); }
    muattn_status input_rows(const Argument &argument) {
        BoundBuffer &buffer = next_buffer();
        MUATTN_RETURN_IF_ERROR(session_.input(buffer, argument));
        buffer.leave_out_innermost();
        return MUATTN_OK;
    }
    muattn_status input(const HostArray &array) {
        BoundBuffer &buffer = next_buffer();
        buffer.bind(array);
        return session_.upload(buffer, array.bytes());
    }
    muattn_status output(const Argument &argument) { return session_.output(next_buffer(), argument); }
    muattn_status output_rows(const Argument &argument, int64_t columns) {
        BoundBuffer &buffer = next_buffer();
        MUATTN_RETURN_IF_ERROR(session_.output(buffer, argument));
        buffer.repeat_innermost(columns);
        return MUATTN_OK;
    }
    muattn_status unwanted_rows(const int64_t (&shape)[4], int64_t columns) {
        BoundBuffer &buffer = next_buffer();
        MUATTN_RETURN_IF_ERROR(session_.unwanted(buffer, shape));
        buffer.repeat_innermost(columns);
        return MUATTN_OK;
    }

    muattn_status run() { return session_.run(all()); }

private:
    Session session_;
};

}  // namespace muattn::gpu
